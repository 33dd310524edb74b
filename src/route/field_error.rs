//! Why the value of a field cannot be used.

use serde_json::Value;
use thiserror::Error;

use super::{clip_message, clip_value};

/// A field of a route, or of one of its instances, has a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
#[non_exhaustive]
pub struct FieldError {
    /// The field's name.
    pub field: &'static str,
    /// Which entry of it, counted from 0, if it is a list.
    pub index: Option<usize>,
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
            code,
            problem: problem.into(),
        }
    }

    /// Puts the error at an entry of the list.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// A value that has another form, which `error` says.
    pub(crate) fn of_value(
        field: &'static str,
        code: &'static str,
        value: &Value,
        error: &serde_json::Error,
    ) -> Self {
        let text = error.to_string();
        let problem = match text.strip_prefix(field).and_then(|t| t.strip_prefix(": ")) {
            // The value's own words.
            Some(problem) => clip_message(problem).into_owned(),
            None => clip_message(format!("{}: {text}", clip_value(&value.to_string()))).into(),
        };
        Self::new(field, code, problem)
    }

    /// There is no such field.
    pub(crate) fn unknown(name: &str) -> Self {
        let problem = format!("there is no field {:?}", clip_value(name));
        Self::new("", "UNKNOWN_FIELD", problem)
    }
}
