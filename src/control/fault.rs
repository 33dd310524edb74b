//! The fault of a body that is JSON, but not what is expected: the field that is wrong, with the code and the
//! words that a registration gets for the same value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::problem::MAX_POINTER;
use crate::route::{
    FieldError, Group, InstanceSpec, Settings, TtlError, UniqueNames, clip_value, no_prefix,
};

/// The most parts of a value that is looked at again to say what is wrong with it.
const MOST_PARTS: usize = 1000;

/// The field that is wrong: where the object that has it stands in the body, and why.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) object: String,
    pub(super) error: FieldError,
}

impl Fault {
    /// Looks at the value that could not be read, by the place where that failed and the deserialiser's error.
    /// `None` if it is not the value of a field that has rules of its own.
    pub(super) fn find(body: &[u8], path: &Path, error: &serde_json::Error) -> Option<Self> {
        let path: Vec<&Segment> = path.iter().collect();
        let (owner, at) = Owner::of(&path);
        // The object does not have the field, though another has one of its name.
        if path.len() == at + 1 && error.to_string().starts_with("unknown field") {
            return None;
        }
        let (object, rest) = path.split_at_checked(at)?;
        let (Segment::Map { key: name }, place) = (*rest.first()?, path.get(..=at)?) else {
            return None;
        };
        let value = value_at(body, place)?;
        Some(Self {
            object: pointer(object.iter().copied()),
            error: owner.refusal(name, &value)?,
        })
    }
}

/// The kind of object that a field belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// An entry of a list, with the key of its route.
    Entry,
    /// An instance, or a route with the fields of its only one.
    Instance,
}

impl Owner {
    /// The owner of the field that a path leads to or into, and how many segments lead to the owner.
    fn of(path: &[&Segment]) -> (Self, usize) {
        let is_list = |at: usize, names: &[&str]| {
            matches!(path.get(at), Some(Segment::Map { key }) if names.contains(&&**key))
                && matches!(path.get(at + 1), Some(Segment::Seq { .. }))
        };
        let is_entry = is_list(0, &["routes", "changes"]);
        let at = if is_entry { 2 } else { 0 };
        if is_list(at, &["instances"]) {
            return (Self::Instance, at + 2);
        }
        match path.get(at) {
            Some(Segment::Map { key }) if is_entry && key == "instance" => (Self::Instance, at + 1),
            _ if is_entry => (Self::Entry, at),
            _ => (Self::Instance, at),
        }
    }

    /// Why a field cannot have this value, if it is one that has rules.
    fn refusal(self, name: &str, value: &Value) -> Option<FieldError> {
        match (self, name) {
            (Self::Entry, "host") => Some(no_host(value)),
            (Self::Entry, "prefix") => Some(no_prefix(value)),
            (Self::Entry, "drain") => {
                let error = TtlError::NotATime(clip_value(&value.to_string()));
                Some(FieldError::new("drain", "INVALID_TTL", error.to_string()))
            }
            _ if Settings::NAMES.contains(&name) => Settings::default().set(name, value).err(),
            (Self::Entry, name) if name != "id" => None,
            (_, name) if InstanceSpec::NAMES.contains(&name) => {
                InstanceSpec::default().set(name, value).err()
            }
            _ => None,
        }
    }
}

fn no_host(value: &Value) -> FieldError {
    let value = clip_value(&value.to_string());
    let problem =
        format!("{value} is not a host; write \"example.com\", \"*.example.com\" or \"*\" for any");
    FieldError::new("host", "INVALID_HOST_PATTERN", problem)
}

/// A path into a body as a JSON pointer (RFC 6901).
pub(super) fn pointer<'s>(path: impl IntoIterator<Item = &'s Segment>) -> String {
    let mut pointer = String::new();
    for segment in path {
        let text = match segment {
            Segment::Seq { index } => index.to_string(),
            // The pointer leads to the object around it, since there is none to a part of a name.
            Segment::Map { key } if key.len() > MAX_POINTER => break,
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&text);
    }
    pointer
}

/// The value at a place of a body, unless it is a large one.
fn value_at(body: &[u8], place: &[&Segment]) -> Option<Value> {
    let mut found = None;
    let at = At {
        place,
        found: &mut found,
    };
    let mut text = serde_json::Deserializer::from_slice(body);
    if let Err(error) = at.deserialize(&mut text) {
        log::debug!("a body that is refused cannot be read to its end: {error}");
    }
    found
}

/// Reads the value at a place, and skips all others.
struct At<'p> {
    place: &'p [&'p Segment],
    found: &'p mut Option<Value>,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, text: D) -> Result<(), D::Error> {
        if self.place.is_empty() {
            *self.found = Some(UniqueNames::up_to(MOST_PARTS).deserialize(text)?);
            return Ok(());
        }
        text.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Segment::Seq { index }, place)) = self.place.split_first() else {
            return Ok(());
        };
        for _ in 0..*index {
            seq.next_element::<IgnoredAny>()?;
        }
        let found = self.found;
        seq.next_element_seed(At { place, found })?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Segment::Map { key }, place)) = self.place.split_first() else {
            return Ok(());
        };
        while let Some(name) = map.next_key::<String>()? {
            if self.found.is_none() && name == *key {
                let found = &mut *self.found;
                map.next_value_seed(At { place, found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
