//! `store` and `state_directory`: where the routes are kept.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::ConfigError;
use super::source::{Source, refuse};
use super::text;

/// Where state is kept when neither the configuration nor systemd says another place.
const STATE_DIRECTORY: &str = "/var/lib/dynamic-reverse-proxy";

/// `store`: what keeps the routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Store {
    /// Memory alone: after a restart there are the routes of the configuration. The default.
    #[default]
    Memory,
    /// A database in one file.
    Embedded {
        /// The file; it is made when it is not there.
        path: PathBuf,
    },
}

/// `store` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StoreKeys {
    #[default]
    Memory,
    /// Without its keys, which `check_keys` refuses.
    Embedded(Option<EmbeddedKeys>),
}

/// `store.embedded`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddedKeys {
    #[serde(deserialize_with = "text::path")]
    path: PathBuf,
}

impl StoreKeys {
    /// The store, with a relative path below the state directory.
    pub(super) fn resolve(self, state_directory: &Path) -> Store {
        match self {
            Self::Memory | Self::Embedded(None) => Store::Memory,
            Self::Embedded(Some(keys)) => Store::Embedded {
                path: state_directory.join(keys.path),
            },
        }
    }
}

/// Refuses a database that has no file.
pub(super) fn check_keys(keys: &StoreKeys, source: &Source<'_>) -> Result<(), ConfigError> {
    if matches!(keys, StoreKeys::Embedded(None)) {
        let problem = "needs the path of its file; write `embedded: {path: routes.redb}`";
        return Err(refuse("store", problem, source));
    }
    Ok(())
}

/// The directory of the configuration, or else the one that systemd made (`StateDirectory=`; of
/// several, separated by colons, the first), or else the usual one.
pub(super) fn state_directory(
    configured: Option<PathBuf>,
    env: impl Fn(&str) -> Option<String>,
) -> PathBuf {
    configured
        .or_else(|| {
            let value = env("STATE_DIRECTORY")?;
            let first = value.split(':').next().filter(|first| !first.is_empty())?;
            Some(first.into())
        })
        .unwrap_or_else(|| STATE_DIRECTORY.into())
}
