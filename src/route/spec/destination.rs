//! Where a registration points, before it is resolved.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::route::{Endpoint, FieldError, HostPattern, Protocol, Target, TargetTls, clip_value};

/// The longest path of a Unix socket, in bytes (unix(7), with the byte that ends it).
const MAX_UNIX_PATH: usize = 107;

/// Where requests are to go, and what is to be spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The host and the port, or the Unix socket.
    pub place: Place,
    /// The protocol that is spoken there; HTTP/1.1 unless something else is asked for.
    pub protocol: Protocol,
    /// How the connection is secured; not at all by default.
    pub tls: Option<TlsWish>,
}

/// The place of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A port of a host: a name, or an address without brackets.
    Tcp(String, NonZeroU16),
    /// A Unix socket, by its absolute path.
    Unix(String),
}

/// The TLS settings of a target, as they are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsWish {
    /// The name that the target's certificate has to be for; the target's host, if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The configuration's name for a certificate authority and a client certificate
    /// (`targets.tls`); the system's authorities, if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// `https` as it is sent: whether, or how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum HttpsInput {
    /// Whether the connection is secured.
    Whether(bool),
    /// How it is.
    How(TlsWish),
}

/// By hand, since what serde derives takes a list for an object, and forgets which field of it is wrong.
impl<'de> Deserialize<'de> for HttpsInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WhetherOrHow)
    }
}

struct WhetherOrHow;

impl<'de> Visitor<'de> for WhetherOrHow {
    type Value = HttpsInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, or an object with server_name and profile")
    }

    fn visit_bool<E>(self, whether: bool) -> Result<HttpsInput, E> {
        Ok(HttpsInput::Whether(whether))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HttpsInput, A::Error> {
        TlsWish::deserialize(MapAccessDeserializer::new(map)).map(HttpsInput::How)
    }
}

impl HttpsInput {
    /// Returns the settings for TLS with the target; `None` if the connection is not secured.
    #[must_use]
    pub fn wish(self) -> Option<TlsWish> {
        match self {
            Self::Whether(false) => None,
            Self::Whether(true) => Some(TlsWish::default()),
            Self::How(wish) => Some(wish),
        }
    }
}

impl Destination {
    /// A port of this machine, where HTTP/1.1 is spoken.
    #[must_use]
    pub fn local(port: NonZeroU16) -> Self {
        Self::at(Place::Tcp("localhost".to_owned(), port))
    }

    /// A place where HTTP/1.1 is spoken.
    #[must_use]
    pub fn at(place: Place) -> Self {
        Self {
            place,
            protocol: Protocol::Http1,
            tls: None,
        }
    }

    /// Returns the destination with another protocol and TLS settings.
    ///
    /// # Errors
    /// [`FieldError`] if the two do not go together, or if there is no name to verify.
    pub fn speaking(
        mut self,
        protocol: Protocol,
        tls: Option<TlsWish>,
    ) -> Result<Self, FieldError> {
        match (protocol, &tls) {
            (Protocol::H2, None) => {
                return Err(bad_protocol(
                    "h2 is HTTP/2 over TLS; add \"https\": true, or write h2c for HTTP/2 without TLS"
                        .to_owned(),
                ));
            }
            (Protocol::H2c, Some(_)) => {
                return Err(bad_protocol(
                    "h2c is HTTP/2 without TLS; write h2, or leave https out".to_owned(),
                ));
            }
            _ => {}
        }
        if let Some(wish) = &tls {
            self.name_to_verify(wish)?;
        }
        (self.protocol, self.tls) = (protocol, tls);
        Ok(self)
    }

    /// The target at these addresses.
    pub(crate) fn resolved(&self, addresses: &[SocketAddr]) -> Result<Target, FieldError> {
        let mut target = match &self.place {
            Place::Tcp(host, port) => Target::new(host, *port, addresses),
            Place::Unix(path) => Target::at(Endpoint::Unix(path.as_str().into())),
        };
        target.protocol = self.protocol;
        if let Some(wish) = &self.tls {
            target.tls = Some(Box::new(TargetTls {
                server_name: self.name_to_verify(wish)?.into(),
                profile: wish.profile.as_deref().map(Box::from),
            }));
        }
        Ok(target)
    }

    /// The name that the certificate has to be for.
    fn name_to_verify(&self, wish: &TlsWish) -> Result<String, FieldError> {
        let name = match (&wish.server_name, &self.place) {
            (Some(name), _) => target_host(name).map_err(|_not_a_host| {
                let name = clip_value(name);
                bad_https(format!("{name:?} is not a host name")).in_part("server_name")
            })?,
            (None, Place::Tcp(host, _)) => host.clone(),
            (None, Place::Unix(_)) => String::new(),
        };
        if name.is_empty() || name.parse::<IpAddr>().is_ok() {
            return Err(bad_https(
                "there is no name that the target's certificate could be verified for; \
                 add \"https\": {\"server_name\": \"app.internal\"}"
                    .to_owned(),
            ));
        }
        Ok(name)
    }
}

fn bad_protocol(problem: String) -> FieldError {
    FieldError::new("protocol", "INVALID_PROTOCOL", problem)
}

/// Returns the error of settings for TLS with a target that cannot be used.
pub(crate) fn bad_https(problem: String) -> FieldError {
    FieldError::new("https", "INVALID_HTTPS", problem)
}

/// The path is not one of a Unix socket that can be used.
pub(crate) fn bad_unix(problem: String) -> FieldError {
    FieldError::new("unix", "INVALID_UNIX", problem)
}

/// Reads the path of a Unix socket.
///
/// # Errors
/// [`FieldError`].
pub fn unix_path(path: &str) -> Result<String, FieldError> {
    let refuse = |why: &str| bad_unix(format!("{:?} {why}", clip_value(path)));
    if !path.starts_with('/') {
        return Err(refuse("is not an absolute path; write it from the root"));
    }
    if path.len() > MAX_UNIX_PATH {
        return Err(refuse(
            "is longer than 107 bytes, the longest path of a socket",
        ));
    }
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    if path.bytes().any(|byte| byte.is_ascii_control()) || !path.split('/').skip(1).all(is_plain) {
        return Err(refuse(
            "is not in its plain form; leave out `.`, `..`, `//`",
        ));
    }
    Ok(path.to_owned())
}

/// A target's host: a name or an address; the brackets of an IPv6 address are taken off.
///
/// # Errors
/// [`FieldError`].
pub fn target_host(text: &str) -> Result<String, FieldError> {
    let host = text.trim();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    if let Ok(HostPattern::Exact(name)) = HostPattern::parse(host) {
        return Ok(name.to_string());
    }
    let text = clip_value(text);
    let problem = format!("{text:?} is not a host; write a name or an IP address, without a port");
    Err(FieldError::new("host", "INVALID_HOST", problem))
}

/// Reads a protocol's name.
///
/// # Errors
/// [`FieldError`].
pub fn protocol(name: &str) -> Result<Protocol, FieldError> {
    Protocol::ALL
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, protocol)| protocol)
        .ok_or_else(|| {
            let name = clip_value(name);
            bad_protocol(format!("{name:?} is none of http1, h2c, h2, auto"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> NonZeroU16 {
        NonZeroU16::new(4000).unwrap()
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let at = |host: &str| Destination::at(Place::Tcp(host.to_owned(), port()));
        let named = |name: &str| {
            Some(TlsWish {
                server_name: Some(name.to_owned()),
                profile: None,
            })
        };
        let plain = Some(TlsWish::default());
        assert!(
            at("app.internal")
                .speaking(Protocol::H2, plain.clone())
                .is_ok()
        );
        assert!(at("localhost").speaking(Protocol::H2c, None).is_ok());
        assert!(
            at("127.0.0.1")
                .speaking(Protocol::Auto, named("app.internal"))
                .is_ok()
        );
        let unix = Destination::at(Place::Unix("/run/x.sock".to_owned()));
        assert!(
            unix.clone()
                .speaking(Protocol::H2, named("app.internal"))
                .is_ok()
        );
        for (refused, code) in [
            (at("a").speaking(Protocol::H2, None), "INVALID_PROTOCOL"),
            (
                at("a").speaking(Protocol::H2c, plain.clone()),
                "INVALID_PROTOCOL",
            ),
            (
                at("127.0.0.1").speaking(Protocol::Http1, plain.clone()),
                "INVALID_HTTPS",
            ),
            (
                at("127.0.0.1").speaking(Protocol::Http1, named("::1")),
                "INVALID_HTTPS",
            ),
            (
                at("a").speaking(Protocol::Http1, named("a b")),
                "INVALID_HTTPS",
            ),
            (unix.speaking(Protocol::Http1, plain), "INVALID_HTTPS"),
        ] {
            assert_eq!(refused.unwrap_err().code, code);
        }
    }

    #[test]
    fn https_is_said_or_described() {
        let read = |text| serde_json::from_str::<HttpsInput>(text).map(HttpsInput::wish);
        assert_eq!(read("true").unwrap(), Some(TlsWish::default()));
        let named = read(r#"{"server_name": "a"}"#).unwrap().unwrap();
        assert_eq!(named.server_name.as_deref(), Some("a"));
        for bad in ["[null, null]", r#"{"name": "a"}"#, "1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_of_sockets_are_plain() {
        assert!(unix_path("/run/app.sock").is_ok());
        let long = format!("/{}", "x".repeat(107));
        for bad in [
            "",
            "run/x",
            "/",
            "/run/../x",
            "/run//x",
            "/run/x/",
            "/a\nb",
            &long,
        ] {
            assert!(unix_path(bad).is_err(), "{bad:?}");
        }
    }
}
