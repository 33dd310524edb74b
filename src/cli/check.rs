//! `check`: all that `serve` does, short of binding.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;
use super::load::{load, start_error};
use crate::server::Server;

/// `check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The configuration file; without one, the defaults and the environment are checked.
    #[arg(short, long, value_name = "FILE")]
    pub(super) conf: Option<PathBuf>,
}

pub(super) fn run(path: Option<&Path>) -> Result<(), CliError> {
    Server::check(&load(path)?).map_err(|error| start_error(error, path))?;
    let name = path.map_or_else(|| "the defaults".into(), Path::to_string_lossy);
    writeln!(std::io::stdout(), "{name}: ok")?;
    Ok(())
}
