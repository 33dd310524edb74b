//! From a target's host to addresses, and whether they may be reached.
//!
//! Names resolve once, when they are registered. By default only loopback addresses are allowed:
//! a registration must not open a way into the private network, nor to the proxy itself. What can change
//! since, where a Unix socket's path leads above all, is looked at again when it is connected to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::num::NonZeroU16;
use std::path::Path;

use ipnet::IpNet;

use super::RegisterError;
use super::unix_socket::{OwnSocket, UnixSocket, UnixSocketError, real_path, real_rule};
use crate::route::{Destination, Endpoint, Place, Target, bad_https, clip_value};

/// An entry of `targets.allow`: targets that may be registered besides those on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedTarget {
    /// All addresses of a network.
    Network(IpNet),
    /// A host by its name, whatever it resolves to.
    Host(String),
    /// All hosts below a domain (`*.internal`), whatever they resolve to.
    HostSuffix(String),
    /// A Unix socket, or all below a folder, by its absolute path. It may lead through links, and must not
    /// be one itself.
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

    /// Whether a path is spelt as one of a socket that is allowed. What is not is never looked at: whoever
    /// registers need not learn what is there.
    fn names_unix(&self, path: &str) -> bool {
        let path = Path::new(path);
        match self {
            Self::Unix(own) => path.starts_with(own) || self.covers_unix(path),
            Self::Network(_) | Self::Host(_) | Self::HostSuffix(_) => false,
        }
    }

    /// Whether a socket is allowed, by its path without links.
    fn covers_unix(&self, real: &Path) -> bool {
        match self {
            // A folder that is not there has nothing in it.
            Self::Unix(own) => real_rule(own).is_ok_and(|own| real.starts_with(own)),
            Self::Network(_) | Self::Host(_) | Self::HostSuffix(_) => false,
        }
    }
}

/// Which targets may be registered.
#[derive(Clone, Debug, Default)]
pub struct TargetPolicy {
    /// The targets that are allowed besides those on loopback.
    pub allow: Vec<AllowedTarget>,
    /// The proxy's own listeners, which are no targets.
    pub own: Vec<SocketAddr>,
    /// The proxy's own Unix sockets, which are not targets either.
    pub own_sockets: Vec<OwnSocket>,
    /// The names of the configuration's settings for TLS with targets.
    pub profiles: Vec<String>,
}

impl TargetPolicy {
    /// Resolves a destination and checks it. Blocks while a name is looked up.
    ///
    /// # Errors
    /// [`RegisterError::TargetUnresolved`], [`RegisterError::TargetNotAllowed`],
    /// [`RegisterError::UnixNotAllowed`], [`RegisterError::TargetIsProxy`] or, for a profile that
    /// the configuration does not have, [`RegisterError::Spec`].
    pub fn resolve(&self, destination: &Destination) -> Result<Target, RegisterError> {
        let addresses = match &destination.place {
            Place::Tcp(host, port) => addresses(host, *port)?,
            Place::Unix(_) => Vec::new(),
        };
        let target = destination.resolved(&addresses)?;
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
            let problem = format!(
                "{:?} is none of the names in `targets.tls` of the proxy's configuration",
                clip_value(profile)
            );
            return Err(bad_https(problem).in_part("profile").into());
        }
        match target.endpoint() {
            Endpoint::Unix(path) => self.allow_unix(path)?,
            Endpoint::Tcp {
                host, addresses, ..
            } => {
                let target = || target.to_string();
                if !addresses.iter().all(|at| self.allows(host, at.ip())) {
                    return Err(RegisterError::TargetNotAllowed { target: target() });
                }
                if addresses.iter().any(|address| self.is_own(*address)) {
                    return Err(RegisterError::TargetIsProxy { target: target() });
                }
            }
        }
        Ok(())
    }

    /// Checks the Unix socket at a path. It need not be there: an app may register first, or be just
    /// starting again.
    fn allow_unix(&self, path: &str) -> Result<(), UnixSocketError> {
        let failed = |source| UnixSocketError::Io {
            path: path.to_owned(),
            source,
        };
        self.check_spelling(path)?;
        match UnixSocket::open(path) {
            Ok(socket) => self.allow_socket(path, &socket),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let real = real_path(Path::new(path)).map_err(failed)?;
                let is_own = self.own_sockets.iter().any(|own| own.is_at(&real));
                self.allow_place(path, &real, is_own)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn check_spelling(&self, path: &str) -> Result<(), UnixSocketError> {
        if self.allow.iter().any(|rule| rule.names_unix(path)) {
            return Ok(());
        }
        Err(UnixSocketError::NotAllowed {
            path: path.to_owned(),
            real: path.into(),
        })
    }

    fn allow_socket(&self, path: &str, socket: &UnixSocket) -> Result<(), UnixSocketError> {
        let is_own = self.own_sockets.iter().any(|own| own.is(socket));
        self.allow_place(path, socket.real(), is_own)
    }

    fn allow_place(&self, path: &str, real: &Path, is_own: bool) -> Result<(), UnixSocketError> {
        let is_allowed = self.allow.iter().any(|rule| rule.covers_unix(real));
        let (path, real) = (path.to_owned(), real.to_owned());
        match (is_allowed, is_own) {
            (false, _) => Err(UnixSocketError::NotAllowed { path, real }),
            (true, true) => Err(UnixSocketError::Own { path, real }),
            (true, false) => Ok(()),
        }
    }

    /// Opens the Unix socket at a path, to be connected to, and checks what it is.
    ///
    /// # Errors
    /// [`UnixSocketError`].
    pub(super) fn open_unix(&self, path: &str) -> Result<UnixSocket, UnixSocketError> {
        self.check_spelling(path)?;
        let socket = UnixSocket::open(path).map_err(|source| UnixSocketError::Io {
            path: path.to_owned(),
            source,
        })?;
        self.allow_socket(path, &socket)?;
        Ok(socket)
    }

    fn allows(&self, host: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.allow.iter().any(|rule| rule.covers(host, address))
    }

    /// Whether a connection to this address comes to one of the proxy's own listeners.
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        let mut same_port = self.own.iter().filter(|own| own.port() == address.port());
        same_port.any(|own| {
            let (own, address) = (own.ip().to_canonical(), reached(address.ip()));
            own == address || (own.is_unspecified() && is_this_machine(address))
        })
    }
}

/// The address that a connection arrives at: to the unspecified one, Linux connects to itself.
fn reached(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// Whether an address is one of this machine's: the kernel then answers it from itself.
fn is_this_machine(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket sends nothing; it only asks for the route.
    UdpSocket::bind((any, 0))
        .and_then(|socket| {
            socket
                .connect((address, 9))
                .and_then(|()| socket.local_addr())
        })
        .is_ok_and(|local| local.ip() == address)
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
            allow: ["0.0.0.0/0", "::/0"]
                .map(|any| AllowedTarget::Network(any.parse().unwrap()))
                .into(),
            own: vec![text.parse().unwrap()],
            ..TargetPolicy::default()
        };
        for (listener, host) in [
            ("0.0.0.0:4000", "localhost"),
            ("0.0.0.0:4000", "127.0.0.1"),
            ("[::]:4000", "localhost"),
            ("127.0.0.1:4000", "localhost"),
            ("127.0.0.1:4000", "::ffff:127.0.0.1"),
            ("127.0.0.1:4000", "0.0.0.0"),
            ("127.0.0.1:4000", "::ffff:0.0.0.0"),
            ("[::1]:4000", "::"),
        ] {
            assert_eq!(
                resolve(&own(listener), host),
                Err("TARGET_IS_PROXY"),
                "{listener} {host}"
            );
        }
        assert!(resolve(&own("0.0.0.0:4001"), "localhost").is_ok());
        assert!(resolve(&own("127.0.0.2:4000"), "127.0.0.1").is_ok());
        assert!(resolve(&own("127.0.0.2:4000"), "0.0.0.0").is_ok());
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
