//! The configuration that `serve` and `check` start from.

use std::path::Path;

use super::CliError;
use crate::config::{Config, ConfigError, Place};
use crate::server::StartError;

/// The configuration from a file and the process's environment; without a file, the defaults.
pub(super) fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    Config::load(path, |name| {
        // A value that is not Unicode is a wrong value, not a missing one.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    })
}

/// The error of a server that does not start, with the place in the configuration that it is about.
pub(super) fn start_error(error: StartError, path: Option<&Path>) -> CliError {
    let place = path.zip(error.key()).and_then(|(path, key)| {
        let value = error.file().map(Path::to_string_lossy);
        Place::of_key(path, key, value.as_deref())
    });
    match place {
        Some(place) => {
            let error = Box::new(error);
            CliError::StartAt { place, error }
        }
        None => error.into(),
    }
}
