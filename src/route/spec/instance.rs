//! An instance as it is written down: the one list of its fields.

use std::sync::Arc;
use std::time::Duration;

use super::destination::{
    Destination, HttpsInput, Place, TlsWish, protocol, target_host, unix_path,
};
use super::port::Port;
use super::ttl::parse_ttl;
use crate::route::object::group;
use crate::route::{FieldError, Instance, InstanceId, Protocol, clip_value, texts};

/// The longest name of an owner, in characters.
const MAX_OWNER: usize = 64;

/// The host of an instance that names none.
pub(super) const DEFAULT_HOST: &str = "localhost";

group! {
    /// An instance as it is written down.
    #[schema(as = InstanceInput)]
    pub struct InstanceSpec {
        /// Its name within the route: 1 to 64 letters, digits, `-`, `_`, `.` or `~`; not `.` or `..`.
        #[schema(value_type = Option<texts::InstanceId>, default = "default")]
        id: String, "INVALID_INSTANCE";
        /// The target's host: a name or an address.
        #[schema(value_type = Option<texts::TargetHost>)]
        host: String, "INVALID_HOST";
        /// The target's port; needed unless there is a Unix socket.
        #[schema(value_type = Option<u16>, minimum = 1, maximum = 65535)]
        port: Port, "INVALID_PORT";
        /// The target's Unix socket, by its absolute path, instead of a port.
        #[schema(value_type = Option<texts::UnixPath>)]
        unix: String, "INVALID_UNIX";
        /// The protocol that is spoken there: `http1`, `h2c` (HTTP/2 without TLS), `h2` (with), or `auto`.
        #[schema(value_type = Option<texts::Protocol>)]
        protocol: String, "INVALID_PROTOCOL";
        /// Whether, or how, the connection to the target is secured.
        https: HttpsInput, "INVALID_HTTPS";
        /// Whose it is; the token's name, if nobody is named.
        #[schema(value_type = Option<texts::Owner>)]
        owner: String, "INVALID_OWNER";
        /// How long it stays unless it is renewed, with a unit: 1s to 30d. Without one it stays for good.
        #[schema(value_type = Option<texts::Lease>)]
        ttl: String, "INVALID_TTL";
    }
}

/// An instance that is checked in itself; its target is not resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedInstance {
    /// Its name within the route, if one is given.
    pub id: Option<InstanceId>,
    /// Where it is.
    pub destination: Destination,
    /// Whose it is, if anybody is named.
    pub owner: Option<Arc<str>>,
    /// The length of its lease.
    pub ttl: Option<Duration>,
}

impl InstanceSpec {
    /// An instance as it would be asked for to become what it is.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        let target = &instance.target;
        Self {
            id: Some(instance.id.to_string()),
            host: target.host().map(str::to_owned),
            port: target.port().and_then(Port::new),
            unix: target.unix().map(str::to_owned),
            protocol: (target.protocol != Protocol::Http1)
                .then(|| target.protocol.name().to_owned()),
            https: target.tls.as_ref().map(|tls| {
                HttpsInput::How(TlsWish {
                    server_name: Some(tls.server_name.to_string()),
                    profile: tls.profile.as_deref().map(str::to_owned),
                })
            }),
            owner: instance.owner.as_deref().map(str::to_owned),
            ttl: instance
                .ttl()
                .map(|ttl| humantime::format_duration(ttl).to_string()),
        }
    }

    /// Checks each field, and what they are together.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn check(&self) -> Result<CheckedInstance, FieldError> {
        let ttl = |text: &String| {
            parse_ttl(text)
                .map_err(|error| FieldError::new("ttl", "INVALID_TTL", error.to_string()))
        };
        Ok(CheckedInstance {
            id: self.id.as_deref().map(instance_id).transpose()?,
            destination: self.destination()?,
            owner: self.owner.as_deref().map(owner).transpose()?,
            ttl: self.ttl.as_ref().map(ttl).transpose()?,
        })
    }

    /// Where it is.
    fn destination(&self) -> Result<Destination, FieldError> {
        let place = match (&self.unix, self.port) {
            (Some(_), Some(_)) => return Err(either_port_or_unix()),
            (Some(path), None) => Place::Unix(unix_path(path)?),
            (None, Some(port)) => {
                let host = self.host.as_deref().unwrap_or(DEFAULT_HOST);
                Place::Tcp(target_host(host)?, port.into())
            }
            (None, None) => {
                let problem = "the instance has neither a `port` nor a `unix` socket";
                return Err(FieldError::new("port", "INVALID_BODY", problem));
            }
        };
        let spoken = match &self.protocol {
            None => Protocol::Http1,
            Some(name) => protocol(name)?,
        };
        let tls = self.https.clone().and_then(HttpsInput::wish);
        Destination::at(place).speaking(spoken, tls)
    }
}

/// A port and a Unix socket are two places.
pub(super) fn either_port_or_unix() -> FieldError {
    let problem = "give either a port or a Unix socket, not both";
    FieldError::new("unix", "INVALID_UNIX", problem)
}

/// An instance's name.
///
/// # Errors
/// [`FieldError`].
pub fn instance_id(text: &str) -> Result<InstanceId, FieldError> {
    InstanceId::parse(text).map_err(|error| {
        let problem = format!("{:?}: {error}", clip_value(text));
        FieldError::new("id", "INVALID_INSTANCE", problem)
    })
}

/// An owner's name.
///
/// # Errors
/// [`FieldError`].
pub fn owner(text: &str) -> Result<Arc<str>, FieldError> {
    let count = text.chars().count();
    if count == 0 || count > MAX_OWNER || text.chars().any(char::is_control) {
        let text = clip_value(text);
        let problem = format!("{text:?} is not an owner; write a name of 1 to 64 characters");
        return Err(FieldError::new("owner", "INVALID_OWNER", problem));
    }
    Ok(text.into())
}
