//! Why an app is not run, or not any more.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::cli::client::ClientError;
use crate::cli::duration::written;

/// Why an app cannot be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The connection's options are wrong.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The proxy does not take the registration; the app has been stopped.
    #[error("the proxy refuses the registration, so the command was stopped: {0}")]
    Refused(#[source] ClientError),
    /// The port of `--port` is in use.
    #[error("port {port} cannot be had: {source}; leave --port out for a free one")]
    Port {
        /// The port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// The machine has no free port.
    #[error("there is no free port: {0}")]
    NoPort(#[source] io::Error),
    /// The command cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The command does not listen; it has been stopped.
    #[error(
        "the command has not listened on port {port} within {}, so it was stopped; \
         it finds the port in $PORT, or where its arguments have {{port}}; \
         --ready-timeout gives it longer", written(*.within)
    )]
    NotReady {
        /// The port.
        port: u16,
        /// How long it had.
        within: Duration,
    },
    /// The machine does not do what it should.
    #[error("{what}: {source}")]
    Machine {
        /// The step that failed.
        what: &'static str,
        /// How.
        source: io::Error,
    },
}

impl RunError {
    /// 127 and 126 are the shell's codes for a command that is not there or cannot be started.
    pub(in super::super) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) | Self::Refused(error) => error.exit_code(),
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Start { .. } => 126,
            Self::Port { .. } | Self::NoPort(_) | Self::NotReady { .. } | Self::Machine { .. } => 1,
        }
    }
}
