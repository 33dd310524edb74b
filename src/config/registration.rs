//! `registration`: how apps register, where, and who may.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::control::{self, ControlListen};
use super::error::ConfigError;
use super::registration_path::Paths;
use super::source::{Source, refuse};
use super::user::User;
use super::{duration, size};

/// `registration`: how apps register.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// Whether apps can register at all. Default: true.
    pub enabled: bool,
    /// Listeners of its own, instead of the traffic's: ports of loopback, Unix sockets. Default: none, and
    /// the traffic's listeners take registrations.
    pub listen: Vec<ControlListen>,
    /// The paths that take registrations: whole segments, without a trailing slash. Default:
    /// `/register` alone.
    pub paths: Vec<String>,
    /// Whether a registration needs a token of `control.tokens`. Default: false.
    pub require_token: bool,
    /// The users of this machine who may register without a token. Default: any.
    pub allow_users: Option<Vec<User>>,
    /// The treatment of a field that the contract does not know. Default: refuse.
    pub unknown_fields: UnknownFields,
    /// The longest body, in bytes. Default: 64 KiB.
    pub body_limit: usize,
    /// How long the whole body may take to arrive. Default: 10 s.
    pub body_timeout: Duration,
}

/// The treatment of an unknown field in a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnknownFields {
    /// The registration is refused.
    Refuse,
    /// The field is ignored, as the original does.
    Ignore,
}

/// `registration` as it is written.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RegistrationKeys {
    enabled: bool,
    /// A problem with a single value is said by [`check_keys`], as with `control.listen`.
    #[serde(deserialize_with = "control::addresses")]
    listen: Option<Result<Vec<ControlListen>, String>>,
    #[serde(rename = "path")]
    paths: Paths,
    require_token: bool,
    #[serde(deserialize_with = "users")]
    allow_users: Option<Vec<User>>,
    unknown_fields: UnknownFields,
    #[serde(deserialize_with = "size::positive")]
    body_limit: usize,
    #[serde(deserialize_with = "duration::positive")]
    body_timeout: Duration,
}

impl Default for RegistrationKeys {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: None,
            paths: Paths::default(),
            require_token: false,
            allow_users: None,
            unknown_fields: UnknownFields::Refuse,
            body_limit: 64 * 1024,
            body_timeout: Duration::from_secs(10),
        }
    }
}

impl RegistrationKeys {
    /// The section with its defaults.
    pub(super) fn resolve(self) -> Registration {
        Registration {
            enabled: self.enabled,
            listen: self.listen.and_then(Result::ok).unwrap_or_default(),
            paths: self.paths.resolve(),
            require_token: self.require_token,
            allow_users: self.allow_users,
            unknown_fields: self.unknown_fields,
            body_limit: self.body_limit,
            body_timeout: self.body_timeout,
        }
    }
}

/// Checks what the deserialiser could not refuse at the right place.
pub(super) fn check_keys(keys: &RegistrationKeys, source: &Source<'_>) -> Result<(), ConfigError> {
    match &keys.listen {
        Some(Err(problem)) => Err(refuse("registration.listen", problem, source)),
        _ => keys.paths.check(source),
    }
}

/// A list that is empty would be for nobody.
fn users<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<User>>, D::Error> {
    let users = Vec::deserialize(deserializer)?;
    if users.is_empty() {
        return Err(serde::de::Error::custom(
            "is empty; name a user, or remove the key for any user",
        ));
    }
    Ok(Some(users))
}
