//! The entries of `listen` and `tls.listen`: an address, or a map with the address and what holds for
//! this listener in place of the general keys.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;

use ipnet::IpNet;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::error::ConfigError;
use super::network::{self, ListenAddress, Network};
use super::source::{Source, refuse};
use super::{number, text};

/// An address to listen on, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// The address. An IPv6 one stands for IPv6 alone, so that `0.0.0.0:3000` and `[::]:3000` can
    /// be listened on side by side. Port 0 is any free port.
    pub address: SocketAddr,
    /// It may be left out where the machine lacks its address family (the IPv6 half of the
    /// default). An address that the configuration names is never optional.
    pub optional: bool,
    /// Whether it only sends clients to https. Default: it serves them.
    pub redirect_to_https: HttpsRedirect,
    /// Whether clients may speak HTTP/2 at once, by prior knowledge. Default: `http2.cleartext`.
    pub http2_cleartext: bool,
    /// The peers that begin every connection with a header of the PROXY protocol, and have to.
    /// Default: `proxy_protocol.trusted`.
    pub proxy_protocol: Vec<IpNet>,
}

/// `redirect_to_https`: whether a listener only sends clients to https.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpsRedirect {
    /// It serves them.
    #[default]
    Off,
    /// To the port `tls.redirect_port`.
    DefaultPort,
    /// To this port.
    Port(u16),
}

/// The general keys, for entries that say nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct General<'a> {
    pub(super) http2_cleartext: bool,
    pub(super) proxy_protocol: &'a [IpNet],
}

/// An entry of `listen` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenKeys {
    address: ListenAddress,
    #[serde(default, deserialize_with = "redirect")]
    redirect_to_https: HttpsRedirect,
    #[serde(default, deserialize_with = "text::given")]
    http2_cleartext: Option<bool>,
    #[serde(default, deserialize_with = "given_networks")]
    proxy_protocol: Option<Vec<IpNet>>,
}

impl ListenKeys {
    /// The listener, with the general keys where the entry has none.
    pub(super) fn resolve(&self, general: General<'_>) -> Listen {
        Listen {
            redirect_to_https: self.redirect_to_https,
            http2_cleartext: self.http2_cleartext.unwrap_or(general.http2_cleartext),
            proxy_protocol: match &self.proxy_protocol {
                Some(own) => own.clone(),
                None => general.proxy_protocol.to_vec(),
            },
            ..Listen::plain(self.address.0, general)
        }
    }
}

impl Listen {
    /// A listener with the general keys.
    pub(super) fn plain(address: SocketAddr, general: General<'_>) -> Self {
        Self {
            address,
            optional: false,
            redirect_to_https: HttpsRedirect::Off,
            http2_cleartext: general.http2_cleartext,
            proxy_protocol: general.proxy_protocol.to_vec(),
        }
    }
}

impl Keys for ListenKeys {
    fn of(address: ListenAddress) -> Self {
        Self {
            address,
            redirect_to_https: HttpsRedirect::Off,
            http2_cleartext: None,
            proxy_protocol: None,
        }
    }

    fn address(&self) -> SocketAddr {
        self.address.0
    }
}

/// The keys of a listener.
pub(super) trait Keys {
    /// Those of an entry that is an address alone.
    fn of(address: ListenAddress) -> Self;

    fn address(&self) -> SocketAddr;
}

/// An entry of a list of listeners. What is wrong with one that is no map is said by
/// [`check_entries`]: a number or a blank has lost its place by the time it is seen.
#[derive(Debug)]
pub(super) struct Entry<K>(Result<K, String>);

impl<K> Entry<K> {
    /// The keys of each; [`check_entries`] refuses the others.
    pub(super) fn all(entries: &[Self]) -> impl Iterator<Item = &K> {
        entries.iter().filter_map(|entry| entry.0.as_ref().ok())
    }
}

impl<'de, K: Keys + Deserialize<'de>> Deserialize<'de> for Entry<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor(PhantomData))
    }
}

struct EntryVisitor<K>(PhantomData<K>);

impl<'de, K: Keys + Deserialize<'de>> Visitor<'de> for EntryVisitor<K> {
    type Value = Entry<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ADDRESS:PORT, or a map with an `address`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Entry(network::listen_address(text).map(K::of)))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Entry(Err(
            "has no value; give it one, or remove the line".to_owned()
        )))
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

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        K::deserialize(MapAccessDeserializer::new(map)).map(|keys| Entry(Ok(keys)))
    }
}

/// Checks what a list of listeners is by itself; `key` is the list's.
pub(super) fn check_entries<K: Keys>(
    key: &str,
    entries: &[Entry<K>],
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    if entries.is_empty() {
        let problem = "is empty; name an address, or remove the key";
        return Err(refuse(key, problem, source));
    }
    for (index, entry) in entries.iter().enumerate() {
        let refuse = |problem: &str| Err(refuse(&format!("{key}[{index}]"), problem, source));
        let address = match &entry.0 {
            Ok(keys) => keys.address(),
            Err(problem) => return refuse(problem),
        };
        let mut earlier = Entry::all(entries.get(..index).unwrap_or_default());
        if address.port() != 0 && earlier.any(|earlier| earlier.address() == address) {
            return refuse("is in the list twice; keep one");
        }
    }
    Ok(())
}

/// The networks of an entry. Left blank, they could be none or the general ones.
pub(super) fn given_networks<'de, D>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error>
where
    D: Deserializer<'de>,
{
    let networks: Vec<Network> = de::Deserialize::deserialize(deserializer)?;
    Ok(Some(
        networks.into_iter().map(|network| network.0).collect(),
    ))
}

/// The port of https that clients are sent to.
pub(super) fn given_port<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u16>, D::Error> {
    number::target_port(deserializer).map(Some)
}

fn redirect<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HttpsRedirect, D::Error> {
    text::parse_with(deserializer, |text| match text {
        "true" => Ok(HttpsRedirect::DefaultPort),
        "false" => Ok(HttpsRedirect::Off),
        _ => match text.parse() {
            Ok(port) if port != 0 => Ok(HttpsRedirect::Port(port)),
            _ => Err(format!(
                "is {}; write true, false, or the port of https, 1 to 65535",
                text::shown(text)
            )),
        },
    })
}
