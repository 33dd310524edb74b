//! A registration: from the JSON of `POST /register` to checked values.

use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::destination::{Destination, HttpsInput, Place, protocol, unix_path};
use super::{Actor, Change, Edit, Edits, RegisterError, Spec, TtlError, parse_ttl};
use crate::route::{
    HostPattern, InstanceId, PathPrefix, Protocol, RouteKey, Security, SecurityError, Target,
    clip_message, clip_value,
};

/// The fields of a registration, as the contract names them.
const FIELDS: [&str; 13] = [
    "prefix",
    "port",
    "host",
    "unix",
    "protocol",
    "https",
    "reqHostNames",
    "tls",
    "hsts",
    "client_certificate",
    "instance",
    "owner",
    "ttl",
];

/// The longest name of an owner, in characters.
const MAX_OWNER: usize = 64;

/// What a registration does not say.
const DEFAULT_HOST: &str = "localhost";

/// What becomes of a field that a registration does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// It is refused, so that a misspelt `reqHostNames` does not open a route to every host.
    #[default]
    Refuse,
    /// It is ignored, as the original does.
    Ignore,
}

/// A route that an app asks for, checked in itself; the target is not resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The path prefix.
    pub prefix: PathPrefix,
    /// Where the app is: a port of `localhost`, unless something else is said.
    pub destination: Destination,
    /// The request hosts that the route holds for; [`HostPattern::Any`] alone for all.
    pub request_hosts: Vec<HostPattern>,
    /// What the route asks of its clients' connections.
    pub security: Security,
    /// The instance that joins the route; `None` for the only one, which replaces what was there.
    pub instance: Option<InstanceId>,
    /// Whose it is.
    pub owner: Option<Arc<str>>,
    /// How long it is registered unless it registers again; `None` for good.
    pub ttl: Option<Duration>,
}

impl Registration {
    /// A registration of `prefix` for any request host, on `localhost`.
    ///
    /// # Errors
    /// [`RegisterError::Prefix`] or [`RegisterError::Port`].
    pub fn new(prefix: &str, port: u16) -> Result<Self, RegisterError> {
        Ok(Self {
            prefix: PathPrefix::parse(prefix)?,
            destination: Destination::local(
                NonZeroU16::new(port).ok_or_else(|| RegisterError::Port(port.to_string()))?,
            ),
            request_hosts: vec![HostPattern::Any],
            security: Security::default(),
            instance: None,
            owner: None,
            ttl: None,
        })
    }

    /// The same registration as an instance of the route, beside others.
    ///
    /// # Errors
    /// [`RegisterError::Instance`] if the name is none.
    pub fn as_instance(mut self, id: &str) -> Result<Self, RegisterError> {
        self.instance = Some(instance_id(id)?);
        Ok(self)
    }

    /// The same registration with a lease: 1 second to 30 days.
    ///
    /// # Errors
    /// [`RegisterError::Ttl`].
    pub fn with_ttl(mut self, ttl: Duration) -> Result<Self, RegisterError> {
        self.ttl = Some(parse_ttl(&humantime::format_duration(ttl).to_string())?);
        Ok(self)
    }

    /// The change of the table that it asks for.
    pub(super) fn change(&self, target: Target, actor: Actor) -> Change {
        let spec = Spec {
            id: self.instance.clone().unwrap_or_default(),
            owner: self.owner.clone(),
            target,
            ttl: self.ttl,
        };
        let edit = |host: &HostPattern| {
            let key = RouteKey {
                host: host.clone(),
                prefix: self.prefix.clone(),
            };
            match self.instance {
                None => Edit::Register(key, spec.clone(), self.security.clone()),
                Some(_) => Edit::Join(key, spec.clone(), self.security.clone(), true),
            }
        };
        Change {
            edits: Edits::Each(self.request_hosts.iter().map(edit).collect()),
            conditions: Vec::new(),
            dry_run: false,
            actor,
        }
    }

    /// The same registration with another target host.
    ///
    /// # Errors
    /// [`RegisterError::Host`] if it is neither a name nor an IP address.
    pub fn on_host(mut self, host: &str) -> Result<Self, RegisterError> {
        if let Place::Tcp(place, _) = &mut self.destination.place {
            *place = target_host(host)?;
        }
        Ok(self)
    }

    /// The same registration with another destination.
    #[must_use]
    pub fn to(mut self, destination: Destination) -> Self {
        self.destination = destination;
        self
    }

    /// The same registration, asking this of the clients' connections. It goes before what a route has
    /// that is there already; what is `None` stays.
    #[must_use]
    pub fn secured(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// The same registration for these request hosts only.
    ///
    /// # Errors
    /// [`RegisterError::RequestHost`] for a name that is none, [`RegisterError::RequestHosts`] for
    /// an empty list.
    pub fn for_request_hosts<T: AsRef<str>>(mut self, names: &[T]) -> Result<Self, RegisterError> {
        self.request_hosts = request_hosts(names.iter().map(AsRef::as_ref))?;
        Ok(self)
    }

    /// Reads the body of `POST /register`. The checks are made in the contract's order: JSON,
    /// completeness, then everything else.
    ///
    /// # Errors
    /// [`RegisterError`], naming the field.
    pub fn from_json(body: &[u8], unknown: UnknownFields) -> Result<Self, RegisterError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| RegisterError::NotJson(clip_message(error.to_string()).into()))?;
        let object = match value {
            Value::Object(object) => object,
            other => {
                return Err(RegisterError::Incomplete(format!(
                    "the body is {}, not an object; send {{\"prefix\": \"/shop\", \"port\": 4321}}",
                    kind(&other),
                )));
            }
        };
        complete(&object)?;
        if unknown == UnknownFields::Refuse {
            known(&object)?;
        }
        Self::from_object(&object)
    }

    fn from_object(object: &Map<String, Value>) -> Result<Self, RegisterError> {
        let prefix = match object.get("prefix") {
            Some(Value::String(text)) => PathPrefix::parse(text)?,
            other => return Err(RegisterError::PrefixType(shown(other))),
        };
        let request_hosts = match object.get("reqHostNames") {
            None | Some(Value::Null) => vec![HostPattern::Any],
            Some(list @ Value::Array(names)) => {
                let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
                let names = names.ok_or_else(|| RegisterError::RequestHosts(shown(Some(list))))?;
                request_hosts(names.into_iter())?
            }
            other => return Err(RegisterError::RequestHosts(shown(other))),
        };
        Ok(Self {
            prefix,
            destination: destination(object)?,
            request_hosts,
            security: security(object)?,
            instance: match object.get("instance") {
                None | Some(Value::Null) => None,
                Some(Value::String(id)) => Some(instance_id(id)?),
                other => return Err(RegisterError::Instance(shown(other))),
            },
            owner: match object.get("owner") {
                None | Some(Value::Null) => None,
                Some(Value::String(name)) => Some(owner(name)?),
                other => return Err(RegisterError::Owner(shown(other))),
            },
            ttl: match object.get("ttl") {
                None | Some(Value::Null) => None,
                Some(Value::String(ttl)) => Some(parse_ttl(ttl)?),
                other => return Err(TtlError::NotATime(shown(other)).into()),
            },
        })
    }
}

/// Where the app is.
fn destination(object: &Map<String, Value>) -> Result<Destination, RegisterError> {
    let text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        other => Err(shown(other)),
    };
    let place = if let Some(path) = text("unix").map_err(RegisterError::Unix)? {
        if object.contains_key("port") || object.contains_key("host") {
            return Err(RegisterError::Unix(
                "give either a port or a Unix socket, not both".to_owned(),
            ));
        }
        Place::Unix(unix_path(path)?)
    } else {
        let host = text("host").map_err(RegisterError::Host)?;
        let host = target_host(host.unwrap_or(DEFAULT_HOST))?;
        Place::Tcp(host, port(object.get("port"))?)
    };
    let spoken = match text("protocol").map_err(RegisterError::Protocol)? {
        Some(name) => protocol(name)?,
        None => Protocol::Http1,
    };
    let tls = match object.get("https") {
        None | Some(Value::Null) => None,
        Some(value) => HttpsInput::deserialize(value)
            .map_err(|error| RegisterError::Https(clip_message(error.to_string()).into()))?
            .wish(),
    };
    Destination::at(place).speaking(spoken, tls)
}

/// What the route asks of its clients' connections.
fn security(object: &Map<String, Value>) -> Result<Security, RegisterError> {
    Ok(Security {
        tls: setting(object, "tls")?,
        hsts: setting(object, "hsts")?,
        client_certificate: setting(object, "client_certificate")?,
    })
}

/// A setting that is written as a text; what is none is shown as it was sent.
fn setting<T: FromStr<Err = SecurityError>>(
    object: &Map<String, Value>,
    name: &str,
) -> Result<Option<T>, RegisterError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.parse()?)),
        other => Ok(Some(shown(other).parse()?)),
    }
}

/// The prefix and the port are there, and not blank; a Unix socket is as good as a port.
fn complete(object: &Map<String, Value>) -> Result<(), RegisterError> {
    let is_missing = |name: &str| match object.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(_) => false,
    };
    let is_elsewhere = !is_missing("unix");
    let missing: Vec<&str> = ["prefix", "port"]
        .into_iter()
        .filter(|name| is_missing(name) && !(is_elsewhere && *name == "port"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = object
        .keys()
        .filter(|name| !FIELDS.contains(&name.as_str()))
        .find_map(|name| {
            nearest(name)
                .filter(|near| missing.contains(near))
                .map(|n| (name, n))
        })
        .map(|(name, near)| format!(" (did you mean `{near}` by `{}`?)", clip_value(name)))
        .unwrap_or_default();
    let names = missing.join(" and ");
    Err(RegisterError::Incomplete(format!(
        "the registration lacks {names}{hint}"
    )))
}

fn known(object: &Map<String, Value>) -> Result<(), RegisterError> {
    match object.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        None => Ok(()),
        Some(field) => Err(RegisterError::UnknownField {
            field: clip_value(field),
            nearest: nearest(field),
        }),
    }
}

/// The field that a misspelt name resembles.
fn nearest(name: &str) -> Option<&'static str> {
    FIELDS
        .into_iter()
        .map(|known| {
            (
                strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase()),
                known,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// A number, or its digits as a string: the original's own example sends a string.
fn port(value: Option<&Value>) -> Result<NonZeroU16, RegisterError> {
    let number = match value {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok()
        }
        _ => None,
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .and_then(NonZeroU16::new)
        .ok_or_else(|| RegisterError::Port(shown(value)))
}

/// A target's host: a name or an address; the brackets of an IPv6 address are taken off.
///
/// # Errors
/// [`RegisterError::Host`].
pub fn target_host(text: &str) -> Result<String, RegisterError> {
    let refused = || RegisterError::Host(format!("{:?}", clip_value(text)));
    let host = text.trim();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    match HostPattern::parse(host) {
        Ok(HostPattern::Exact(name)) => Ok(name.to_string()),
        _ => Err(refused()),
    }
}

/// An instance's name.
///
/// # Errors
/// [`RegisterError::Instance`].
pub fn instance_id(text: &str) -> Result<InstanceId, RegisterError> {
    InstanceId::parse(text)
        .map_err(|_known| RegisterError::Instance(format!("{:?}", clip_value(text))))
}

/// An owner's name.
///
/// # Errors
/// [`RegisterError::Owner`].
pub fn owner(text: &str) -> Result<Arc<str>, RegisterError> {
    let count = text.chars().count();
    if count == 0 || count > MAX_OWNER || text.chars().any(char::is_control) {
        return Err(RegisterError::Owner(format!("{:?}", clip_value(text))));
    }
    Ok(text.into())
}

fn request_hosts<'a>(
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<HostPattern>, RegisterError> {
    if names.len() == 0 {
        return Err(RegisterError::RequestHosts("an empty list".to_owned()));
    }
    names
        .map(|name| {
            HostPattern::parse(name).map_err(|source| RegisterError::RequestHost {
                name: clip_value(name),
                source,
            })
        })
        .collect()
}

/// A value as the caller sent it, short enough for a message.
fn shown(value: Option<&Value>) -> String {
    value.map_or_else(
        || "nothing".to_owned(),
        |value| clip_value(&value.to_string()),
    )
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
