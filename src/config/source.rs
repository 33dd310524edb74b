//! The text of a configuration, and where in it a key is.

use std::sync::Arc;

use super::error::{ConfigError, Place};
use super::outline::{Entry, Position, outline};

/// A configuration's text and the name of the file that it is from.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    pub(super) file: Arc<str>,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn place(&self, (line, column): Position) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line,
            column,
        }
    }

    /// Where the value of a key is, if the key is in the file.
    pub(super) fn value(&self, path: &str) -> Option<Place> {
        let outline = self.outline();
        let entry = outline.iter().find(|entry| entry.path == path)?;
        Some(self.place(entry.value))
    }

    /// Where a key is, if it is in the file.
    pub(super) fn key(&self, path: &str) -> Option<Place> {
        let outline = self.outline();
        let entry = outline.iter().find(|entry| entry.path == path)?;
        entry.key.map(|position| self.place(position))
    }

    /// The file as a whole.
    pub(super) fn whole(&self) -> Place {
        self.place((0, 0))
    }

    /// Every key and value in order, up to the first syntax error. Only made to explain an error.
    pub(super) fn outline(&self) -> Vec<Entry> {
        outline(self.text)
    }
}

/// The error of a key's value; `problem` is a predicate of the key.
pub(super) fn refuse(key: &str, problem: impl Into<String>, source: &Source<'_>) -> ConfigError {
    ConfigError::Value {
        place: source.value(key).unwrap_or_else(|| source.whole()),
        key: key.to_owned(),
        problem: problem.into(),
    }
}
