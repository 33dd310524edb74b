//! Hosts: the patterns that routes are registered for, and the host that a request names.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// The longest host name, in bytes (RFC 1035, 2.3.4, as text without the trailing dot).
const MAX_NAME: usize = 253;
/// The longest label of a host name, in bytes (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// The hosts that a route holds for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// One host.
    Exact(Host),
    /// Every host below this one, at any depth, but not this one itself (`*.example.com`).
    Wildcard(Host),
}

/// A host name or IP address in its one spelling: lower-case, no port, no trailing dot, an IPv6
/// address in brackets and in its canonical form (RFC 5952).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Box<str>);

/// Why a text is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing was given.
    #[error("the host is empty; give a name such as example.com")]
    Empty,
    /// A pattern that would mean every host.
    #[error("a host of * alone is not a pattern; leave reqHostNames out to mean any host")]
    BareWildcard,
    /// A `*` that is not the whole first label.
    #[error("a * can only be the whole first label of a host, as in *.example.com")]
    WildcardPlace,
    /// Routes do not tell ports apart.
    #[error("the host has a port; leave out :{port}, since a route holds for every port")]
    Port {
        /// The text behind the colon.
        port: String,
    },
    /// An IPv6 address that is not one, or has no brackets.
    #[error("{address:?} is not an IPv6 address in brackets; write it as [::1]")]
    Ipv6 {
        /// The text as given.
        address: String,
    },
    /// An international name that is not in its ASCII form (RFC 5891).
    #[error("the host has the character {character:?}; write the name in punycode (xn--...)")]
    NonAscii {
        /// The first such character.
        character: char,
    },
    /// A character that no host name has.
    #[error("the host has the character {character:?}; use letters, digits, -, _ and dots only")]
    Character {
        /// The first such character.
        character: char,
    },
    /// Two dots in a row, or a dot in front.
    #[error("the host has an empty label; leave out the extra dot")]
    EmptyLabel,
    /// A label over 63 bytes.
    #[error("the label {label:?} of the host is longer than 63 bytes; shorten it")]
    LongLabel {
        /// The label.
        label: String,
    },
    /// A name over 253 bytes.
    #[error("the host has {length} bytes; shorten it to at most 253")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

impl HostPattern {
    /// Reads a pattern as an app registers it: `example.com`, `*.example.com`, `10.0.0.1`, `[::1]`.
    /// Letters become lower-case and one trailing dot is dropped. Hyphens may stand anywhere in a
    /// label and underscores are letters, since names in use have them so.
    ///
    /// # Errors
    /// [`HostError`], whose text says what to write instead.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text == "*" {
            return Err(HostError::BareWildcard);
        }
        if let Some(parent) = text.strip_prefix("*.") {
            check_length(text)?;
            return Ok(Self::Wildcard(Host(
                check_name(parent)?.to_ascii_lowercase().into(),
            )));
        }
        if text.starts_with('[') {
            return Ok(Self::Exact(Host(bracketed(text)?.into())));
        }
        Ok(Self::Exact(Host(
            check_name(text)?.to_ascii_lowercase().into(),
        )))
    }

    /// Whether the pattern takes every host.
    #[must_use]
    pub fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

impl Host {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `*` stands for any host; the others as they can be registered.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(&host.0),
            Self::Wildcard(parent) => write!(f, "*.{}", parent.0),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that is one is seen in a single pass; of any other, the reason is looked for.
fn check_name(name: &str) -> Result<&str, HostError> {
    if is_name(name) {
        return Ok(name);
    }
    check_each_rule(name)
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &[u8]| {
        (1..=MAX_LABEL).contains(&label.len()) && label.iter().copied().all(is_name_byte)
    };
    name.len() <= MAX_NAME && name.as_bytes().split(|byte| *byte == b'.').all(is_label)
}

fn check_each_rule(name: &str) -> Result<&str, HostError> {
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if let Some((_, port)) = name.split_once(':') {
        if port.contains(':') {
            return Err(HostError::Ipv6 {
                address: name.into(),
            });
        }
        if port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HostError::Port { port: port.into() });
        }
    }
    check_length(name)?;
    name.split('.').try_for_each(check_label)?;
    Ok(name)
}

fn check_length(name: &str) -> Result<(), HostError> {
    match name.len() {
        0..=MAX_NAME => Ok(()),
        length => Err(HostError::TooLong { length }),
    }
}

fn check_label(label: &str) -> Result<(), HostError> {
    let is_other = |c: &char| !u8::try_from(*c).is_ok_and(is_name_byte);
    match label.chars().find(is_other) {
        Some('*') => return Err(HostError::WildcardPlace),
        Some(character) if character.is_ascii() => return Err(HostError::Character { character }),
        Some(character) => return Err(HostError::NonAscii { character }),
        None => {}
    }
    match label.len() {
        0 => Err(HostError::EmptyLabel),
        1..=MAX_LABEL => Ok(()),
        _ => Err(HostError::LongLabel {
            label: label.into(),
        }),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The canonical form of `[address]`, with nothing behind the bracket but a port, which is refused.
fn bracketed(text: &str) -> Result<String, HostError> {
    let refused = || HostError::Ipv6 {
        address: text.into(),
    };
    let (address, behind) = text
        .strip_prefix('[')
        .and_then(|t| t.split_once(']'))
        .ok_or_else(refused)?;
    if let Some(port) = behind.strip_prefix(':') {
        return Err(HostError::Port { port: port.into() });
    }
    match address.parse::<Ipv6Addr>() {
        Ok(address) if behind.is_empty() => Ok(format!("[{address}]")),
        _ => Err(refused()),
    }
}

/// The host that a request names, from its `Host` field, its `:authority` or its absolute form,
/// spelt as [`Host`] is: what is looked up in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHost<'a> {
    name: Cow<'a, str>,
    port: Option<u16>,
}

/// Why a text is not `host [":" port]` (RFC 9110, 7.2). Such a request deserves a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestHostError {
    /// The host is not one; see the source.
    #[error("the request's host is not valid; send a host name or an IP address")]
    Host(#[from] HostError),
    /// The port is not a number up to 65535.
    #[error("the request's port {port:?} is not valid; send a number up to 65535")]
    Port {
        /// The text behind the colon.
        port: String,
    },
}

impl<'a> RequestHost<'a> {
    /// Splits off the port and puts the host into its one spelling; borrows when it is so already.
    /// An empty port is no port (RFC 3986, 3.2.3).
    ///
    /// # Errors
    /// [`RequestHostError`] if this is not a host with an optional port; user information is refused
    /// (RFC 9110, 4.2.4).
    pub fn parse(text: &'a str) -> Result<Self, RequestHostError> {
        let (host, port) = split_port(text)?;
        let host = host.strip_suffix('.').unwrap_or(host);
        let name = if host.starts_with('[') {
            let canonical = bracketed(host)?;
            if canonical == host {
                Cow::Borrowed(host)
            } else {
                Cow::Owned(canonical)
            }
        } else {
            lower_case(check_name(host)?)
        };
        Ok(Self { name, port })
    }

    /// The host, ready to be looked up.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The port, if the request named one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The host, without the port.
    #[must_use]
    pub fn into_name(self) -> Cow<'a, str> {
        self.name
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), RequestHostError> {
    let colon = text.bytes().rposition(|byte| byte == b':');
    let parts = colon.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?)));
    let Some((host, port)) = parts.filter(|(_, port)| !port.ends_with(']')) else {
        return Ok((text, None));
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    match port.parse() {
        Ok(number) if port.bytes().all(|b| b.is_ascii_digit()) => Ok((host, Some(number))),
        _ => Err(RequestHostError::Port { port: port.into() }),
    }
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_have_one_spelling() {
        let cases = [
            ("example.com", "example.com"),
            ("EXAMPLE.com.", "example.com"),
            ("*.Example.COM", "*.example.com"),
            ("*.com.", "*.com"),
            ("localhost", "localhost"),
            ("my_app.local", "my_app.local"),
            ("-x-.example", "-x-.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
        ];
        for (text, spelling) in cases {
            assert_eq!(
                HostPattern::parse(text).unwrap().to_string(),
                spelling,
                "{text}"
            );
        }
        assert!(matches!(
            HostPattern::parse("*.a").unwrap(),
            HostPattern::Wildcard(_)
        ));
        assert!(matches!(
            HostPattern::parse("a").unwrap(),
            HostPattern::Exact(_)
        ));
        assert_eq!(HostPattern::Any.to_string(), "*");
        assert!(HostPattern::Any.is_any());
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_remedy() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = ["a"; 128].join(".");
        let cases = [
            ("", "give a name"),
            (".", "give a name"),
            ("*", "leave reqHostNames out"),
            ("*.", "leave reqHostNames out"),
            ("a.*.com", "whole first label"),
            ("*a.com", "whole first label"),
            ("*.*.com", "whole first label"),
            ("example.com:80", "leave out :80"),
            ("[::1]:80", "leave out :80"),
            ("::1", "write it as [::1]"),
            ("[::1", "write it as [::1]"),
            ("[fe80::1%eth0]", "write it as [::1]"),
            ("[::1]x", "write it as [::1]"),
            ("bücher.example", "punycode"),
            ("a b.com", "letters, digits"),
            ("a/b", "letters, digits"),
            ("http://a", "letters, digits"),
            ("a..com", "extra dot"),
            (".com", "extra dot"),
            ("a.com..", "extra dot"),
            (long_label.as_str(), "longer than 63"),
            (long_name.as_str(), "at most 253"),
        ];
        for (text, remedy) in cases {
            let error = HostPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }

    #[test]
    fn the_request_s_host_loses_port_case_and_trailing_dot() {
        let cases = [
            ("example.com", "example.com", None, true),
            ("example.com:8080", "example.com", Some(8080), true),
            ("example.com:", "example.com", None, true),
            ("EXAMPLE.com.:443", "example.com", Some(443), false),
            ("[::1]:80", "[::1]", Some(80), true),
            ("[::1]", "[::1]", None, true),
            ("[0::1]", "[::1]", None, false),
            ("127.0.0.1:3000", "127.0.0.1", Some(3000), true),
        ];
        for (text, name, port, borrowed) in cases {
            let host = RequestHost::parse(text).unwrap();
            assert_eq!((host.as_str(), host.port()), (name, port), "{text}");
            assert_eq!(
                matches!(host.into_name(), Cow::Borrowed(_)),
                borrowed,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_host_is_an_error() {
        let texts = [
            "",
            ":80",
            "a:b",
            "a:65536",
            "a:+80",
            "a:80:80",
            "::1",
            "[::1",
            "[::1]80",
            "u@a",
            "a b",
            "a/b",
            "*",
            "*.a",
            "é",
            "a..b",
            "[::1].:80x",
            "a%41",
            "a,b",
        ];
        for text in texts {
            assert!(RequestHost::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]

        /// The single pass takes what no rule refuses.
        #[test]
        fn a_name_is_what_keeps_every_rule(name in "[aZ0_*:é.-]{0,6}|(a{0,70}\\.?){0,5}|.{0,8}") {
            prop_assert_eq!(is_name(&name), check_each_rule(&name).is_ok(), "{:?}", name);
        }
    }
}
