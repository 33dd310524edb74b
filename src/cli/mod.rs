//! The commands.

mod check;
mod serve;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use crate::config::{Config, ConfigError};
use crate::server::{NewTokenError, StartError};

/// An edge reverse proxy that apps configure themselves, at run time, over REST.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (also without a command).
    Serve(ServeArgs),
    /// Check a configuration: all that `serve` does, short of binding.
    Check(CheckArgs),
    /// Make a token for the control API.
    Token(TokenArgs),
}

/// Pingora's own switches, with their meaning.
#[derive(Args, Debug)]
struct ServeArgs {
    /// The configuration file; without one, the defaults hold.
    #[arg(short, long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Run in the background.
    #[arg(short, long)]
    daemon: bool,
    /// Check the configuration and exit.
    #[arg(short, long)]
    test: bool,
    /// Take the listening sockets over from a running proxy.
    #[arg(short, long)]
    upgrade: bool,
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// The configuration file; without one, the defaults and the environment are checked.
    #[arg(short, long, value_name = "FILE")]
    conf: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct TokenArgs {
    /// Who the token is for: shown in the log, and the owner of what is registered with it.
    #[arg(long)]
    name: String,
}

/// Why a command fails.
#[derive(Debug, Error)]
pub enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The log cannot be started.
    #[error("the log cannot be started: {0}")]
    Log(#[from] log::SetLoggerError),
    /// No token is made.
    #[error(transparent)]
    Token(#[from] NewTokenError),
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// 2 for what the operator wrote, 1 for what the machine refuses.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        let is_configuration = match self {
            Self::Config(_) => true,
            Self::Start(error) => error.is_configuration(),
            Self::Token(error) => matches!(error, NewTokenError::Name(_)),
            Self::Log(_) | Self::Output(_) => false,
        };
        ExitCode::from(if is_configuration { 2 } else { 1 })
    }
}

/// Runs the command that the process was started with; usage errors exit with 2.
///
/// # Errors
/// [`CliError`].
pub fn run() -> Result<(), CliError> {
    let cli = Cli::parse();
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Check(args)) => check::run(args.conf.as_deref()),
        Some(Command::Token(args)) => token::run(&args),
    }
}

/// The configuration from a file and the process's environment.
fn load(path: Option<&std::path::Path>) -> Result<Config, ConfigError> {
    Config::load(path, |name| {
        // A value that is not Unicode is a wrong value, not a missing one.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    })
}
