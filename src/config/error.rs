//! The errors of a configuration, with their places.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde_saphyr::{Location, Spanned};
use thiserror::Error;

/// A place in a configuration file. Prints as `FILE:LINE:COLUMN`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Place {
    /// The file, as the user named it.
    pub file: Arc<str>,
    /// The line, from 1; 0 where none is known.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The deserialiser's place.
    pub(super) fn of(location: Location, file: &Arc<str>) -> Self {
        Self {
            file: Arc::clone(file),
            line: usize::try_from(location.line()).unwrap_or_default(),
            column: usize::try_from(location.column()).unwrap_or_default(),
        }
    }

    /// The place right after a text.
    pub(super) fn after(text: &str, file: Arc<str>) -> Self {
        let last = text.rsplit('\n').next().unwrap_or_default();
        Self {
            file,
            line: text.matches('\n').count() + 1,
            column: last.chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{}:{}", self.file, line, self.column),
        }
    }
}

/// A value together with the place where it was written, so that a check that is made elsewhere
/// can still name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written; for a default, where the entry that lacks it begins.
    pub place: Place,
}

impl<T> Located<T> {
    /// A value with the deserialiser's place.
    pub(super) fn of(spanned: Spanned<T>, file: &Arc<str>) -> Self {
        Self {
            value: spanned.value,
            place: Place::of(spanned.referenced, file),
        }
    }

    /// An error at this value's place. `problem` says what is wrong; and what would be right.
    pub fn error(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError::at(&self.place, problem)
    }
}

/// Why a configuration was refused. Each is one line, `FILE:LINE:COLUMN: message; remedy`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read; the cause is the source.
    #[error("{file}: cannot be read; {remedy}")]
    Unreadable {
        /// The file, as the user named it.
        file: Arc<str>,
        /// The remedy.
        remedy: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not text.
    #[error("{place}: a byte that is not UTF-8; save the file as UTF-8")]
    NotUtf8 {
        /// The first such byte.
        place: Place,
    },
    /// The text is not one YAML document.
    #[error("{place}: {problem}")]
    Syntax {
        /// Where the parser gave up.
        place: Place,
        /// The problem that it found, and the remedy.
        problem: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{}`{}{hint}", key.escape_debug(), within(section))]
    UnknownKey {
        /// The key.
        place: Place,
        /// Its name.
        key: String,
        /// The path of the map that it is in; empty at the top level.
        section: String,
        /// A hint at the key that was probably meant.
        hint: Hint,
    },
    /// A key that occurs twice in one map.
    #[error("{place}: `{}` is given twice{}; keep one", key.escape_debug(), earlier(*first))]
    DuplicateKey {
        /// The second one.
        place: Place,
        /// The path of the key.
        key: String,
        /// The line of the first one, where known.
        first: Option<usize>,
    },
    /// A key that must be there and is not.
    #[error("{place}: `{}` has no `{key}`; add it", section.escape_debug())]
    MissingKey {
        /// The map that lacks it.
        place: Place,
        /// The key.
        key: &'static str,
        /// The path of the map.
        section: String,
    },
    /// A value that is of the wrong type, out of range, or contradicts another.
    #[error("{place}: `{}` {problem}", key.escape_debug())]
    Value {
        /// The value, or its key.
        place: Place,
        /// The path of the key, such as `timeouts.connect` or `listen[1]`.
        key: String,
        /// The problem, and what would be right.
        problem: String,
    },
    /// A value that a caller refuses, by a check that only the caller can make ([`Located::error`]).
    #[error("{place}: {problem}")]
    Refused {
        /// The value.
        place: Place,
        /// The problem, and what would be right.
        problem: String,
    },
    /// An environment variable that cannot be used.
    #[error("environment variable {variable}: {problem}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// The problem, and what would be right.
        problem: String,
    },
}

impl ConfigError {
    /// An error that a later check found at a place of the configuration.
    pub fn at(place: &Place, problem: impl Into<String>) -> Self {
        Self::Refused {
            place: place.clone(),
            problem: problem.into(),
        }
    }

    /// Where the error is; none when no file, or no single place in it, is at fault.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::NotUtf8 { place }
            | Self::Syntax { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::DuplicateKey { place, .. }
            | Self::MissingKey { place, .. }
            | Self::Value { place, .. }
            | Self::Refused { place, .. } => Some(place),
            Self::Unreadable { .. } | Self::Environment { .. } => None,
        }
    }

    pub(super) fn unreadable(file: Arc<str>, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::NotFound => "no such file: check the path",
            io::ErrorKind::PermissionDenied => "permission denied: let this user read it",
            io::ErrorKind::IsADirectory => "it is a directory: name the file in it",
            _ => "check that it is a readable file",
        };
        Self::Unreadable {
            file,
            remedy,
            source,
        }
    }
}

/// A hint at the key that the writer of an unknown one probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// A key of the same map that is nearly the same.
    Nearest(&'static str),
    /// The key exists in another section, of this path; empty for the top level.
    Elsewhere(&'static str),
    /// None of them is near: these are all that there are.
    Known(Vec<&'static str>),
    /// None of them is near, and they are too many to name here.
    Reference,
    /// A key of Pingora's that Pingora does not read.
    NoEffect,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest(key) => write!(f, ", did you mean `{key}`?"),
            Self::Elsewhere("") => f.write_str("; it belongs at the top level"),
            Self::Elsewhere(section) => write!(f, "; it belongs in `{section}`"),
            Self::Known(keys) => write!(f, "; its keys are {}", keys.join(", ")),
            Self::Reference => f.write_str("; conf/pingora.yaml shows every key"),
            Self::NoEffect => {
                f.write_str("; Pingora 0.9.1 has it but does not read it, remove the line")
            }
        }
    }
}

fn within(section: &str) -> String {
    match section {
        "" => String::new(),
        section => format!(" in `{}`", section.escape_debug()),
    }
}

fn earlier(line: Option<usize>) -> String {
    line.map(|line| format!(", first in line {line}"))
        .unwrap_or_default()
}
