//! `control`: where the control API is listened on, and for whom.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::error::ConfigError;
use super::listen::Listen;
use super::network;
use super::source::{Source, refuse};
use super::{duration, size, text};

/// The longest path of a Unix socket (`sun_path` of Linux, less its closing zero).
const LONGEST_PATH: usize = 107;

/// An address of the control API, or of registrations alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlListen {
    /// A TCP address; port 0 is any free port.
    Tcp(SocketAddr),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl ControlListen {
    /// Its address, if it is TCP.
    pub(super) fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// `control`: the control API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Control {
    /// Where it is listened on; empty when it is `off`. Default: the port after the traffic's, on
    /// 127.0.0.1.
    pub listen: Vec<ControlListen>,
    /// Whether `listen` is the default.
    pub is_default: bool,
    /// The file with the tokens of those who may use it. Default: none, and whoever is on this
    /// machine may.
    pub tokens: Option<PathBuf>,
    /// Host names and addresses, besides loopback and the listener's own, that requests may be
    /// for. Default: none.
    pub hosts: Vec<String>,
    /// The longest body, in bytes. Default: 64 MiB.
    pub body_limit: usize,
    /// How long the whole body may take to arrive. Default: 60 s.
    pub body_timeout: Duration,
}

/// `control` as it is written.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ControlKeys {
    /// Empty: `off`. What is wrong with a single value is said by `check_keys`: a number or a blank
    /// has lost its place by the time it is seen.
    #[serde(deserialize_with = "addresses")]
    listen: Option<Result<Vec<ControlListen>, String>>,
    #[serde(deserialize_with = "text::given_path")]
    tokens: Option<PathBuf>,
    #[serde(deserialize_with = "text::or_blank")]
    hosts: Vec<HostName>,
    #[serde(deserialize_with = "size::positive")]
    body_limit: usize,
    #[serde(deserialize_with = "duration::positive")]
    body_timeout: Duration,
}

impl Default for ControlKeys {
    fn default() -> Self {
        Self {
            listen: None,
            tokens: None,
            hosts: Vec::new(),
            body_limit: 64 * 1024 * 1024,
            body_timeout: Duration::from_mins(1),
        }
    }
}

impl ControlKeys {
    /// The section with its defaults; that of `listen` follows from the traffic's listeners.
    pub(super) fn resolve(self, traffic: &[Listen]) -> Control {
        let is_default = self.listen.is_none();
        let listen = self.listen.and_then(Result::ok).unwrap_or_else(|| {
            let port = default_port(traffic);
            port.map(|port| ControlListen::Tcp((Ipv4Addr::LOCALHOST, port).into()))
                .into_iter()
                .collect()
        });
        Control {
            listen,
            is_default,
            tokens: self.tokens,
            hosts: self.hosts.into_iter().map(|host| host.0).collect(),
            body_limit: self.body_limit,
            body_timeout: self.body_timeout,
        }
    }
}

/// The port after the first of the traffic; none after the last port there is.
fn default_port(traffic: &[Listen]) -> Option<u16> {
    match traffic.first().map_or(0, |first| first.address.port()) {
        0 => Some(0),
        port => port.checked_add(1),
    }
}

/// Checks what the deserialiser could not refuse at the right place.
pub(super) fn check_keys(keys: &ControlKeys, source: &Source<'_>) -> Result<(), ConfigError> {
    match &keys.listen {
        Some(Err(problem)) => Err(refuse("control.listen", problem, source)),
        _ => Ok(()),
    }
}

/// Checks what the control listeners are together with the traffic's. `variable` is the one of the
/// environment that holds the port, if one does.
pub(super) fn check(
    control: &Control,
    traffic: &[Listen],
    user: Option<&str>,
    variable: Option<&'static str>,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    if control.is_default {
        return check_default(control, traffic, variable, source);
    }
    let listen = &control.listen;
    let refuse = |index: usize, problem: String| {
        let item = format!("control.listen[{index}]");
        if source.value(&item).is_some() {
            return Err(refuse(&item, problem, source));
        }
        Err(refuse("control.listen", problem, source))
    };
    for (index, address) in listen.iter().enumerate() {
        if listen.iter().take(index).any(|earlier| earlier == address) && !is_any_port(address) {
            return refuse(index, "is in the list twice; keep one".to_owned());
        }
        let ControlListen::Tcp(address) = address else {
            if user.is_some() {
                let problem = "is a Unix socket, which would belong to the user before `user`; \
                               remove that key, and start the proxy as its user";
                return refuse(index, problem.to_owned());
            }
            continue;
        };
        if let Some(other) = traffic.iter().find(|other| meet(other.address, *address)) {
            return refuse(
                index,
                format!(
                    "is where the traffic is listened on ({}); choose another port, or a Unix \
                     socket",
                    other.address
                ),
            );
        }
        if control.tokens.is_none() && !address.ip().to_canonical().is_loopback() {
            return refuse(
                index,
                format!(
                    "({address}) can be reached from other machines, and nobody would need a \
                     token; set `control.tokens`, or listen on 127.0.0.1"
                ),
            );
        }
    }
    Ok(())
}

fn check_default(
    control: &Control,
    traffic: &[Listen],
    variable: Option<&'static str>,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    let Some(default) = control.listen.first() else {
        let problem = "is the last port there is, and the control API is on the one after it by \
                       default; write `control.listen`, such as 127.0.0.1:3001 or off"
            .to_owned();
        if let Some(variable) = variable {
            return Err(ConfigError::Environment { variable, problem });
        }
        let key = if source.value("port").is_some() {
            "port"
        } else {
            "listen[0]"
        };
        return Err(refuse(key, problem, source));
    };
    let taken = traffic.iter().position(
        |other| matches!(default, ControlListen::Tcp(default) if meet(other.address, *default)),
    );
    taken.map_or(Ok(()), |index| {
        let problem = "is the control API's address by default, the port after the first; write \
                       `control.listen`, such as 127.0.0.1:3001 or off";
        Err(refuse(&format!("listen[{index}]"), problem, source))
    })
}

/// Whether two addresses cannot be listened on side by side. An IPv6 one is for IPv6 alone.
pub(super) fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn is_any_port(address: &ControlListen) -> bool {
    matches!(address, ControlListen::Tcp(address) if address.port() == 0)
}

/// An address, a list of them, or `off`.
pub(super) fn addresses<'de, D>(
    deserializer: D,
) -> Result<Option<Result<Vec<ControlListen>, String>>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Addresses).map(Some)
}

struct Addresses;

impl<'de> Visitor<'de> for Addresses {
    type Value = Result<Vec<ControlListen>, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ADDRESS:PORT, unix:PATH, a list of them, or off")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(match text {
            "off" => Ok(Vec::new()),
            text => address(text).map(|one| vec![one]),
        })
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Err(
            "has no value; give it one, or remove the line".to_owned()
        ))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut addresses = Vec::new();
        while let Some(Item(address)) = items.next_element()? {
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(A::Error::custom("is empty; name an address, or write off"));
        }
        Ok(Ok(addresses))
    }
}

struct Item(ControlListen);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, address).map(Self)
    }
}

fn address(text: &str) -> Result<ControlListen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(|path| ControlListen::Unix(path.into()));
    }
    let address = text.parse().map_err(|error| {
        log::trace!("{text:?} as an address: {error}");
        format!(
            "is not an address to listen on: {}; write one such as 127.0.0.1:3001, [::1]:3001 or \
             unix:/run/dynamic-reverse-proxy/control.sock",
            text::shown(text)
        )
    })?;
    network::own_family(address).map(ControlListen::Tcp)
}

fn socket_path(path: &str) -> Result<&str, String> {
    let shown = text::shown(path);
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(format!(
            "is not the absolute path of a socket: {shown}; write one such as \
             unix:/run/dynamic-reverse-proxy/control.sock"
        ));
    }
    if path.len() > LONGEST_PATH {
        return Err(format!(
            "is too long a path for a socket: {} bytes; choose one of at most {LONGEST_PATH}",
            path.len()
        ));
    }
    // At an upgrade the sockets' names change hands with a blank between them.
    if path.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(format!(
            "has a blank or a control character: {shown}; choose a path without"
        ));
    }
    Ok(path)
}

/// A host that requests may be for: a name, or an address without a port.
#[derive(Debug)]
struct HostName(String);

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, |text| {
            let bare = text.trim_start_matches('[').trim_end_matches(']');
            if let Ok(address) = bare.parse::<IpAddr>() {
                return Ok(Self(address.to_canonical().to_string()));
            }
            network::host(text).map(Self).ok_or_else(|| {
                format!(
                    "is not a host name: {}; write one such as proxy.internal, without a port",
                    text::shown(text)
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tcp_or_a_unix_socket() {
        for (text, expected) in [
            (
                "127.0.0.1:3001",
                ControlListen::Tcp("127.0.0.1:3001".parse().unwrap()),
            ),
            ("[::1]:0", ControlListen::Tcp("[::1]:0".parse().unwrap())),
            ("unix:/a/b", ControlListen::Unix("/a/b".into())),
        ] {
            assert_eq!(address(text), Ok(expected), "{text}");
        }
        let long = format!("unix:/{}", "a".repeat(LONGEST_PATH));
        for text in [
            "",
            "on",
            "3001",
            "127.0.0.1",
            "localhost:3001",
            "unix:",
            "unix:a",
            "unix:/",
            "unix:/a b",
            "unix:/a/",
            &long,
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_meet_on_one_port_of_one_family() {
        for (one, other, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("[::]:1", "127.0.0.1:1", false),
            ("[::]:1", "[::1]:1", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(meet(one, other), expected, "{one} {other}");
            assert_eq!(meet(other, one), expected, "{other} {one}");
        }
    }
}
