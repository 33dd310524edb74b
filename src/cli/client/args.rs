//! The options of the connection, the same for every command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::HeaderValue;

use super::connection::Client;
use super::endpoint::Endpoint;
use super::error::ClientError;
use crate::cli::duration;

/// The variable that says where the control API is.
pub(in super::super) const API: &str = "DYNAMIC_REVERSE_PROXY_API";

/// The variable that holds a token.
const TOKEN: &str = "DYNAMIC_REVERSE_PROXY_TOKEN";

/// How to reach the proxy's control API.
#[derive(Args, Clone, Debug)]
pub(in super::super) struct ConnectionArgs {
    /// The control API: `http://HOST:PORT` or `unix:/PATH`.
    ///
    /// Otherwise `DYNAMIC_REVERSE_PROXY_API` says it; otherwise it is on 127.0.0.1, at the port
    /// after $PORT, or 3001.
    #[arg(long, value_name = "URL", help_heading = "Connection")]
    api: Option<String>,
    /// A file that holds the token and nothing else.
    ///
    /// Otherwise it is taken from `DYNAMIC_REVERSE_PROXY_TOKEN`. There is no option for the token
    /// itself: everybody on the machine could read it in the list of processes.
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    token_file: Option<PathBuf>,
    /// How long the proxy may keep silent.
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = "Connection",
        value_parser = duration::positive)]
    timeout: Duration,
}

impl ConnectionArgs {
    /// A client; it connects with its first call.
    pub(in super::super) fn client(&self) -> Result<Client, ClientError> {
        let endpoint = match (&self.api, variable(API)) {
            (Some(text), _) => Endpoint::parse(text).map_err(|why| ("--api", why)),
            (None, Some(text)) => Endpoint::parse(&text).map_err(|why| (API, why)),
            (None, None) => {
                let port = variable("PORT").or_else(|| variable("port"));
                Endpoint::beside(port.as_deref()).map_err(|why| ("--api", why))
            }
        };
        let endpoint = endpoint.map_err(|(place, why)| ClientError::Address { place, why })?;
        Ok(Client::new(endpoint, self.token()?, self.timeout))
    }

    /// How long the proxy may keep silent.
    pub(in super::super) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn token(&self) -> Result<Option<HeaderValue>, ClientError> {
        match &self.token_file {
            Some(path) => {
                let text = read(path)?;
                bearer(&text, &path.display().to_string()).map(Some)
            }
            None => variable(TOKEN)
                .filter(|token| !token.is_empty())
                .map(|token| bearer(&token, TOKEN))
                .transpose(),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    // A value that is not Unicode is a wrong value, not a missing one.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path).map_err(|error| ClientError::Token {
        place: path.display().to_string(),
        why: error.to_string(),
    })
}

/// The field `Authorization` (RFC 6750, 2.1).
fn bearer(text: &str, place: &str) -> Result<HeaderValue, ClientError> {
    let token = text.trim();
    // Neither the token nor a part of it is shown.
    let wrong = |why: &str| ClientError::Token {
        place: place.to_owned(),
        why: why.to_owned(),
    };
    if token.is_empty() {
        return Err(wrong("it is empty; it has to hold a token"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("it holds more than a token: one word of ASCII"));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|error| wrong(&error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        assert_eq!(bearer("abc\n", "file").unwrap(), "Bearer abc");
        for text in ["", " \n", "a b", "gr\u{fc}n", "secret\u{0}"] {
            let error = bearer(text, "file").unwrap_err().to_string();
            assert!(
                error.contains("file") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
