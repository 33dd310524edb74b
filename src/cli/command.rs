//! The command line: every command, and what runs it.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use super::run::RunArgs;
use super::{CliError, check, drain, register, routes, serve, shell, status, token};

/// The meanings of the exit codes, at the end of the help.
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
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (also without a command).
    Serve(serve::ServeArgs),
    /// Check a configuration: all that `serve` does, short of binding.
    Check(check::CheckArgs),
    /// Show and change the routes of a running proxy.
    #[command(subcommand, after_help = EXIT_CODES)]
    Routes(routes::RoutesCommand),
    /// Register an app with a running proxy.
    ///
    /// It does what an app does itself when it starts. A registration cannot be tried: `routes put --dry-run`
    /// says what would come of it.
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
    Run(RunArgs),
    /// Make a token for the control API.
    Token(token::TokenArgs),
    /// Print a shell's completions.
    Completions(shell::CompletionsArgs),
    /// Print the manual page, in roff.
    Man,
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
        Some(Command::Run(args)) => return super::run::run(args).map_err(CliError::from),
        Some(Command::Token(args)) => token::run(&args),
        Some(Command::Completions(args)) => quiet(shell::completions(&args, &mut Cli::command())),
        Some(Command::Man) => quiet(shell::man(Cli::command())),
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
