//! From a target's host to addresses, and whether they may be reached.
//!
//! Targets resolve once, when they are registered. By default only loopback addresses are allowed:
//! a registration must not open a way into the private network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::num::NonZeroU16;

use ipnet::IpNet;

use super::RegisterError;
use super::destination::{Destination, Place};
use crate::route::{Endpoint, Target, TargetTls};

/// What `targets.allow` opens beside loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedTarget {
    /// All addresses of a network.
    Network(IpNet),
    /// A host by its name, whatever it resolves to.
    Host(String),
    /// All hosts below a domain (`*.internal`), whatever they resolve to.
    HostSuffix(String),
    /// A Unix socket, or all below a folder, by its absolute path.
    Unix(String),
}

impl AllowedTarget {
    fn covers(&self, host: &str, address: IpAddr) -> bool {
        match self {
            Self::Network(network) => network.contains(&address),
            Self::Host(name) => name.eq_ignore_ascii_case(host),
            Self::HostSuffix(domain) => host
                .len()
                .checked_sub(domain.len() + 1)
                .and_then(|dot| host.split_at_checked(dot))
                .and_then(|(_, rest)| rest.strip_prefix('.'))
                .is_some_and(|rest| rest.eq_ignore_ascii_case(domain)),
            Self::Unix(_) => false,
        }
    }

    fn covers_unix(&self, path: &str) -> bool {
        match self {
            Self::Unix(own) => path
                .strip_prefix(own.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            _ => false,
        }
    }
}

/// Which targets may be registered.
#[derive(Clone, Debug, Default)]
pub struct TargetPolicy {
    /// What is allowed beside loopback.
    pub allow: Vec<AllowedTarget>,
    /// The proxy's own listeners, which are no targets.
    pub own: Vec<SocketAddr>,
    /// The names of the configuration's settings for TLS with targets.
    pub profiles: Vec<String>,
}

impl TargetPolicy {
    /// Resolves a destination and checks it. Blocks while a name is looked up.
    ///
    /// # Errors
    /// [`RegisterError::TargetUnresolved`], [`RegisterError::TargetNotAllowed`],
    /// [`RegisterError::UnixNotAllowed`], [`RegisterError::TargetIsProxy`] or, for a profile that
    /// the configuration does not have, [`RegisterError::Https`].
    pub fn resolve(&self, destination: &Destination) -> Result<Target, RegisterError> {
        let mut target = match &destination.place {
            Place::Tcp(host, port) => Target::new(host, *port, addresses(host, *port)?),
            Place::Unix(path) => Target::at(Endpoint::Unix(path.as_str().into())),
        };
        target.protocol = destination.protocol;
        target.tls = match &destination.tls {
            None => None,
            Some(wish) => Some(Box::new(TargetTls {
                server_name: destination.name_to_verify(wish)?.into(),
                profile: wish.profile.as_deref().map(Box::from),
            })),
        };
        self.allow_resolved(&target)?;
        Ok(target)
    }

    /// Checks a target that was resolved before.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), except that nothing is looked up.
    pub(super) fn allow_resolved(&self, target: &Target) -> Result<(), RegisterError> {
        let profile = target.tls.as_ref().and_then(|tls| tls.profile.as_deref());
        if let Some(profile) = profile
            && !self.profiles.iter().any(|known| known == profile)
        {
            return Err(RegisterError::Https(format!(
                "the profile {profile:?} is none of `targets.tls` of the proxy's configuration"
            )));
        }
        let shown = || target.to_string();
        match target.endpoint() {
            Endpoint::Unix(path) => {
                if !self.allow.iter().any(|rule| rule.covers_unix(path)) {
                    let path = path.to_string();
                    return Err(RegisterError::UnixNotAllowed { path });
                }
            }
            Endpoint::Tcp {
                host, addresses, ..
            } => {
                if !addresses.iter().all(|at| self.allows(host, at.ip())) {
                    return Err(RegisterError::TargetNotAllowed { target: shown() });
                }
                if addresses.iter().any(|address| self.is_own(*address)) {
                    return Err(RegisterError::TargetIsProxy { target: shown() });
                }
            }
        }
        Ok(())
    }

    fn allows(&self, host: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.allow.iter().any(|rule| rule.covers(host, address))
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        self.own.iter().any(|own| {
            own.port() == address.port()
                && (own.ip().to_canonical() == address.ip().to_canonical()
                    || (own.ip().is_unspecified() && is_this_machine(address)))
        })
    }
}

/// Whether an address is one of this machine's: the kernel then answers it from itself.
fn is_this_machine(address: SocketAddr) -> bool {
    if address.ip().to_canonical().is_loopback() || address.ip().is_unspecified() {
        return true;
    }
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Connecting a datagram socket sends nothing; it only asks for the route.
    UdpSocket::bind(any)
        .and_then(|socket| socket.connect(address).and_then(|()| socket.local_addr()))
        .is_ok_and(|local| local.ip() == address.ip())
}

fn addresses(host: &str, port: NonZeroU16) -> Result<Vec<SocketAddr>, RegisterError> {
    let port = port.get();
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    // RFC 6761, 6.3: always loopback, without asking anybody. Apps listen on one family or both.
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]);
    }
    let unresolved = |reason: String| RegisterError::TargetUnresolved {
        host: host.to_owned(),
        reason,
    };
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| unresolved(error.to_string()))?
        .collect();
    if found.is_empty() {
        return Err(unresolved("the name has no address".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(policy: &TargetPolicy, host: &str) -> Result<Target, &'static str> {
        let place = Place::Tcp(host.to_owned(), NonZeroU16::new(4000).unwrap());
        policy
            .resolve(&Destination::at(place))
            .map_err(|error| error.code())
    }

    #[test]
    fn only_loopback_is_allowed_by_default() {
        let policy = TargetPolicy::default();
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(resolve(&policy, host).is_ok(), "{host}");
        }
        for host in [
            "10.0.0.1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(resolve(&policy, host), Err("TARGET_NOT_ALLOWED"), "{host}");
        }
    }

    #[test]
    fn localhost_means_both_families() {
        let target = resolve(&TargetPolicy::default(), "localhost").unwrap();
        let families: Vec<bool> = target.addresses().iter().map(SocketAddr::is_ipv6).collect();
        assert_eq!(families, [false, true]);
    }

    #[test]
    fn the_configuration_opens_networks_and_names() {
        let policy = TargetPolicy {
            allow: vec![AllowedTarget::Network("10.0.0.0/8".parse().unwrap())],
            ..TargetPolicy::default()
        };
        assert!(resolve(&policy, "10.1.2.3").is_ok());
        assert!(resolve(&policy, "::ffff:10.1.2.3").is_ok());
        assert_eq!(resolve(&policy, "11.1.2.3"), Err("TARGET_NOT_ALLOWED"));
        let suffix = AllowedTarget::HostSuffix("internal".to_owned());
        let address = "10.0.0.1".parse().unwrap();
        assert!(suffix.covers("db.Internal", address));
        assert!(!suffix.covers("internal", address));
        assert!(!suffix.covers("evilinternal", address));
    }

    #[test]
    fn the_proxy_is_no_target_of_its_own() {
        let own = |text: &str| TargetPolicy {
            own: vec![text.parse().unwrap()],
            ..TargetPolicy::default()
        };
        for (listener, host) in [
            ("0.0.0.0:4000", "localhost"),
            ("0.0.0.0:4000", "127.0.0.1"),
            ("[::]:4000", "localhost"),
            ("127.0.0.1:4000", "localhost"),
            ("127.0.0.1:4000", "::ffff:127.0.0.1"),
        ] {
            assert_eq!(
                resolve(&own(listener), host),
                Err("TARGET_IS_PROXY"),
                "{listener} {host}"
            );
        }
        assert!(resolve(&own("0.0.0.0:4001"), "localhost").is_ok());
        assert!(resolve(&own("127.0.0.2:4000"), "127.0.0.1").is_ok());
    }

    #[test]
    fn unix_sockets_are_allowed_by_folder_or_by_name() {
        let policy = TargetPolicy {
            allow: vec![
                AllowedTarget::Unix("/run/apps/".to_owned()),
                AllowedTarget::Unix("/run/one.sock".to_owned()),
            ],
            ..TargetPolicy::default()
        };
        let code = |path: &str| {
            let wanted = Destination::at(Place::Unix(path.to_owned()));
            policy.resolve(&wanted).map_err(|error| error.code())
        };
        assert!(code("/run/apps/a.sock").is_ok() && code("/run/one.sock").is_ok());
        for path in ["/run/appsx/a.sock", "/run/docker.sock", "/run/one.sock2"] {
            assert_eq!(code(path), Err("TARGET_NOT_ALLOWED"), "{path}");
        }
    }

    #[test]
    fn a_name_without_an_address_is_an_error() {
        let policy = TargetPolicy::default();
        assert_eq!(
            resolve(&policy, "no-such-host.invalid"),
            Err("TARGET_UNRESOLVED")
        );
    }
}
