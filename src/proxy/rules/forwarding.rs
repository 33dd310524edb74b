//! The values of the fields that the proxy adds to requests, and what it believes of a trusted proxy's.

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Client {
    /// The peer's address; none behind a Unix socket.
    pub(in crate::proxy) address: Option<IpAddr>,
    /// Whether the client's side is encrypted.
    pub(in crate::proxy) is_tls: bool,
    /// The port that the request names.
    pub(in crate::proxy) port: Option<u16>,
}

impl Client {
    pub(in crate::proxy) fn scheme(self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// The port that the request was sent to, by its `Host` or its scheme, as the original has it.
    pub(in crate::proxy) fn named_port(self) -> u16 {
        self.port.unwrap_or(if self.is_tls { 443 } else { 80 })
    }
}

/// Whether an address belongs to a proxy whose word is taken.
pub(in crate::proxy) fn is_trusted(address: Option<IpAddr>, trusted: &[IpNet]) -> bool {
    !trusted.is_empty()
        && address.is_some_and(|address| {
            let address = address.to_canonical();
            trusted.iter().any(|network| network.contains(&address))
        })
}

/// A short text.
pub(in crate::proxy) type Text = SmallVec<[u8; 48]>;

/// An address as it is written, or that it is not known.
pub(in crate::proxy) fn address_text(address: Option<IpAddr>) -> Text {
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
pub(in crate::proxy) fn port_text(port: u16) -> Text {
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

/// Whether the proxy in front of this one says that its client's side is encrypted, by the last line of
/// each of its two fields. Its own word is the last of a list; if its fields contradict each other, it does
/// not.
pub(in crate::proxy) fn claims_https(proto: Option<&str>, forwarded: Option<&str>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_proxys_word_on_the_scheme_counts() {
        for (proto, forwarded, expected) in [
            (None, None, false),
            (Some("https"), None, true),
            (Some("HTTPS "), None, true),
            (Some("https, http"), None, false),
            (Some("http, https"), None, true),
            (None, Some("for=a;proto=https"), true),
            (None, Some("for=a; Proto=\"https\""), true),
            (None, Some("for=a;proto=https, for=b;proto=http"), false),
            (None, Some("for=a;proto=https, for=b"), false),
            (None, Some("for=\"_a;proto=https;b\";proto=http"), false),
            (None, Some("for=\"\\\",proto=https\";proto=http"), false),
            (Some("http"), Some("proto=https"), false),
            (Some("https"), Some("proto=https"), true),
        ] {
            let claims = claims_https(proto, forwarded);
            assert_eq!(claims, expected, "{proto:?} {forwarded:?}");
        }
    }

    #[test]
    fn texts_are_what_formats_write() {
        for address in [
            "0.0.0.0",
            "1.20.100.255",
            "99.9.109.200",
            "2001:db8::1",
            "::1",
        ] {
            let text = address_text(address.parse().ok());
            assert_eq!(&text[..], address.as_bytes());
        }
        let mapped = address_text("::ffff:192.0.2.1".parse().ok());
        assert_eq!(&mapped[..], b"192.0.2.1");
        assert_eq!(&address_text(None)[..], b"unknown");
    }
}
