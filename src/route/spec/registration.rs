//! A registration: from the JSON of `POST /register` to checked values.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

use super::destination::{Destination, Place, target_host};
use super::error::SpecError;
use super::fields::fields;
use super::instance::{InstanceSpec, either_port_or_unix, instance_id};
use super::port::Port;
use super::ttl::parse_ttl;
use crate::route::{
    FieldError, Group, HostPattern, InstanceId, PathPrefix, Settings, UniqueNames, clip_message,
    clip_value,
};

/// The treatment of a field that a registration does not have.
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
#[non_exhaustive]
pub struct Registration {
    /// The path prefix.
    pub prefix: PathPrefix,
    /// Where the app is: a port of `localhost`, unless something else is said.
    pub destination: Destination,
    /// The request hosts that the route holds for; [`HostPattern::Any`] alone for all.
    pub request_hosts: Vec<HostPattern>,
    /// The settings of the route.
    pub settings: Settings,
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
    /// [`SpecError`].
    pub fn new(prefix: &str, port: u16) -> Result<Self, SpecError> {
        Ok(Self {
            prefix: PathPrefix::parse(prefix)?,
            destination: Destination::local(
                NonZeroU16::new(port).ok_or_else(|| not_a_port(&port.to_string()))?,
            ),
            request_hosts: vec![HostPattern::Any],
            settings: Settings::default(),
            instance: None,
            owner: None,
            ttl: None,
        })
    }

    /// Makes the registration one instance of the route, beside others.
    ///
    /// # Errors
    /// [`FieldError`] if the name is not valid.
    pub fn as_instance(mut self, id: &str) -> Result<Self, FieldError> {
        self.instance = Some(instance_id(id)?);
        Ok(self)
    }

    /// Sets the lease: 1 second to 30 days.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn with_ttl(mut self, ttl: Duration) -> Result<Self, FieldError> {
        let text = humantime::format_duration(ttl).to_string();
        self.ttl = Some(
            parse_ttl(&text)
                .map_err(|error| FieldError::new("ttl", "INVALID_TTL", error.to_string()))?,
        );
        Ok(self)
    }

    /// Sets the target host.
    ///
    /// # Errors
    /// [`FieldError`] if it is neither a name nor an IP address.
    pub fn on_host(mut self, host: &str) -> Result<Self, FieldError> {
        if let Place::Tcp(place, _) = &mut self.destination.place {
            *place = target_host(host)?;
        }
        Ok(self)
    }

    /// Sets the destination.
    #[must_use]
    pub fn to(mut self, destination: Destination) -> Self {
        self.destination = destination;
        self
    }

    /// Sets the settings of the route. They go before those that a route has that is
    /// there already; what is `None` stays.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Limits the route to these request hosts.
    ///
    /// # Errors
    /// [`FieldError`] for a name that is not valid, and for an empty list.
    pub fn for_request_hosts<T: AsRef<str>>(mut self, names: &[T]) -> Result<Self, FieldError> {
        self.request_hosts = request_hosts(names.iter().map(AsRef::as_ref))?;
        Ok(self)
    }

    /// Reads the body of `POST /register`. The checks are made in the contract's order: JSON,
    /// completeness, then everything else.
    ///
    /// # Errors
    /// [`SpecError`], naming the field.
    pub fn from_json(body: &[u8], unknown: UnknownFields) -> Result<Self, SpecError> {
        match unique(body)? {
            Value::Object(object) => Self::from_object(&object, unknown),
            other => Err(SpecError::Incomplete(format!(
                "the body is {}, not an object; send {{\"prefix\": \"/shop\", \"port\": 4321}}",
                kind(&other),
            ))),
        }
    }

    /// Reads the fields of a registration.
    ///
    /// # Errors
    /// [`SpecError`], naming the field.
    pub fn from_object(
        object: &Map<String, Value>,
        unknown: UnknownFields,
    ) -> Result<Self, SpecError> {
        complete(object)?;
        if unknown == UnknownFields::Refuse {
            known(object)?;
        }
        let prefix = match object.get("prefix") {
            Some(Value::String(text)) => PathPrefix::parse(text)?,
            other => return Err(no_prefix(other.unwrap_or(&Value::Null)).into()),
        };
        let request_hosts = named_hosts(object.get("reqHostNames"))?;
        let (instance, settings) = listed(object)?;
        if instance.unix.is_some() && (object.contains_key("port") || object.contains_key("host")) {
            return Err(either_port_or_unix().into());
        }
        let checked = instance.check().map_err(of_instance)?;
        Ok(Self {
            prefix,
            destination: checked.destination,
            request_hosts,
            settings,
            instance: checked.id,
            owner: checked.owner,
            ttl: checked.ttl,
        })
    }
}

/// Reads a JSON text whose objects have each name once.
fn unique(text: &[u8]) -> Result<Value, SpecError> {
    let mut names = UniqueNames::up_to(usize::MAX);
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = names.deserialize(&mut json);
    let read = read.and_then(|value| json.end().map(|()| value));
    read.map_err(|error| match names.twice() {
        Some(name) => SpecError::DuplicateField(clip_value(name)),
        None => SpecError::NotJson(clip_message(error.to_string()).into()),
    })
}

/// The fields that the lists of an instance and of a route's settings have.
fn listed(object: &Map<String, Value>) -> Result<(InstanceSpec, Settings), FieldError> {
    let (mut instance, mut settings) = (InstanceSpec::default(), Settings::default());
    for (name, value) in object {
        let name = name.as_str();
        if Settings::NAMES.contains(&name) {
            settings.set(name, value)?;
        } else if name == "port" {
            instance.port = port(value)?;
        } else if name == "instance" {
            instance.set("id", value).map_err(of_instance)?;
        } else if name != "id" && InstanceSpec::NAMES.contains(&name) {
            instance.set(name, value)?;
        }
    }
    Ok((instance, settings))
}

/// The contract's name of an instance's id.
fn of_instance(error: FieldError) -> FieldError {
    match error.field {
        "id" => FieldError {
            field: "instance",
            ..error
        },
        _ => error,
    }
}

/// Returns which of the required fields, the prefix and the port, are missing; a Unix socket is as good as a
/// port.
pub(crate) fn missing(object: &Map<String, Value>) -> Vec<&'static str> {
    let is_missing = |name: &str| match object.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(_) => false,
    };
    let is_elsewhere = !is_missing("unix");
    ["prefix", "port"]
        .into_iter()
        .filter(|name| is_missing(name) && !(is_elsewhere && *name == "port"))
        .collect()
}

/// The prefix and the port are there, and not blank.
fn complete(object: &Map<String, Value>) -> Result<(), SpecError> {
    let missing = missing(object);
    if missing.is_empty() {
        return Ok(());
    }
    let hint = object
        .keys()
        .filter(|name| !fields().contains(&name.as_str()))
        .find_map(|name| {
            nearest(name)
                .filter(|near| missing.contains(near))
                .map(|n| (name, n))
        })
        .map(|(name, near)| format!(" (did you mean `{near}` by `{}`?)", clip_value(name)))
        .unwrap_or_default();
    let names = missing.join(" and ");
    Err(SpecError::Incomplete(format!(
        "the registration lacks {names}{hint}"
    )))
}

fn known(object: &Map<String, Value>) -> Result<(), SpecError> {
    let unknown = |name: &&String| !fields().contains(&name.as_str());
    match object.keys().find(unknown) {
        None => Ok(()),
        Some(field) => Err(SpecError::UnknownField {
            field: clip_value(field),
            nearest: nearest(field),
        }),
    }
}

/// The field that a misspelt name resembles.
fn nearest(name: &str) -> Option<&'static str> {
    fields()
        .iter()
        .map(|known| {
            (
                strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase()),
                *known,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// A number, or its digits as a string: the original's own example sends a string.
fn port(value: &Value) -> Result<Option<Port>, FieldError> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    let port = number.and_then(|number| u16::try_from(number).ok());
    let port = port.and_then(Port::new);
    port.map(Some)
        .ok_or_else(|| not_a_port(&shown(Some(value))))
}

/// A prefix is a text.
pub(crate) fn no_prefix(value: &Value) -> FieldError {
    let value = shown(Some(value));
    let problem = format!("{value} is not a string; write it like \"/shop\"");
    FieldError::new("prefix", "INVALID_PREFIX", problem)
}

fn not_a_port(text: &str) -> FieldError {
    let problem = format!("{text} is not {}", Port::EXPECTED);
    FieldError::new("port", "INVALID_PORT", problem)
}

/// The request hosts, if there is a list of them.
fn named_hosts(value: Option<&Value>) -> Result<Vec<HostPattern>, FieldError> {
    let names = match value {
        None | Some(Value::Null) => return Ok(vec![HostPattern::Any]),
        Some(Value::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            names
        }
        Some(_) => None,
    };
    match names {
        Some(names) => request_hosts(names.into_iter()),
        None => Err(no_list(&shown(value))),
    }
}

fn no_list(text: &str) -> FieldError {
    let problem = format!(
        "{text} is not a list of host names; write [\"example.com\"], or leave the field out for any host"
    );
    FieldError::new("reqHostNames", "INVALID_REQ_HOST_NAMES", problem)
}

fn request_hosts<'a>(
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<HostPattern>, FieldError> {
    if names.len() == 0 {
        return Err(no_list("an empty list"));
    }
    let pattern = |(index, name): (usize, &str)| {
        HostPattern::parse(name).map_err(|error| {
            let problem = format!("{:?}: {error}", clip_value(name));
            FieldError::new("reqHostNames", "INVALID_REQ_HOST_NAMES", problem).at(index)
        })
    };
    names.enumerate().map(pattern).collect()
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
