//! Why a registration cannot be used.

use std::fmt;

use thiserror::Error;

use super::fields::fields;
use crate::route::{FieldError, PrefixError};

/// Why a registration, as it is written, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// It is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// An object of it has two fields of one name, of which either might be meant (RFC 8259, 4).
    #[error("the body has the field `{0}` twice; keep one of the two")]
    DuplicateField(String),
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
            Self::NotJson(_) | Self::DuplicateField(_) => "BAD_REQUEST",
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
