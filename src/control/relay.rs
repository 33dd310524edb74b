//! The fields that relays add to what they pass on: proxies, load balancers, content delivery networks.
//!
//! Whoever relays strangers and adds none of these cannot be seen here: nginx, HAProxy and socat, as they
//! are unless they are told otherwise. What helps then is said by `docs/registering.md`, "Another proxy on the
//! same machine".

use http::{HeaderMap, HeaderName};

/// Whole names.
const NAMES: [&str; 9] = [
    "cdn-loop",
    "forwarded",
    "front-end-https",
    "surrogate-capability",
    "via",
    "x-real-port",
    "x-rewrite-url",
    "x-scheme",
    "x-varnish",
];

/// How names begin: those of the common `X-Forwarded-For` and its kin, of Cloudflare and of Envoy.
const BEGINNINGS: [&str; 5] = ["cf-", "x-arr-", "x-envoy-", "x-forwarded", "x-original-"];

/// How names end that hold a client's address, whoever's they are: `X-Real-IP`, `CF-Connecting-IP`,
/// `True-Client-IP`, `X-Cluster-Client-IP`, `Fastly-Client-IP`, `X-Azure-ClientIP`, `X-ProxyUser-Ip` and
/// so on.
const ENDINGS: [&str; 10] = [
    "client-ip",
    "clientip",
    "connecting-ip",
    "forwarded-for",
    "originating-ip",
    "real-ip",
    "remote-addr",
    "remote-ip",
    "socketip",
    "user-ip",
];

/// The first field that a relay has added.
pub(super) fn field(fields: &HeaderMap) -> Option<&str> {
    fields
        .keys()
        .map(HeaderName::as_str)
        .find(|name| is_relays(name))
}

/// Whether a relay adds a field of this name, in lower case, also in a spelling with `_` or `.` for `-`:
/// to many apps it is the same field.
fn is_relays(name: &str) -> bool {
    let name = name.replace(['_', '.'], "-");
    NAMES.contains(&&*name)
        || BEGINNINGS.iter().any(|start| name.starts_with(start))
        || ENDINGS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_are_known_by_their_fields() {
        for name in [
            "forwarded",
            "via",
            "cdn-loop",
            "x-varnish",
            "x_scheme",
            "x-arr-log-id",
            "front-end-https",
            "x-real-ip",
            "x-forwarded-for",
            "x-forwarded-whatever",
            "x-forwarded",
            "x_forwarded_for",
            "x.forwarded.for",
            "x_real-ip",
            "cf-connecting-ip",
            "cf-connecting-ipv6",
            "cf_ray",
            "true-client-ip",
            "x-client-ip",
            "x_client_ip",
            "x-cluster-client-ip",
            "client-ip",
            "wl-proxy-client-ip",
            "fastly-client-ip",
            "fly-client-ip",
            "do-connecting-ip",
            "x-azure-clientip",
            "x-azure-socketip",
            "x-appengine-user-ip",
            "x-proxyuser-ip",
            "x-remote-ip",
            "x-remote-addr",
            "x-originating-ip",
            "x-original-forwarded-for",
            "x-envoy-external-address",
        ] {
            assert!(is_relays(name), "{name}");
        }
        for name in [
            "host",
            "content-type",
            "user-agent",
            "authorization",
            "x-request-id",
            "traceparent",
            "x-amzn-trace-id",
            "forwarding",
            "x-ip",
        ] {
            assert!(!is_relays(name), "{name}");
        }
    }
}
