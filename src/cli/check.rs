//! `check`: all that `serve` does, short of binding.

use std::io::Write as _;
use std::path::Path;

use super::{CliError, load};
use crate::server::Server;

pub(super) fn run(path: Option<&Path>) -> Result<(), CliError> {
    Server::check(&load(path)?)?;
    let name = path.map_or_else(|| "the defaults".into(), Path::to_string_lossy);
    writeln!(std::io::stdout(), "{name}: ok")?;
    Ok(())
}
