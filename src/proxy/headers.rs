//! The fields that the proxy adds to requests and takes out of answers.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{ErrorType, OrErr, Result};
use smallvec::SmallVec;

use crate::front::TlsClient;

// Texts rather than `HeaderName`s, of which Pingora makes a copy whenever a field is set.
const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PORT: &str = "x-forwarded-port";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_REAL_IP: &str = "x-real-ip";
const KEEP_ALIVE: &str = "keep-alive";
const PROXY_CONNECTION: &str = "proxy-connection";
const FORWARDED: &str = "forwarded";

/// The longest request id that is passed on, in bytes.
const LONGEST_ID: usize = 128;

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// The peer's address; none behind a Unix socket.
    pub(super) address: Option<IpAddr>,
    /// Whether the client's side is encrypted.
    pub(super) is_tls: bool,
    /// The port that the request names.
    pub(super) port: Option<u16>,
}

impl Client {
    pub(super) fn scheme(self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// The port that the request was sent to, by its `Host` or its scheme, as the original has it.
    pub(super) fn named_port(self) -> u16 {
        self.port.unwrap_or(if self.is_tls { 443 } else { 80 })
    }
}

/// Whether an address belongs to a proxy whose word is taken.
pub(super) fn is_trusted(address: Option<IpAddr>, trusted: &[IpNet]) -> bool {
    !trusted.is_empty()
        && address.is_some_and(|address| {
            let address = address.to_canonical();
            trusted.iter().any(|network| network.contains(&address))
        })
}

/// Tells the origin who asked: appended to what a trusted proxy said, otherwise in its place.
pub(super) fn forward(
    request: &mut RequestHeader,
    client: Client,
    trusted: &[IpNet],
) -> Result<()> {
    let is_trusted = is_trusted(client.address, trusted);
    if !is_trusted {
        request.remove_header(X_REAL_IP);
    }
    let host = request.headers.get(HOST).cloned();
    let address = text_of(client.address)?;
    let mut element = String::with_capacity(96);
    element.push_str("for=");
    // IPv6 in brackets and quotes (RFC 7239, 6).
    let (before, behind) = match client.address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(_)) => ("\"[", "]\""),
        _ => ("", ""),
    };
    for part in [before, &address, behind, ";proto=", client.scheme()] {
        element.push_str(part);
    }
    if let Some(host) = host.as_ref().and_then(|host| host.to_str().ok()) {
        // A quoted string (RFC 7239, 4); a host that passed our check holds neither `"` nor `\`.
        for part in [";host=\"", host, "\""] {
            element.push_str(part);
        }
    }
    append(request, X_FORWARDED_FOR, address, is_trusted)?;
    append(request, FORWARDED, element, is_trusted)?;
    let keeps =
        |request: &RequestHeader, name: &str| is_trusted && request.headers.contains_key(name);
    if !keeps(request, X_FORWARDED_PROTO) {
        request.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme()))?;
    }
    if !keeps(request, X_FORWARDED_PORT) {
        let port = match client.named_port() {
            80 => HeaderValue::from_static("80"),
            443 => HeaderValue::from_static("443"),
            other => HeaderValue::from(other),
        };
        request.insert_header(X_FORWARDED_PORT, port)?;
    }
    if !keeps(request, X_FORWARDED_HOST) {
        match host {
            Some(host) => request.insert_header(X_FORWARDED_HOST, host)?,
            None => drop(request.remove_header(X_FORWARDED_HOST)),
        }
    }
    Ok(())
}

/// A short text.
pub(super) type Text = SmallVec<[u8; 48]>;

/// An address as it is written, or that it is not known.
pub(super) fn address_text(address: Option<IpAddr>) -> Text {
    let mut text = Text::new();
    match address.map(|address| address.to_canonical()) {
        // What nearly every request needs, without the machinery of formats.
        Some(IpAddr::V4(address)) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push(b'.');
                }
                put_decimal(&mut text, octet.into());
            }
        }
        Some(IpAddr::V6(address)) => text.extend(address.to_string().into_bytes()),
        None => text.extend_from_slice(b"unknown"),
    }
    text
}

/// A port as it is written.
pub(super) fn port_text(port: u16) -> Text {
    let mut text = Text::new();
    put_decimal(&mut text, port);
    text
}

fn put_decimal(text: &mut Text, number: u16) {
    for unit in [10_000, 1000, 100, 10, 1] {
        if number >= unit || unit == 1 {
            // A digit.
            let digit = u8::try_from(number / unit % 10).unwrap_or(0);
            text.push(b'0' + digit);
        }
    }
}

fn text_of(address: Option<IpAddr>) -> Result<String> {
    String::from_utf8(address_text(address).into_vec())
        .or_err(ErrorType::InternalError, "writing an address")
}

/// Whether the proxy in front of this one says that its client's side is encrypted. Its own word is the
/// last of a list; if its fields contradict each other, it does not.
pub(super) fn says_https(request: &RequestHeader) -> bool {
    let last = |name: &str| {
        let lines = request.headers.get_all(name).iter();
        lines.filter_map(|value| value.to_str().ok()).next_back()
    };
    claims_https(last(X_FORWARDED_PROTO), last(FORWARDED))
}

/// The same, by the last line of each of its two fields.
pub(super) fn claims_https(proto: Option<&str>, forwarded: Option<&str>) -> bool {
    let scheme = proto.map(|list| {
        let word = list.rsplit(',').next().unwrap_or_default();
        word.trim().eq_ignore_ascii_case("https")
    });
    let forwarded = forwarded.and_then(scheme_of_forwarded);
    match (scheme, forwarded) {
        (Some(one), Some(other)) => one && other,
        (one, other) => one.or(other).unwrap_or(false),
    }
}

/// Whether the last element of a `Forwarded` line has the scheme https; none if it has no scheme (RFC
/// 7239, 4: elements and parameters end at `,` and `;` outside of quotes).
fn scheme_of_forwarded(line: &str) -> Option<bool> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let mut begins = 0;
    let mut scheme = None;
    let mut note = |parameter: &str, ends_element: bool| {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("proto")
        {
            let value = value.trim().trim_matches('"');
            scheme = Some(value.eq_ignore_ascii_case("https"));
        }
        let found = scheme;
        if ends_element {
            scheme = None;
        }
        found
    };
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' | b';' if !is_quoted => {
                note(line.get(begins..at).unwrap_or_default(), byte == b',');
                begins = at + 1;
            }
            _ => {}
        }
    }
    note(line.get(begins..).unwrap_or_default(), true)
}

/// Tells the origin which certificate the client has shown (RFC 9440), and takes out what the client
/// says itself about that (RFC 9440, 2.4).
pub(super) fn introduce(request: &mut RequestHeader, client: Option<&TlsClient>) -> Result<()> {
    let claims: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| TlsClient::is_identity(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for claim in &claims {
        request.remove_header(claim);
    }
    for (name, value) in client.into_iter().flat_map(TlsClient::identity) {
        request.insert_header(name.clone(), value.clone())?;
    }
    Ok(())
}

/// Whether a client of HTTP/2 takes trailers (RFC 9113, 8.2.2: the one thing that `TE` may say).
pub(super) fn wants_trailers(request: &RequestHeader) -> bool {
    request.version == http::Version::HTTP_2 && takes_trailers(&request.headers)
}

/// The same, by the fields of HTTP/2.
pub(super) fn takes_trailers(fields: &HeaderMap) -> bool {
    fields
        .get(TE)
        .is_some_and(|value| value.as_bytes() == b"trailers")
}

/// Sets a field, behind what it has already if that is kept.
fn append(
    request: &mut RequestHeader,
    name: &'static str,
    own: String,
    keeps_earlier: bool,
) -> Result<()> {
    if !keeps_earlier {
        return request.insert_header(name, own);
    }
    let mut list = String::new();
    let earlier = request.headers.get_all(name).iter();
    for earlier in earlier.filter_map(|value| value.to_str().ok()) {
        list.push_str(earlier);
        list.push_str(", ");
    }
    list.push_str(&own);
    request.insert_header(name, list)
}

/// The id of a request: the client's, if it may choose and the text is one; else a new one.
pub(super) fn request_id(given: Option<&HeaderValue>, accepts: bool) -> Result<HeaderValue> {
    match given {
        Some(id) if accepts && is_id(id.as_bytes()) => Ok(id.clone()),
        _ => HeaderValue::from_bytes(&new_id())
            .or_err(ErrorType::InternalError, "making a request id"),
    }
}

/// A new id.
pub(super) fn new_id() -> [u8; 32] {
    hexadecimal(fastrand::u128(..))
}

/// A number in its 32 hexadecimal digits.
fn hexadecimal(number: u128) -> [u8; 32] {
    let digit = |value: u8| match value {
        0..=9 => b'0' + value,
        _ => b'a' - 10 + value,
    };
    let mut text = [0; 32];
    for (byte, digits) in number.to_be_bytes().iter().zip(text.chunks_exact_mut(2)) {
        if let [high, low] = digits {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
    }
    text
}

/// Whether a text can be an id.
pub(super) fn is_id(text: &[u8]) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// Takes the fields out of an answer that were meant for the proxy alone (RFC 9110, 7.6.1). Pingora
/// writes its own `Connection`; what remains of the upgrade belongs to a 101 (or a 426).
pub(super) fn strip_hop_by_hop(response: &mut ResponseHeader) {
    // Most answers have none of them: one look at the names costs less than to try each.
    if !response.headers.keys().any(is_hop_by_hop) {
        return;
    }
    let is_switching = response.status == StatusCode::SWITCHING_PROTOCOLS;
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !matches!(name.as_str(), "close" | "keep-alive" | "upgrade"))
        .filter(|name| !is_framing(name))
        .collect();
    for name in &nominated {
        response.remove_header(name);
    }
    response.remove_header(KEEP_ALIVE);
    response.remove_header(PROXY_CONNECTION);
    // Pingora 0.9.1 drops the trailers of HTTP/1, so their announcement goes with them.
    response.remove_header(&TRAILER);
    if !is_switching {
        response.remove_header(&CONNECTION);
        if response.status != StatusCode::UPGRADE_REQUIRED {
            response.remove_header(&UPGRADE);
        }
    }
}

/// Whether a response that never has a body announces one all the same, which may then follow: what comes
/// next over its connection is not to be taken for the next response.
pub(super) fn announces_absent_body(response: &ResponseHeader) -> bool {
    let is_bodiless = matches!(
        response.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    let length = response.headers.get(CONTENT_LENGTH);
    is_bodiless
        && (length.is_some_and(|length| length != "0")
            || response.headers.contains_key(TRANSFER_ENCODING))
}

/// Fields that are for the next hop alone, besides those that `Connection` names.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | KEEP_ALIVE | PROXY_CONNECTION | "trailer" | "upgrade"
    )
}

/// Fields without which the message would be another: no `Connection` may take them away.
fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-length" | "transfer-encoding" | "content-type" | "date"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn all<'a>(request: &'a RequestHeader, name: &str) -> Vec<&'a str> {
        request
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    fn client(address: &str) -> Client {
        Client {
            address: Some(address.parse().unwrap()),
            is_tls: false,
            port: Some(3000),
        }
    }

    const SPOOFED: [(&str, &str); 7] = [
        ("host", "example.com:3000"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
    ];

    #[test]
    fn the_nearest_proxys_word_on_the_scheme_counts() {
        let says = |fields: &[(&'static str, &str)]| says_https(&request(fields));
        for (fields, expected) in [
            (vec![], false),
            (vec![("x-forwarded-proto", "https")], true),
            (vec![("x-forwarded-proto", "HTTPS ")], true),
            (vec![("x-forwarded-proto", "https, http")], false),
            (vec![("x-forwarded-proto", "http, https")], true),
            (
                vec![
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-proto", "http"),
                ],
                false,
            ),
            (vec![("forwarded", "for=a;proto=https")], true),
            (vec![("forwarded", "for=a; Proto=\"https\"")], true),
            (
                vec![("forwarded", "for=a;proto=https, for=b;proto=http")],
                false,
            ),
            (vec![("forwarded", "for=a;proto=https, for=b")], false),
            (
                vec![("forwarded", "for=\"_a;proto=https;b\";proto=http")],
                false,
            ),
            (
                vec![("forwarded", "for=\"\\\",proto=https\";proto=http")],
                false,
            ),
            (
                vec![("forwarded", "proto=https"), ("x-forwarded-proto", "http")],
                false,
            ),
            (
                vec![("forwarded", "proto=https"), ("x-forwarded-proto", "https")],
                true,
            ),
        ] {
            assert_eq!(says(&fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn texts_are_what_formats_write() {
        for number in [0, 1, 0xdead_beef, u128::MAX, u128::MAX - 15] {
            let expected = format!("{number:032x}");
            assert_eq!(hexadecimal(number), expected.as_bytes());
        }
        for address in [
            "0.0.0.0",
            "1.20.100.255",
            "99.9.109.200",
            "2001:db8::1",
            "::1",
        ] {
            assert_eq!(text_of(address.parse().ok()).unwrap(), address);
        }
        let mapped = "::ffff:192.0.2.1".parse().ok();
        assert_eq!(text_of(mapped).unwrap(), "192.0.2.1");
        assert_eq!(text_of(None).unwrap(), "unknown");
    }

    #[test]
    fn a_strangers_word_is_overwritten() {
        let mut request = request(&SPOOFED);
        forward(&mut request, client("192.0.2.1"), &[]).unwrap();
        assert_eq!(all(&request, "x-forwarded-for"), ["192.0.2.1"]);
        assert_eq!(all(&request, "x-forwarded-host"), ["example.com:3000"]);
        assert_eq!(all(&request, "x-forwarded-proto"), ["http"]);
        assert_eq!(all(&request, "x-forwarded-port"), ["3000"]);
        assert_eq!(all(&request, "x-real-ip"), [""; 0]);
        assert_eq!(
            all(&request, "forwarded"),
            ["for=192.0.2.1;proto=http;host=\"example.com:3000\""]
        );
    }

    #[test]
    fn a_trusted_proxys_word_is_kept() {
        let mut request = request(&SPOOFED);
        let trusted = ["192.0.2.0/24".parse().unwrap()];
        forward(&mut request, client("192.0.2.1"), &trusted).unwrap();
        assert_eq!(all(&request, "x-forwarded-for"), ["6.6.6.6, 192.0.2.1"]);
        assert_eq!(all(&request, "x-forwarded-host"), ["evil.example"]);
        assert_eq!(all(&request, "x-forwarded-proto"), ["https"]);
        assert_eq!(all(&request, "x-forwarded-port"), ["1"]);
        assert_eq!(all(&request, "x-real-ip"), ["6.6.6.6"]);
        assert_eq!(
            all(&request, "forwarded"),
            ["for=6.6.6.6, for=192.0.2.1;proto=http;host=\"example.com:3000\""]
        );
    }

    #[test]
    fn an_address_is_a_node_as_rfc_7239_has_it() {
        for (address, node) in [
            ("2001:db8::1", "\"[2001:db8::1]\""),
            ("::ffff:127.0.0.1", "127.0.0.1"),
        ] {
            let mut request = request(&[]);
            forward(&mut request, client(address), &[]).unwrap();
            let element = format!("for={node};proto=http");
            assert_eq!(all(&request, "forwarded"), [element]);
        }
    }

    #[test]
    fn a_request_without_host_claims_none() {
        let mut request = request(&[("x-forwarded-host", "evil.example")]);
        let client = Client {
            port: None,
            ..client("192.0.2.1")
        };
        forward(&mut request, client, &[]).unwrap();
        assert_eq!(all(&request, "x-forwarded-host"), [""; 0]);
        assert_eq!(all(&request, "x-forwarded-port"), ["80"]);
    }

    #[test]
    fn an_id_is_passed_on_only_if_it_is_one() {
        let given = HeaderValue::from_static("abc-123");
        assert_eq!(request_id(Some(&given), true).unwrap(), given);
        assert_ne!(request_id(Some(&given), false).unwrap(), given);
        for bad in ["", "a b", &"x".repeat(129)] {
            let bad = HeaderValue::from_str(bad).unwrap();
            let made = request_id(Some(&bad), true).unwrap();
            assert_eq!(made.len(), 32);
        }
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("connection", "X-Secret, keep-alive, content-length"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("upgrade", "h2c"),
            ("trailer", "x-sum"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ] {
            response.append_header(name, value).unwrap();
        }
        strip_hop_by_hop(&mut response);
        let mut left: Vec<&str> = response.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-kept"]);
    }

    #[test]
    fn a_switch_of_protocols_keeps_its_fields() {
        let mut response = ResponseHeader::build(101, None).unwrap();
        response.append_header("connection", "Upgrade").unwrap();
        response.append_header("upgrade", "websocket").unwrap();
        strip_hop_by_hop(&mut response);
        assert!(response.headers.contains_key("connection"));
        assert!(response.headers.contains_key("upgrade"));
    }
}
