//! `request_id.field`: the name of a field that has no other meaning.

use http::HeaderName;
use serde::Deserializer;

use super::text;
use crate::route::is_guarded_field;

/// The name of the field for the id of a request.
pub(super) fn field_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<HeaderName, D::Error> {
    text::parse_with(deserializer, |text| match text.parse::<HeaderName>() {
        Ok(name) if !is_taken(name.as_str()) => Ok(name),
        Ok(name) => Err(format!(
            "cannot be {name}, which has a meaning of its own; write one such as x-request-id"
        )),
        Err(error) => {
            log::trace!("{text:?} as a field name: {error}");
            Err(format!(
                "is not a field name: {}; write one such as x-request-id",
                text::shown(text)
            ))
        }
    })
}

/// Whether an id in a field of this name would break a message, or be taken for what the proxy, the app or
/// the client says.
fn is_taken(name: &str) -> bool {
    is_guarded_field(name)
        || TAKEN.contains(&name)
        || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// The beginnings of names of fields that belong together.
const FAMILIES: [&str; 7] = [
    "accept",
    "access-control-",
    "content-",
    "grpc-",
    "if-",
    "proxy-",
    "sec-",
];

/// Fields with a meaning of their own in a request or in a response, beside those that the proxy guards.
const TAKEN: [&str; 28] = [
    "age",
    "allow",
    "alt-svc",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "origin",
    "pragma",
    "range",
    "referer",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-content-type-options",
    "x-route-generation",
    "x-served-by",
];

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn read(name: &str) -> Result<Config, String> {
        let text = format!("request_id:\n  field: {name}\n");
        Config::from_yaml("x.yaml", &text, |_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn no_field_with_another_meaning_carries_the_id() {
        // Those that the rules on requests treat, one for each of their arms; then others.
        for name in [
            "te",
            "host",
            "trailer",
            "upgrade",
            "expect",
            "forwarded",
            "x-real-ip",
            "connection",
            "keep-alive",
            "x-rewrite-url",
            "http2-settings",
            "content-length",
            "x-original-url",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "proxy-connection",
            "x-forwarded-proto",
            "transfer-encoding",
            "proxy-authenticate",
            "proxy-authorization",
            "x-forwarded-prefix",
            "x-forwarded-anything",
            "client-cert",
            "client-cert-chain",
            "x-client-cert-subject",
            "X_Forwarded_For",
            "x_real_ip",
            "Client_Cert",
            "Date",
            "Set-Cookie",
            "strict-transport-security",
            "x-served-by",
            "retry-after",
            "user-agent",
            "via",
            "content-type",
            "accept-encoding",
            "grpc-timeout",
            "sec-websocket-key",
        ] {
            let error = read(name).expect_err(name);
            let start = format!(
                "x.yaml:2:10: `request_id.field` cannot be {}, which has a meaning of its own; write one",
                name.to_ascii_lowercase()
            );
            assert!(error.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn a_field_without_another_meaning_carries_the_id() {
        for name in [
            "x-request-id",
            "x_request_id",
            "X-Trace",
            "traceparent",
            "x-client",
        ] {
            let config = read(name).expect(name);
            assert_eq!(config.request_id.field.as_str(), name.to_ascii_lowercase());
        }
    }
}
