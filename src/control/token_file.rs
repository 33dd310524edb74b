//! The tokens file: strict YAML, whose errors name the file, the line and the column.
//!
//! ```yaml
//! tokens:
//!   - name: deploy              # shown in the log; owns what it registers
//!     hash: sha256:...          # of the token, 64 hexadecimal digits
//!     scopes:                   # what it may do; without, everything
//!       - actions: [read, write, register, events, take_over, certificates]
//!         hosts: ["*", "example.com", "*.example.com"]   # without: any
//!         prefixes: [/shop]                              # and below; without: any
//!         ports: [4000-4999, 8080]                       # of targets; without: any
//! ```

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_saphyr::options::MergeKeyPolicy;
use serde_saphyr::{Error, Location, MessageFormatter, Options, Spanned, UserMessageFormatter};
use thiserror::Error;

use crate::registry::{Action, Rights, Scope};
use crate::route::{HostPattern, PathPrefix};

/// A SHA-256 of a token. Tokens are random, with 256 bits, so that nobody can guess one from its
/// hash: a slow hash would only cost time.
pub(super) type TokenHash = [u8; 32];

/// The longest name of a token.
const LONGEST_NAME: usize = 64;

/// The length that is quoted of a wrong value.
const SHOWN: usize = 60;

/// Somebody who may use the API.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) name: Arc<str>,
    pub(super) hash: TokenHash,
    pub(super) rights: Rights,
}

/// The problem with a tokens file: one line, `FILE:LINE:COLUMN: message; remedy`.
#[derive(Debug, Error)]
#[error("{file}:{line}:{column}: {problem}")]
#[non_exhaustive]
pub struct TokenFileError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// The problem, and what would be right.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<Name>,
    hash: Spanned<Hash>,
    #[serde(default, deserialize_with = "listed")]
    scopes: Option<Vec<ScopeEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeEntry {
    #[serde(deserialize_with = "filled")]
    actions: Vec<ActionName>,
    #[serde(default, deserialize_with = "listed")]
    hosts: Option<Vec<HostName>>,
    #[serde(default, deserialize_with = "listed")]
    prefixes: Option<Vec<Prefix>>,
    #[serde(default, deserialize_with = "listed")]
    ports: Option<Vec<Ports>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionName {
    Read,
    Write,
    Register,
    Events,
    TakeOver,
    Certificates,
}

#[derive(Clone)]
struct Name(Arc<str>);
#[derive(Clone)]
struct Hash(TokenHash);
struct HostName(HostPattern);
struct Prefix(PathPrefix);
struct Ports(RangeInclusive<u16>);

/// Reads a tokens file's text.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Token>, TokenFileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: File = serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| explain(path, &error))?;
    check_unique(path, &file.tokens)?;
    Ok(file.tokens.into_iter().map(Entry::token).collect())
}

fn options() -> Options {
    let mut options = Options::default();
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options
}

impl Entry {
    fn token(self) -> Token {
        let rights = self.scopes.map_or_else(Rights::all, |scopes| {
            let scopes: Vec<Scope> = scopes.into_iter().map(ScopeEntry::scope).collect();
            Rights::scoped(scopes)
        });
        Token {
            name: self.name.value.0,
            hash: self.hash.value.0,
            rights,
        }
    }
}

impl ScopeEntry {
    fn scope(self) -> Scope {
        Scope {
            actions: self.actions.into_iter().map(Action::from).collect(),
            hosts: self
                .hosts
                .map(|hosts| hosts.into_iter().map(|host| host.0).collect()),
            prefixes: self
                .prefixes
                .map(|prefixes| prefixes.into_iter().map(|prefix| prefix.0).collect()),
            ports: self
                .ports
                .map(|ports| ports.into_iter().map(|ports| ports.0).collect()),
        }
    }
}

impl From<ActionName> for Action {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Read => Self::Read,
            ActionName::Write => Self::Write,
            ActionName::Register => Self::Register,
            ActionName::Events => Self::Events,
            ActionName::TakeOver => Self::TakeOver,
            ActionName::Certificates => Self::Certificates,
        }
    }
}

/// Two with one name could not be told apart in the log, two with one token nowhere.
fn check_unique(path: &Path, entries: &[Entry]) -> Result<(), TokenFileError> {
    for (index, entry) in entries.iter().enumerate() {
        let mut earlier = entries.iter().take(index);
        if let Some(first) = earlier
            .clone()
            .find(|first| first.name.value.0 == entry.name.value.0)
        {
            let problem = format!(
                "a second token with the name {:?}, after line {}; rename one",
                entry.name.value.0,
                first.name.referenced.line()
            );
            return Err(wrong(path, entry.name.referenced, problem));
        }
        if let Some(first) = earlier.find(|first| first.hash.value.0 == entry.hash.value.0) {
            let problem = format!(
                "the same token as {:?}; make another with `dynamic-reverse-proxy token`",
                first.name.value.0
            );
            return Err(wrong(path, entry.hash.referenced, problem));
        }
    }
    Ok(())
}

fn wrong(path: &Path, place: Location, problem: String) -> TokenFileError {
    TokenFileError {
        file: path.to_string_lossy().into_owned(),
        line: place.line(),
        column: place.column(),
        problem,
    }
}

/// From the deserialiser's error to one that says what to do.
fn explain(path: &Path, error: &Error) -> TokenFileError {
    let problem = match error.without_snippet() {
        Error::SerdeUnknownField {
            field, expected, ..
        } => format!(
            "unknown key `{}`; the keys here are {}",
            field.escape_debug(),
            expected.join(", ")
        ),
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing; add it"),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => format!(
            "no such action: {}; it must be one of {}",
            shown(variant),
            expected.join(", ")
        ),
        Error::Message { msg, .. } => msg.clone(),
        error => format!(
            "not a tokens file: {}; see the lines up to here",
            UserMessageFormatter.format_message(error)
        ),
    };
    wrong(path, error.location().unwrap_or(Location::UNKNOWN), problem)
}

fn parse_with<'de, D, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

fn filled<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items = Vec::deserialize(deserializer)?;
    if items.is_empty() {
        return Err(D::Error::custom(
            "an empty list allows nothing; fill it, or remove the token",
        ));
    }
    Ok(items)
}

/// A list that may be left out, which means everything; a blank one must not mean the same.
fn listed<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    filled(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_with(deserializer, |text| {
            check_name(text)?;
            Ok(Self(text.into()))
        })
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_with(deserializer, |text| {
            text.strip_prefix("sha256:")
                .and_then(hexadecimal)
                .map(Self)
                .ok_or_else(|| {
                    // Not quoted: it may be the token itself, by mistake.
                    "not a hash; write sha256: and the 64 hexadecimal digits that \
                     `dynamic-reverse-proxy token` prints"
                        .to_owned()
                })
        })
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_with(deserializer, |text| match text {
            "*" => Ok(Self(HostPattern::Any)),
            text => HostPattern::parse(text)
                .map(Self)
                .map_err(|error| format!("{}: {error}", shown(text))),
        })
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_with(deserializer, |text| {
            PathPrefix::parse(text)
                .map(Self)
                .map_err(|error| format!("{}: {error}", shown(text)))
        })
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_with(deserializer, |text| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            match (first.parse(), last.parse()) {
                (Ok(first @ 1u16..), Ok(last)) if first <= last => Ok(Self(first..=last)),
                _ => Err(format!(
                    "no port or range of ports: {}; write one such as 8080 or 4000-4999",
                    shown(text)
                )),
            }
        })
    }
}

/// Checks the name of a token: it stands in log lines and owns routes.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@/".contains(&byte);
    if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!(
        "not the name of a token: {}; write 1 to {LONGEST_NAME} letters, digits and -_.@/",
        shown(name)
    ))
}

/// Reads a hash from its 64 hexadecimal digits, of either case.
fn hexadecimal(text: &str) -> Option<TokenHash> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// A value quoted for a message, on one line and not too long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests;
