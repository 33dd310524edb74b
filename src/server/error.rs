//! Why the server does not start.

use std::path::Path;

use thiserror::Error;

use super::listener::BindError;
use crate::config::ConfigError;
use crate::control::TokenFileError;
use crate::registry::store::StoreError;
use crate::tls;

/// Why the server does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong: exit code 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value of the configuration is wrong: exit code 2.
    #[error("{0}: {1}")]
    Setting(&'static str, String),
    /// An address cannot be listened on: exit code 1.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The tokens file is wrong: exit code 2.
    #[error("control.tokens: {0}")]
    Tokens(#[from] TokenFileError),
    /// The store cannot be used: exit code 1.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A certificate cannot be used: exit code 1.
    #[error("tls.certificates: {0}")]
    Certificate(#[from] tls::LoadError),
    /// The certificates of the control API cannot be kept: exit code 1.
    #[error("state_directory: {0}")]
    Certificates(#[from] tls::StoreError),
    /// The authorities of client certificates cannot be used: exit code 1.
    #[error("{key}: {source}")]
    ClientAuth {
        /// The key that names their file.
        key: String,
        /// The problem.
        source: tls::AuthoritiesError,
    },
    /// The authorities for ACME cannot be used: exit code 1.
    #[error("acme.ca: {0}")]
    AcmeAuthorities(#[source] tls::AuthoritiesError),
    /// TLS cannot be set up: exit code 1.
    #[error("tls: {0}")]
    Tls(#[from] tls::ServerConfigError),
    /// A file that the configuration names cannot be read: exit code 1.
    #[error("{key}: cannot read {path}: {source}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl StartError {
    /// The key of the configuration that it is about, if it is about one that names a file.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Tokens(_) => Some("control.tokens"),
            Self::Certificate(_) => Some("tls.certificates"),
            Self::ClientAuth { key, .. } => Some(key),
            Self::AcmeAuthorities(_) => Some("acme.ca"),
            Self::Setting(key, _) | Self::File { key, .. } => Some(key),
            Self::Config(_)
            | Self::Bind(_)
            | Self::Store(_)
            | Self::Certificates(_)
            | Self::Tls(_) => None,
        }
    }

    /// The file that is at fault, where the key's value is not the file alone.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Certificate(error) => error.path(),
            Self::File { path, .. } => Some(Path::new(path)),
            _ => None,
        }
    }

    /// Whether the operator's text is at fault, rather than the machine.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Setting(..) | Self::Tokens(_))
    }
}
