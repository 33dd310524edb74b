//! From a file, or its text, to a checked configuration.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_saphyr::Options;
use serde_saphyr::options::MergeKeyPolicy;

use super::error::{ConfigError, Place};
use super::file::File;
use super::number::Port;
use super::outline::{Entry, Node};
use super::resolved::Config;
use super::source::Source;
use super::{
    acme, control, explain, health_paths, registration_listeners, route_keys, routes, rules, tls,
};

impl Config {
    /// Reads and checks a file; without a path, the defaults.
    ///
    /// `env` looks up an environment variable. `PORT`, and if it is not set `port`, overrides the
    /// file's `port`: if both are set, `PORT` wins. With `listen` in the file either is an error.
    /// `STATE_DIRECTORY` is the default of `state_directory`.
    /// Look up with `std::env::var_os` and `to_string_lossy`: `var(..).ok()` hides a variable that
    /// is not Unicode, which ought to be an error too.
    ///
    /// # Errors
    /// When the file cannot be read, or anything in it, or in the environment, is wrong.
    pub fn load(
        path: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::from_yaml("", "", env);
        };
        let name: Arc<str> = path.to_string_lossy().into();
        let bytes =
            fs::read(path).map_err(|source| ConfigError::unreadable(Arc::clone(&name), source))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::from_yaml(&name, text, env),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let place = Place::after(&String::from_utf8_lossy(valid), name);
                Err(ConfigError::NotUtf8 { place })
            }
        }
    }

    /// Checks a configuration that was read elsewhere; `name` stands for the file in errors. For
    /// `env` see [`Config::load`].
    ///
    /// # Errors
    /// When anything in the text, or in the environment, is wrong.
    pub fn from_yaml(
        name: &str,
        text: &str,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        // Some editors begin a file with a byte order mark; columns do not count it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source {
            file: name.into(),
            text,
        };
        explain::check_tabs(&source)?;
        let file: Option<File> = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| explain::explain(&error, &source))?;
        let mut file = file.unwrap_or_default();
        rules::check(&file, &source)?;
        let port = rules::port_of(&env, &file)?;
        if let Some((_variable, port)) = port {
            file.port = Some(Port(port));
        }
        let routes = routes::read(std::mem::take(&mut file.routes), &source)?;
        route_keys::check(&routes, file.routing.case_sensitive, &source)?;
        let config = Self {
            routes,
            ..Self::resolve(file, &source.file, env)
        };
        let variable = port.map(|(variable, _)| variable);
        config.check(variable, &source)?;
        Ok(config)
    }

    /// Checks what the sections are together. `variable` is the one of the environment that holds the port, if one
    /// does.
    fn check(
        &self,
        variable: Option<&'static str>,
        source: &Source<'_>,
    ) -> Result<(), ConfigError> {
        let user = self.server.user.as_deref();
        control::check(&self.control, &self.listen, user, variable, source)?;
        tls::check(&self.tls, &self.listen, &self.control, source)?;
        registration_listeners::check(self, source)?;
        acme::check(&self.acme, &self.tls, source)?;
        health_paths::check(self, source)?;
        rules::check_tokens(self, source)?;
        rules::check_pingora(self.server.clone(), source)
    }
}

impl Place {
    /// Where a key's value is in a configuration file, for an error that was found once the file had been read: of a
    /// list or map, where `value` is in it. `None` if the key is not in the file, or no more.
    #[must_use]
    pub fn of_key(file: &Path, key: &str, value: Option<&str>) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let source = Source {
            file: file.to_string_lossy().into(),
            text: text.strip_prefix('\u{feff}').unwrap_or(&text),
        };
        let outline = source.outline();
        let within = |entry: &&Entry| entry.path.starts_with(key);
        let is_value =
            |entry: &&Entry| matches!(&entry.node, Node::Scalar(text) if Some(&**text) == value);
        let mut entries = outline.iter().filter(within);
        let entry = entries.clone().find(is_value).or_else(|| entries.next())?;
        Some(source.place(entry.value))
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    // The file is the operator's own, and may hold a hundred thousand routes.
    options.budget = None;
    options
}
