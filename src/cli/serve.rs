//! `serve`: run the proxy.

use std::path::PathBuf;

use clap::Args;

use super::load::{load, start_error};
use super::{CliError, check};
use crate::server::{Server, Switches};
use crate::telemetry;

/// Pingora's own switches, with their meaning.
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
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

pub(super) fn run(args: &ServeArgs) -> Result<(), CliError> {
    if args.test {
        return check::run(args.conf.as_deref());
    }
    let config = load(args.conf.as_deref())?;
    telemetry::log::start(&config.log, config.debug)?;
    let switches = Switches {
        daemon: args.daemon,
        upgrade: args.upgrade,
    };
    Server::bind(&config, switches)
        .map_err(|error| start_error(error, args.conf.as_deref()))?
        .run();
    Ok(())
}
