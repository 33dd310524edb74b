//! `routes`: routes that are there from the start. An entry is a registration, and is read as one.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::error::ConfigError;
use super::outline::Source;
use super::{Place, explain, place};
use crate::route::{Registration, SpecError, UnknownFields, fields, missing, no_prefix};

/// The field that an entry does not have.
const LEASE: &str = "ttl";

/// An entry of `routes`: a route that is there from the start and that nobody registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// The registration that it is.
    pub registration: Registration,
    /// Where the value of each of its keys is.
    places: Vec<(String, Place)>,
}

/// An entry as it is written: the fields of a registration, each with its place.
#[derive(Debug, Default)]
pub(super) struct Entry(Vec<(Spanned<String>, Spanned<Written>)>);

/// A value in the form of a registration's. Numbers are texts: whoever writes `owner: 7` means the name.
#[derive(Debug)]
struct Written(Value);

impl StaticRoute {
    /// An error of the field with this name; of the whole entry, if that does not have it.
    #[must_use]
    pub fn error(&self, field: &str, problem: impl Into<String>) -> ConfigError {
        let own = self.places.iter().find(|(name, _)| name == field);
        match own.or_else(|| self.places.first()) {
            Some((_, place)) => ConfigError::at(place, problem),
            None => ConfigError::at(&nowhere(), problem),
        }
    }

    /// The line of a field's value; 0 if it does not have the field.
    pub(super) fn line(&self, field: &str) -> usize {
        let own = self.places.iter().find(|(name, _)| name == field);
        own.map_or(0, |(_, place)| place.line)
    }

    /// Whether it has a field.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.places.iter().any(|(name, _)| name == field)
    }
}

fn nowhere() -> Place {
    Place {
        file: "".into(),
        line: 0,
        column: 0,
    }
}

/// The keys of an entry: all fields of a registration but the length of a lease.
pub(super) fn keys() -> &'static [&'static str] {
    static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let fields = fields().iter().copied();
        fields.filter(|name| *name != LEASE).collect()
    });
    &KEYS
}

/// Checks the entries.
pub(super) fn read(
    entries: Vec<Entry>,
    source: &Source<'_>,
) -> Result<Vec<StaticRoute>, ConfigError> {
    let entries = entries.into_iter().enumerate();
    entries
        .map(|(index, entry)| static_route(entry, &format!("routes[{index}]"), source))
        .collect()
}

fn static_route(
    Entry(written): Entry,
    section: &str,
    source: &Source<'_>,
) -> Result<StaticRoute, ConfigError> {
    let (mut object, mut places) = (Map::new(), Vec::with_capacity(written.len()));
    for (key, value) in written {
        check_key(&key, &value, section, &source.file)?;
        places.push((key.value.clone(), place(value.referenced, &source.file)));
        object.insert(key.value, value.value.0);
    }
    if let Some(prefix) = object.get("prefix").filter(|prefix| !prefix.is_string()) {
        let error = no_prefix(prefix).into();
        return Err(explained(error, &object, section, source));
    }
    if let Some(key) = missing(&object)
        .into_iter()
        .find(|key| !object.contains_key(*key))
    {
        return Err(ConfigError::MissingKey {
            place: source.value(section).unwrap_or_else(|| source.whole()),
            key,
            section: section.to_owned(),
        });
    }
    let registration = Registration::from_object(&object, UnknownFields::Refuse)
        .map_err(|error| explained(error, &object, section, source))?;
    Ok(StaticRoute {
        registration,
        places,
    })
}

/// Whether a key may be there, and has a value.
fn check_key(
    key: &Spanned<String>,
    value: &Spanned<Written>,
    section: &str,
    file: &Arc<str>,
) -> Result<(), ConfigError> {
    let (name, at) = (&key.value, place(key.referenced, file));
    if name != LEASE && !keys().contains(&name.as_str()) {
        return Err(ConfigError::UnknownKey {
            place: at,
            key: name.clone(),
            section: section.to_owned(),
            hint: explain::hint(name, keys()),
        });
    }
    let problem = match (name.as_str(), &value.value.0) {
        (_, Value::Null) => "has no value; give it one, or remove the line",
        (LEASE, _) => {
            "cannot be given: nobody renews a route of the configuration, so it would be gone after that \
             time; remove the line"
        }
        _ => return Ok(()),
    };
    Err(ConfigError::Value {
        place: at,
        key: format!("{section}.{name}"),
        problem: problem.to_owned(),
    })
}

/// Why an entry is no registration, at the field that is at fault.
fn explained(
    error: SpecError,
    object: &Map<String, Value>,
    section: &str,
    source: &Source<'_>,
) -> ConfigError {
    let (field, problem) = match error {
        SpecError::Field(error) => {
            let entry = error.index.map_or_else(String::new, |at| format!("[{at}]"));
            (format!(".{}{entry}", error.field), error.problem)
        }
        SpecError::Prefix(error) => (".prefix".to_owned(), error.to_string()),
        SpecError::Incomplete(_) => {
            let blank = missing(object).first().copied().unwrap_or("prefix");
            (format!(".{blank}"), "it is blank; write one".to_owned())
        }
        other => (String::new(), other.to_string()),
    };
    let key = format!("{section}{field}");
    ConfigError::Value {
        place: source.value(&key).unwrap_or_else(|| source.whole()),
        key,
        problem: format!("cannot be used: {problem}"),
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with the fields of a registration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = map.next_entry()? {
            fields.push(entry);
        }
        Ok(Entry(fields))
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Value, D::Error> {
        value.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Written(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((name, Written(value))) = map.next_entry::<String, Written>()? {
            values.insert(name, value);
        }
        Ok(Value::Object(values))
    }
}
