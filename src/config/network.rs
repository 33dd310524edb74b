//! Addresses, networks and host names.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::text;

/// Where a registered target may be, beyond this machine's loopback.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AllowedTarget {
    /// Every address in it, by whatever name it was reached.
    Network(IpNet),
    /// This host name, in lower case and without a trailing dot.
    Host(String),
    /// Every name below this one, written `*.internal` and kept as `internal`.
    HostSuffix(String),
    /// A Unix socket, or all below a folder, by its absolute path; written `unix:/run/apps`.
    Unix(String),
}

impl<'de> Deserialize<'de> for AllowedTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, allowed_target)
    }
}

/// An address in a list of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenAddress(pub(super) SocketAddr);

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, listen_address)
    }
}

pub(super) fn listen_address(text: &str) -> Result<ListenAddress, String> {
    let address = text.parse().map_err(|error| {
        log::trace!("{text:?} as an address: {error}");
        format!(
            "is not an IP address and port: {}; write them as 127.0.0.1:3000 or [::1]:3000",
            text::shown(text)
        )
    })?;
    own_family(address).map(ListenAddress)
}

/// An address to listen on, unless it is an IPv4 address in the form of an IPv6 one: a listener for IPv6 takes
/// IPv6 alone, so that it could not be bound.
pub(super) fn own_family(address: SocketAddr) -> Result<SocketAddr, String> {
    let own = SocketAddr::new(address.ip().to_canonical(), address.port());
    if own.is_ipv4() == address.is_ipv4() {
        return Ok(address);
    }
    Err(format!(
        "is an IPv4 address in the form of an IPv6 one: {address}; write {own}"
    ))
}

/// A network, or an address that is the only one in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network(pub(super) IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, |text| {
            network(text)?.map(Self).ok_or_else(|| {
                format!(
                    "is not an address or network: {}; write one such as 10.1.2.3 or 10.0.0.0/8",
                    text::shown(text)
                )
            })
        })
    }
}

fn allowed_target(text: &str) -> Result<AllowedTarget, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(AllowedTarget::Unix(path.to_owned()))
        } else {
            Err(format!(
                "is not an absolute path: {}; write one such as unix:/run/apps",
                text::shown(text)
            ))
        };
    }
    if let Some(network) = network(text)? {
        return Ok(AllowedTarget::Network(network));
    }
    if text == "*" {
        return Err("is too wide: \"*\"; for any address, write 0.0.0.0/0 and ::/0".to_owned());
    }
    let (name, wildcard) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    match (host(name), wildcard) {
        (Some(host), false) => Ok(AllowedTarget::Host(host)),
        (Some(host), true) => Ok(AllowedTarget::HostSuffix(host)),
        (None, _) => Err(format!(
            "is not an address, network, host name or Unix socket: {}; write one such as 10.1.2.3, \
             10.0.0.0/8, db.internal, *.internal or unix:/run/apps",
            text::shown(text)
        )),
    }
}

/// None when the text is not meant as an address at all.
fn network(text: &str) -> Result<Option<IpNet>, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Some(address.into()));
    }
    if !text.contains('/') {
        return Ok(None);
    }
    let network: IpNet = text.parse().map_err(|error| {
        log::trace!("{text:?} as a network: {error}");
        format!(
            "is not a network: {}; write one such as 10.0.0.0/8 or fd00::/8",
            text::shown(text)
        )
    })?;
    if network.trunc() != network {
        return Err(format!(
            "is not a network: {text:?} has host bits set; write {}",
            network.trunc()
        ));
    }
    Ok(Some(network))
}

/// A host name (RFC 1123, 2.1; underscores too, which container names have), in lower case and
/// without a trailing dot. A name whose last label is all digits is a mistyped address.
pub(super) fn host(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let last = name.rsplit('.').next()?;
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    (name.len() <= 253 && !numeric && name.split('.').all(is_label)).then_some(name)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_network_or_a_host() {
        let network = |text: &str| AllowedTarget::Network(text.parse().unwrap());
        for (text, expected) in [
            ("10.0.0.0/8", network("10.0.0.0/8")),
            ("10.1.2.3", network("10.1.2.3/32")),
            ("fd00::/8", network("fd00::/8")),
            ("::1", network("::1/128")),
            ("db.internal", AllowedTarget::Host("db.internal".to_owned())),
            (
                "DB.Internal.",
                AllowedTarget::Host("db.internal".to_owned()),
            ),
            ("my_app", AllowedTarget::Host("my_app".to_owned())),
            (
                "*.internal",
                AllowedTarget::HostSuffix("internal".to_owned()),
            ),
        ] {
            assert_eq!(allowed_target(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            ".",
            "*",
            "*.",
            "a..b",
            "-a",
            "a-",
            "a b",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "a/8",
            "http://a",
            "a:80",
            "*.*.a",
            "a.*",
            "[::1]",
        ] {
            assert!(allowed_target(text).is_err(), "{text}");
        }
    }
}
