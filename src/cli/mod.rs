//! The commands.

mod check;
mod client;
mod drain;
mod duration;
mod instance;
mod key;
mod output;
mod register;
mod routes;
mod run;
mod serve;
mod settings;
mod shell;
mod status;
mod token;
mod wire;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use thiserror::Error;

pub use client::{ClientError, Refusal};
pub use routes::ImportError;
pub use run::RunError;

use crate::config::{Config, ConfigError};
use crate::server::{NewTokenError, StartError};

/// What the exit codes mean, at the end of the help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the machine or the proxy refuses, or the proxy cannot be reached
  2  what was written is wrong: the command line, the configuration, a request
  3  not there: no such route or instance, no route for the URL
  4  the precondition of --if-match failed
  5  not allowed
`run` exits with the command's own code, or 128 + n if signal n ended it.";

/// An edge reverse proxy that apps configure themselves, at run time, over REST.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
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
    /// Show and change the routes of a running proxy.
    #[command(subcommand, after_help = EXIT_CODES)]
    Routes(routes::RoutesCommand),
    /// Register an app with a running proxy.
    #[command(after_help = EXIT_CODES)]
    Register(register::RegisterArgs),
    /// Take a route or an instance out; its requests may finish.
    #[command(after_help = EXIT_CODES)]
    Drain(drain::DrainArgs),
    /// Show what a running proxy is and holds.
    #[command(after_help = EXIT_CODES)]
    Status(status::StatusArgs),
    /// Run an app on a free port and keep it registered as long as it runs.
    ///
    /// The command gets its port in $PORT, and wherever an argument has {port}. It is registered
    /// once it listens. On SIGTERM or ctrl-C it first loses its registration, its requests finish,
    /// and only then it gets the signal; a second signal goes through at once. If it ends by itself
    /// it is taken out at once. While the proxy is not there it runs on, and is registered when the
    /// proxy is back.
    #[command(after_help = EXIT_CODES)]
    Run(run::RunArgs),
    /// Make a token for the control API.
    Token(TokenArgs),
    /// Print a shell's completions.
    Completions(shell::CompletionsArgs),
    /// Print the manual page, in roff.
    Man,
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
    /// What was to be drained is still there.
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
            Self::Start(_)
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

/// Runs the command that the process was started with; usage errors exit with 2. The code is 0,
/// unless `run` passes another one on.
///
/// # Errors
/// [`CliError`].
pub fn run() -> Result<ExitCode, CliError> {
    let cli = Cli::parse();
    let done = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Check(args)) => check::run(args.conf.as_deref()),
        Some(Command::Routes(command)) => quiet(routes::run(command)),
        Some(Command::Register(args)) => quiet(register::run(&args)),
        Some(Command::Drain(args)) => quiet(drain::run(&args)),
        Some(Command::Status(args)) => quiet(status::run(&args)),
        Some(Command::Run(args)) => return run::run(args).map_err(CliError::from),
        Some(Command::Token(args)) => token::run(&args),
        Some(Command::Completions(args)) => quiet(shell::completions(&args)),
        Some(Command::Man) => quiet(shell::man()),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Whoever reads the output may stop reading (`| head`): that is no failure.
fn quiet(result: Result<(), CliError>) -> Result<(), CliError> {
    match result {
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The configuration from a file and the process's environment.
fn load(path: Option<&std::path::Path>) -> Result<Config, ConfigError> {
    Config::load(path, |name| {
        // A value that is not Unicode is a wrong value, not a missing one.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    })
}
