//! What holds for every response and every request, whatever the case.

use super::case::{Asked, Seen};
use super::pair::{Client, Pair};
use crate::support::engine;

/// Each rule in words, and whether it holds.
pub(crate) type Rules = Vec<(&'static str, bool)>;

/// What holds for every response.
pub(crate) fn response(pair: Pair, seen: &Seen) -> Rules {
    let mut rules = response_fields(seen);
    rules.extend(response_of_status(seen));
    rules.extend(response_of_version(pair, seen));
    let is_served = !matches!(seen.next, Some(Err(_)));
    rules.push(("the next request on the connection is served", is_served));
    rules
}

fn response_fields(seen: &Seen) -> Rules {
    let fields = &seen.fields;
    let dates = fields.all("date").len();
    let ids = fields.all("x-request-id").len();
    let may_upgrade = matches!(seen.status, 101 | 426);
    vec![
        // RFC 9110, 6.6.1. An interim response needs no Date.
        ("one Date", dates == 1 || (seen.status == 101 && dates == 0)),
        ("one X-Request-Id", ids == 1),
        // RFC 9110, 7.6.1: these fields are for a single connection.
        ("no Keep-Alive", !fields.has("keep-alive")),
        ("no Proxy-Connection", !fields.has("proxy-connection")),
        // RFC 9110, 7.8.
        (
            "Upgrade with 101 or 426 alone",
            !fields.has("upgrade") || may_upgrade,
        ),
        // RFC 9110, 8.6.
        ("one Content-Length", fields.length().is_ok()),
    ]
}

fn response_of_status(seen: &Seen) -> Rules {
    if seen.status != 204 {
        return Vec::new();
    }
    let (length, coding) = ("content-length", "transfer-encoding");
    vec![
        // RFC 9110, 8.6.
        ("no Content-Length with 204", !seen.fields.has(length)),
        // RFC 9112, 6.1.
        ("no Transfer-Encoding with 204", !seen.fields.has(coding)),
    ]
}

fn response_of_version(pair: Pair, seen: &Seen) -> Rules {
    let is_uncoded = !seen.fields.has("transfer-encoding");
    match pair.client {
        Client::Http10 => vec![
            // RFC 9110, 15.2.
            ("no interim response to HTTP/1.0", seen.interim.is_empty()),
            // RFC 9112, 6.1.
            ("no Transfer-Encoding to HTTP/1.0", is_uncoded),
        ],
        Client::Http11 => Vec::new(),
        // RFC 9113, 8.2.2.
        Client::Http2 | Client::Http2Tls => vec![
            ("no Connection in HTTP/2", !seen.fields.has("connection")),
            ("no Transfer-Encoding in HTTP/2", is_uncoded),
        ],
    }
}

/// What holds for every request that reaches an upstream.
pub(crate) fn request(pair: Pair, asked: &Asked) -> Rules {
    let mut rules = request_forwarded(pair, asked);
    rules.extend(request_fields(asked));
    rules.extend(request_of_version(pair, asked));
    rules
}

/// The fields in which the proxy names the client (RFC 7239, and the older ones).
fn request_forwarded(pair: Pair, asked: &Asked) -> Rules {
    let fields = &asked.fields;
    let forwarded = fields.all("forwarded").join(", ").to_ascii_lowercase();
    let protocol = if pair.client.has_tls() {
        "https"
    } else {
        "http"
    };
    let host = asked.authority.first().filter(|host| !host.is_empty());
    let host = host.map(|host| host.to_ascii_lowercase());
    let forwarded_host = fields.all("x-forwarded-host");
    let forwarded_host = forwarded_host.first().map(|host| host.to_ascii_lowercase());
    let (address, scheme) = (
        fields.all("x-forwarded-for"),
        fields.all("x-forwarded-proto"),
    );
    let ports = fields.all("x-forwarded-port").len();
    vec![
        (
            "the client's address in X-Forwarded-For",
            address == ["127.0.0.1"],
        ),
        (
            "the client's protocol in X-Forwarded-Proto",
            scheme == [protocol],
        ),
        ("one X-Forwarded-Port", ports == 1),
        // RFC 7239, 5.3.
        (
            "the host in Forwarded if it was named",
            forwarded.contains("host=") == host.is_some(),
        ),
        (
            "the host in X-Forwarded-Host if it was named",
            forwarded_host == host,
        ),
        ("one X-Request-Id", fields.all("x-request-id").len() == 1),
    ]
}

fn request_fields(asked: &Asked) -> Rules {
    let fields = &asked.fields;
    let is_upgrade = fields.lists("connection", "upgrade");
    vec![
        ("a well-formed request", asked.fault.is_none()),
        // RFC 9112, 3.2; RFC 9110, 7.2.
        ("one authority at most", asked.authority.len() <= 1),
        // RFC 9110, 7.6.1: these fields are for a single connection.
        ("no Keep-Alive", !fields.has("keep-alive")),
        ("no Proxy-Connection", !fields.has("proxy-connection")),
        // RFC 9110, 7.8.
        (
            "Upgrade only if Connection names it",
            fields.has("upgrade") == is_upgrade,
        ),
        // RFC 9110, 8.6.
        ("one Content-Length", fields.length().is_ok()),
    ]
}

fn request_of_version(pair: Pair, asked: &Asked) -> Rules {
    // RFC 9110, 10.1.1: an expectation in HTTP/1.0 is none.
    let expects = asked.fields.has("expect");
    let mut rules = vec![(
        "no Expect of HTTP/1.0",
        pair.client != Client::Http10 || !expects,
    )];
    if pair.upstream.is_http2() {
        // RFC 9113, 8.2.2.
        let mut names = ["connection", "transfer-encoding", "upgrade"].into_iter();
        let has_none = names.all(|name| !asked.fields.has(name));
        rules.push(("no connection-specific field in HTTP/2", has_none));
        // Pingora names that of its own connection.
        let is_https = if engine::chosen() == Some("pingora") {
            pair.upstream.has_tls()
        } else {
            pair.client.has_tls()
        };
        let scheme = if is_https { "https" } else { "http" };
        // RFC 9113, 8.3.1: without an authority there is none of an http URI.
        let is_its_own = asked.scheme.as_deref() == Some(scheme) || asked.authority.is_empty();
        rules.push(("the scheme of the client's connection", is_its_own));
        return rules;
    }
    // RFC 9112, 3.2: HTTP/1.1 needs Host.
    let has_host = asked.version == "HTTP/1.0" || !asked.authority.is_empty();
    rules.push(("Host in HTTP/1.1", has_host));
    rules
}
