//! Where a route leads.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU8, Ordering};

/// An app's address: as it was registered, and as it was resolved then. Two targets are equal if host
/// and port are, however they resolved.
#[derive(Debug)]
pub struct Target {
    host: Box<str>,
    port: NonZeroU16,
    addresses: Box<[SocketAddr]>,
    /// Which address answered last. Written only when that changes.
    preferred: AtomicU8,
}

impl Target {
    /// A target with the addresses that `host` stands for, the preferred one first.
    #[must_use]
    pub fn new(host: &str, port: NonZeroU16, addresses: impl Into<Box<[SocketAddr]>>) -> Self {
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        Self {
            host: host.into(),
            port,
            addresses: addresses.into(),
            preferred: AtomicU8::new(0),
        }
    }

    /// The host name or IP address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.get()
    }

    /// Which of [`addresses`](Self::addresses) answered last; the first before any did.
    #[must_use]
    pub fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed).into()
    }

    /// Remembers the address that answered, to be tried first from now on.
    pub fn prefer(&self, address: SocketAddr) {
        let index = self.addresses.iter().position(|known| *known == address);
        // A name with more than 256 addresses does not need this.
        if let Some(index) = index.and_then(|index| u8::try_from(index).ok())
            && usize::from(index) != self.preferred()
        {
            self.preferred.store(index, Ordering::Relaxed);
        }
    }

    /// What the host resolved to, in order of preference.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Clone for Target {
    fn clone(&self) -> Self {
        Self {
            host: self.host.clone(),
            port: self.port,
            addresses: self.addresses.clone(),
            preferred: AtomicU8::new(self.preferred.load(Ordering::Relaxed)),
        }
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl Eq for Target {}

/// `host:port`, an IPv6 address in brackets (RFC 3986, 3.2.2).
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<Ipv6Addr>() {
            Ok(_) => write!(f, "[{}]:{}", self.host, self.port),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
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
