//! The configuration that `serve` and `check` start from.

use std::path::Path;

use crate::config::{Config, ConfigError};

/// The configuration from a file and the process's environment; without a file, the defaults.
pub(super) fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    Config::load(path, |name| {
        // A value that is not Unicode is a wrong value, not a missing one.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    })
}
