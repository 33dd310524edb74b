//! `serve`: run the proxy.

use super::{CliError, ServeArgs, check, load};
use crate::server::{Server, Switches};
use crate::telemetry;

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
    Server::bind(&config, switches)?.run();
    Ok(())
}
