//! `token`: make a token for the control API.

use std::io::Write as _;

use clap::Args;

use super::CliError;
use crate::server::NewToken;

/// `token`.
#[derive(Args, Debug)]
pub(super) struct TokenArgs {
    /// Who the token is for: shown in the log, and the owner of what is registered with it.
    #[arg(long)]
    name: String,
}

pub(super) fn run(args: &TokenArgs) -> Result<(), CliError> {
    let new = NewToken::make(&args.name)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", new.token)?;
    writeln!(out)?;
    writeln!(
        out,
        "# The token is in the first line. It is shown once and kept nowhere. Its entry, below"
    )?;
    writeln!(out, "# `tokens:` in the file that `control.tokens` names:")?;
    write!(out, "{}", new.entry)?;
    Ok(())
}
