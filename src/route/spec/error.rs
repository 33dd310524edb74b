//! Why what is written of a route cannot be used.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

use super::fields;
use crate::route::{PrefixError, clip_message, clip_value};

/// A field of a route, or of one of its instances, has a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The field's name.
    pub field: &'static str,
    /// Which entry of it, counted from 0, if it is a list.
    pub index: Option<usize>,
    /// The reason for programs.
    pub code: &'static str,
    /// What is wrong, and what to do.
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

/// Why a registration, as it is written, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// It is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The prefix, the port or both are missing.
    #[error("{0}")]
    Incomplete(String),
    /// A field that is not part of a registration.
    #[error(
        "unknown field `{field}`{}; a registration has {Fields}",
        nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
    )]
    UnknownField {
        /// The field as it was sent.
        field: String,
        /// The known field that it resembles.
        nearest: Option<&'static str>,
    },
    /// The prefix cannot be routed.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// The value of a field is not valid.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl SpecError {
    /// The code of the contract, or one of ours, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "BAD_REQUEST",
            Self::Incomplete(_) => "INCOMPLETE_REQUEST",
            Self::UnknownField { .. } => "UNKNOWN_FIELD",
            Self::Prefix(_) => "INVALID_PREFIX",
            Self::Field(error) => error.code,
        }
    }
}

/// The fields of a registration, in words.
struct Fields;

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match fields() {
            [] => Ok(()),
            [only] => f.write_str(only),
            [others @ .., last] => write!(f, "{} and {last}", others.join(", ")),
        }
    }
}
