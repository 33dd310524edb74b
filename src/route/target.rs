//! Where a route leads.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where an app is, and how it is spoken to: as it was registered, and as it was resolved then. Two
/// targets are equal if what was registered is, however they resolved.
#[derive(Debug)]
pub struct Target {
    endpoint: Endpoint,
    /// The protocol that is spoken there.
    pub protocol: Protocol,
    /// How the connection is secured, if it is.
    pub tls: Option<Box<TargetTls>>,
    /// Which address answered last. Written only when that changes.
    preferred: AtomicU8,
}

/// Where an app takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// At a port of a host.
    Tcp {
        /// The host name or IP address, an IPv6 address without brackets.
        host: Box<str>,
        /// The port.
        port: NonZeroU16,
        /// The addresses that the host resolved to, in order of preference.
        addresses: Box<[SocketAddr]>,
    },
    /// At a Unix socket, by its path.
    Unix(Box<str>),
}

/// The protocol that is spoken to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113, 3.3).
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// Over TLS what the target prefers of HTTP/2 and HTTP/1.1; HTTP/1.1 without.
    Auto,
}

/// How a connection to a target is secured. The target's certificate is always verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetTls {
    /// The name that the target's certificate has to be for, and that it is asked for (SNI).
    pub server_name: Box<str>,
    /// The configuration's name for a certificate authority and a client certificate; none for the
    /// system's authorities.
    pub profile: Option<Box<str>>,
}

impl Protocol {
    /// All of them, by their names.
    pub const ALL: [(&str, Self); 4] = [
        ("http1", Self::Http1),
        ("h2c", Self::H2c),
        ("h2", Self::H2),
        ("auto", Self::Auto),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
            Self::H2 => "h2",
            Self::Auto => "auto",
        }
    }
}

impl Target {
    /// A target at a port, with the addresses that `host` stands for, the preferred one first; HTTP/1.1
    /// without TLS is spoken there.
    #[must_use]
    pub fn new(host: &str, port: NonZeroU16, addresses: impl Into<Box<[SocketAddr]>>) -> Self {
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        Self::at(Endpoint::Tcp {
            host: host.into(),
            port,
            addresses: addresses.into(),
        })
    }

    /// A target, where HTTP/1.1 without TLS is spoken.
    #[must_use]
    pub fn at(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            protocol: Protocol::Http1,
            tls: None,
            preferred: AtomicU8::new(0),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The host name or IP address, an IPv6 address without brackets; none for a Unix socket.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.endpoint {
            Endpoint::Tcp { host, .. } => Some(host),
            Endpoint::Unix(_) => None,
        }
    }

    /// The port, never 0; none for a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.endpoint {
            Endpoint::Tcp { port, .. } => Some(port.get()),
            Endpoint::Unix(_) => None,
        }
    }

    /// The path of its Unix socket, if that is where it is.
    #[must_use]
    pub fn unix(&self) -> Option<&str> {
        match &self.endpoint {
            Endpoint::Tcp { .. } => None,
            Endpoint::Unix(path) => Some(path),
        }
    }

    /// Whether HTTP/1.1 without TLS is spoken there.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.tls.is_none() && matches!(self.protocol, Protocol::Http1 | Protocol::Auto)
    }

    /// Which of [`addresses`](Self::addresses) answered last; the first before any did.
    #[must_use]
    pub fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed).into()
    }

    /// Remembers the address that answered, to be tried first from now on.
    pub fn prefer(&self, address: SocketAddr) {
        let index = self.addresses().iter().position(|known| *known == address);
        // A name with more than 256 addresses does not need this.
        if let Some(index) = index.and_then(|index| u8::try_from(index).ok())
            && usize::from(index) != self.preferred()
        {
            self.preferred.store(index, Ordering::Relaxed);
        }
    }

    /// The addresses that the host resolved to, in order of preference; nothing for a Unix socket.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        match &self.endpoint {
            Endpoint::Tcp { addresses, .. } => addresses,
            Endpoint::Unix(_) => &[],
        }
    }
}

impl Clone for Target {
    fn clone(&self) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            protocol: self.protocol,
            tls: self.tls.clone(),
            preferred: AtomicU8::new(self.preferred.load(Ordering::Relaxed)),
        }
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let is_same_place = match (&self.endpoint, &other.endpoint) {
            (
                Endpoint::Tcp { host, port, .. },
                Endpoint::Tcp {
                    host: other,
                    port: other_port,
                    ..
                },
            ) => port == other_port && host.eq_ignore_ascii_case(other),
            (Endpoint::Unix(path), Endpoint::Unix(other)) => path == other,
            _ => false,
        };
        is_same_place && self.protocol == other.protocol && self.tls == other.tls
    }
}

impl Eq for Target {}

/// `host:port`, an IPv6 address in brackets (RFC 3986, 3.2.2); `unix:/path` for a Unix socket.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Unix(path) => write!(f, "unix:{path}"),
            Endpoint::Tcp { host, port, .. } => match host.parse::<Ipv6Addr>() {
                Ok(_) => write!(f, "[{host}]:{port}"),
                Err(_) => write!(f, "{host}:{port}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, port: u16) -> Target {
        Target::new(host, NonZeroU16::new(port).unwrap(), [])
    }

    #[test]
    fn a_target_is_shown_as_an_authority() {
        assert_eq!(target("localhost", 80).to_string(), "localhost:80");
        assert_eq!(target("127.0.0.1", 80).to_string(), "127.0.0.1:80");
        assert_eq!(target("::1", 80).to_string(), "[::1]:80");
        assert_eq!(target("[::1]", 80).to_string(), "[::1]:80");
    }

    #[test]
    fn targets_are_equal_by_host_and_port() {
        let resolved = Target::new(
            "LOCALHOST",
            NonZeroU16::MIN,
            ["127.0.0.1:1".parse::<SocketAddr>().unwrap()],
        );
        assert_eq!(target("localhost", 1), resolved);
        assert_ne!(target("localhost", 2), resolved);
        assert_ne!(target("other", 1), resolved);
        assert_eq!(resolved.addresses().len(), 1);
    }
}
