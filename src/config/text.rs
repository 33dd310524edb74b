//! A scalar's text, parsed while it is deserialised, so that an error has its line and column.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error};

/// The length that is quoted of a wrong value: enough to recognise it.
const SHOWN: usize = 60;

/// Reads a scalar as it is written and parses it. An error of `parse` is a predicate (`is zero;
/// write ...`): the key and its place are put before it later (`explain`).
pub(super) fn parse_with<'de, D, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

/// A value that must not be left blank though its key may be left out.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A map or list whose every line may be commented out: that is its default.
pub(super) fn or_blank<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The path of a file or folder.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    parse_with(deserializer, |text| {
        if text.is_empty() || text.contains('\0') {
            return Err(format!("is not a path: {}; write one", shown(text)));
        }
        Ok(text.into())
    })
}

/// A path, which may be left out but not left blank.
pub(super) fn given_path<'de, D>(deserializer: D) -> Result<Option<PathBuf>, D::Error>
where
    D: Deserializer<'de>,
{
    path(deserializer).map(Some)
}

/// A value quoted for a message, on one line and not too long.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
