//! `registration.path`: a path that takes registrations, or a list of them.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::ConfigError;
use super::source::{Source, refuse};
use super::text;

/// The key.
const KEY: &str = "registration.path";

/// Where apps register by default.
const DEFAULT: &str = "/register";

/// The paths as they are written. What is wrong with a single value is said by [`Paths::check`]: a number or
/// a blank has lost its place by the time it is seen.
#[derive(Debug)]
pub(super) struct Paths(Result<Vec<String>, String>);

impl Default for Paths {
    fn default() -> Self {
        Self(Ok(vec![DEFAULT.to_owned()]))
    }
}

impl Paths {
    /// The paths, each without a trailing slash; none, if [`Paths::check`] refuses them.
    pub(super) fn resolve(self) -> Vec<String> {
        self.0.unwrap_or_default()
    }

    /// Refuses a value that is no path, and a path that is in the list twice.
    pub(super) fn check(&self, source: &Source<'_>) -> Result<(), ConfigError> {
        let paths = match &self.0 {
            Ok(paths) => paths,
            Err(problem) => return Err(refuse(KEY, problem, source)),
        };
        for (index, path) in paths.iter().enumerate() {
            let mut earlier = paths.iter().take(index);
            if earlier.any(|earlier| earlier.eq_ignore_ascii_case(path)) {
                let problem = "is in the list twice; keep one";
                return Err(refuse(&format!("{KEY}[{index}]"), problem, source));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore).map(Self)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Result<Vec<String>, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(path(text).map(|path| vec![path]))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Err(
            "has no value; give it one, or remove the line".to_owned()
        ))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut paths = Vec::new();
        while let Some(Item(path)) = items.next_element()? {
            paths.push(path);
        }
        if paths.is_empty() {
            return Ok(Err(
                "is empty; name a path, or write `enabled: false` for no registrations".to_owned(),
            ));
        }
        Ok(Ok(paths))
    }
}

struct Item(String);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, path).map(Self)
    }
}

/// Whether a text is a path of whole segments in which nothing has to be escaped.
pub(super) fn is_plain(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let segment = |segment: &str| !matches!(segment, "" | "." | "..");
    path.strip_prefix('/')
        .is_some_and(|segments| segments.bytes().all(plain) && segments.split('/').all(segment))
}

fn path(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    if is_plain(path) {
        return Ok(path.to_owned());
    }
    Err(format!(
        "is not a path for registrations: {}; write segments of letters, digits and -._~, \
         such as /register or /_proxy/register",
        text::shown(text)
    ))
}
