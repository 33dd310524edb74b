//! Why a command fails, and with which exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;

use super::client::ClientError;
use super::routes::ImportError;
use super::run::RunError;
use crate::config::{ConfigError, Place};
use crate::server::{NewTokenError, StartError};

/// Why a command fails.
#[derive(Debug, Error)]
pub enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The server does not start, for what a key of the configuration names.
    #[error("{place}: {error}")]
    StartAt {
        /// Where the key's value is.
        place: Place,
        /// Why.
        error: Box<StartError>,
    },
    /// The log cannot be started.
    #[error("the log cannot be started: {0}")]
    Log(#[from] log::SetLoggerError),
    /// No token is made.
    #[error(transparent)]
    Token(#[from] NewTokenError),
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// A call of the control API fails.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file of routes cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No route takes a URL.
    #[error("no route takes {0}")]
    NoRoute(String),
    /// The route or instance that was to be drained is still there.
    #[error("{0} is still there after its time; `routes get` shows what it waits for")]
    StillThere(String),
    /// An app cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl CliError {
    /// 2 for what the operator wrote, 1 for what the machine refuses; the clients of the control
    /// API have more, which the help lists.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) | Self::Token(NewTokenError::Name(_)) => 2,
            Self::Start(error) if error.is_configuration() => 2,
            Self::StartAt { error, .. } if error.is_configuration() => 2,
            Self::Start(_)
            | Self::StartAt { .. }
            | Self::Log(_)
            | Self::Token(_)
            | Self::Output(_)
            | Self::Write { .. }
            | Self::StillThere(_) => 1,
            Self::Client(error) => error.exit_code(),
            Self::Import(error) => error.exit_code(),
            Self::NoRoute(_) => 3,
            Self::Run(error) => error.exit_code(),
        })
    }
}
