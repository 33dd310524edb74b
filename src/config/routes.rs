//! `routes`: routes that are there from the start. An entry is a registration, and is read as one.

use std::sync::Arc;

use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::error::{ConfigError, Place};
use super::key;
use super::route_entry::{Entry, LEASE, Written, keys};
use super::source::Source;
use crate::route::{Registration, SpecError, UnknownFields, missing, no_prefix};

/// An entry of `routes`: a route that is there from the start and that nobody registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// The registration that it is.
    pub registration: Registration,
    /// Its path in the configuration, such as `routes[2]`.
    section: String,
    /// Where the value of each of its keys is.
    places: Vec<(String, Place)>,
}

impl StaticRoute {
    /// An error of a field, by its name or, within one that is an object, its path (`https.profile`); of the whole
    /// entry, if that does not have it. `problem` is a predicate of the field.
    #[must_use]
    pub fn error(&self, field: &str, problem: impl Into<String>) -> ConfigError {
        let name = field.split(['.', '[']).next().unwrap_or_default();
        let own = self.place(name);
        let first = self.places.first().map(|(_, place)| place);
        let key = match own {
            Some(_) => format!("{}.{field}", self.section),
            None => self.section.clone(),
        };
        ConfigError::Value {
            place: own.or(first).cloned().unwrap_or_else(nowhere),
            key,
            problem: problem.into(),
        }
    }

    /// The line of a field's value; 0 if it does not have the field.
    pub(super) fn line(&self, field: &str) -> usize {
        self.place(field).map_or(0, |place| place.line)
    }

    /// Whether it has a field.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.place(field).is_some()
    }

    fn place(&self, field: &str) -> Option<&Place> {
        let own = self.places.iter().find(|(name, _)| name == field);
        own.map(|(_, place)| place)
    }
}

fn nowhere() -> Place {
    Place {
        file: "".into(),
        line: 0,
        column: 0,
    }
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
        places.push((key.value.clone(), Place::of(value.referenced, &source.file)));
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
        section: section.to_owned(),
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
    let (name, at) = (&key.value, Place::of(key.referenced, file));
    if name != LEASE && !keys().contains(&name.as_str()) {
        return Err(ConfigError::UnknownKey {
            place: at,
            key: name.clone(),
            section: section.to_owned(),
            hint: key::hint(name, keys()),
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
        SpecError::Field(error) => (format!(".{}", error.key()), error.problem),
        SpecError::Prefix(error) => (".prefix".to_owned(), error.to_string()),
        SpecError::Incomplete(_) => {
            let blank = missing(object).first().copied().unwrap_or("prefix");
            (format!(".{blank}"), "it is blank; write one".to_owned())
        }
        other => (String::new(), other.to_string()),
    };
    let key = format!("{section}{field}");
    // A part of what an alias stands for has no place of its own.
    let place = source.value(&key).or_else(|| {
        let (whole, _part) = key.rsplit_once('.')?;
        source.value(whole)
    });
    ConfigError::Value {
        place: place.unwrap_or_else(|| source.whole()),
        key,
        problem: format!("cannot be used: {problem}"),
    }
}
