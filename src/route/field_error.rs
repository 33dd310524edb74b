//! Why the value of a field cannot be used.

use std::fmt;

use serde_json::Value;

use super::{clip_message, clip_value};

/// A field of a route, or of one of its instances, has a value that it cannot have. Prints as
/// `timeouts.first_byte: PROBLEM`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", Name(self))]
#[non_exhaustive]
pub struct FieldError {
    /// The field's name.
    pub field: &'static str,
    /// Which entry of it, counted from 0, if it is a list.
    pub index: Option<usize>,
    /// Which field of it, if it is an object.
    pub part: Option<Box<str>>,
    /// The reason for programs.
    pub code: &'static str,
    /// The problem, and the remedy.
    pub problem: String,
}

impl FieldError {
    pub(crate) fn new(field: &'static str, code: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            index: None,
            part: None,
            code,
            problem: problem.into(),
        }
    }

    /// Puts the error at an entry of the list.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// Puts the error at a field of the object.
    pub(crate) fn in_part(mut self, name: impl Into<Box<str>>) -> Self {
        self.part = Some(name.into());
        self
    }

    /// A value that has another form, which `error` says.
    pub(crate) fn of_value(
        field: &'static str,
        code: &'static str,
        value: &Value,
        error: &serde_path_to_error::Error<serde_json::Error>,
    ) -> Self {
        let part = error.path().iter().find_map(|segment| match segment {
            serde_path_to_error::Segment::Map { key } => Some(key.as_str()),
            _ => None,
        });
        let shown = part.and_then(|part| value.get(part)).unwrap_or(value);
        let text = error.inner().to_string();
        let own = text.strip_prefix(field).and_then(|t| t.strip_prefix(": "));
        let problem = match own {
            // The value's own words.
            Some(problem) => problem.to_owned(),
            None => problem(&text, shown),
        };
        let error = Self::new(field, code, clip_message(problem));
        match part {
            Some(part) => error.in_part(clip_value(part)),
            None => error,
        }
    }

    /// There is no such field.
    pub(crate) fn unknown(name: &str) -> Self {
        let problem = format!("there is no field {:?}", clip_value(name));
        Self::new("", "UNKNOWN_FIELD", problem)
    }

    /// Its place in the object that has the field, as a JSON pointer (RFC 6901).
    pub(crate) fn pointer(&self) -> String {
        let index = self.index.map(|index| format!("/{index}"));
        let part = self.part.as_deref().map(|part| {
            let part = part.replace('~', "~0").replace('/', "~1");
            format!("/{part}")
        });
        let (index, part) = (index.unwrap_or_default(), part.unwrap_or_default());
        format!("/{}{index}{part}", self.field)
    }

    /// Its place in the configuration, below the entry that has the field: `timeouts.first_byte`.
    pub(crate) fn key(&self) -> String {
        let entry = self.index.map_or_else(String::new, |at| format!("[{at}]"));
        format!("{}{entry}", Name(self))
    }
}

/// Returns the problem with a value, from the deserialiser's text, which tells the value in words of its own.
fn problem(text: &str, value: &Value) -> String {
    let mismatch = ["invalid type: ", "invalid value: "];
    let is_mismatch = mismatch.iter().any(|begin| text.starts_with(begin));
    let expected = text.rsplit_once(", expected ").filter(|_| is_mismatch);
    let value = clip_value(&value.to_string());
    match expected {
        Some((_, "a string")) => format!("{value} is not a string; write it in quotes"),
        Some((_, expected)) => format!("{value} is not {expected}"),
        None => text.to_owned(),
    }
}

/// The names of the field and its part.
struct Name<'e>(&'e FieldError);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.field)?;
        match &self.0.part {
            Some(part) => write!(f, ".{part}"),
            None => Ok(()),
        }
    }
}
