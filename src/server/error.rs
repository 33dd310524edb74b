//! Why the server does not start.

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
    /// Whether the operator's text is at fault, rather than the machine.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Setting(..) | Self::Tokens(_))
    }
}
