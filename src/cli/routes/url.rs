//! `routes match`: which route takes a URL, and why.

use clap::Args;

use crate::cli::CliError;
use crate::cli::clean::clean;
use crate::cli::client::{Call, ConnectionArgs, block_on};
use crate::cli::key::Key;
use crate::cli::output::{self, Align};
use crate::cli::wire::Match;

/// `routes match`.
#[derive(Args, Debug)]
pub(in super::super) struct MatchArgs {
    /// The URL: `http://example.com/shop/cart`.
    url: String,
    /// Print the proxy's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &MatchArgs) -> Result<(), CliError> {
    let call = Call::get("/v1/match").query("url", &args.url);
    let mut client = args.connection.client()?;
    let answer = block_on(client.call(call))?;
    let found: Match = answer.read()?;
    if args.json {
        output::document(&answer.body)?;
    } else {
        show(&found)?;
    }
    match found.route {
        Some(_) => Ok(()),
        None => Err(CliError::NoRoute(clean(&args.url))),
    }
}

fn show(found: &Match) -> Result<(), CliError> {
    let host = found.host.as_deref().unwrap_or_default();
    output::line(format_args!(
        "{}{}: {}",
        clean(host),
        clean(&found.path),
        clean(&found.why)
    ))?;
    if found.considered.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let columns = [
        ("ROUTE", Align::Left),
        ("TAKEN", Align::Left),
        ("WHY", Align::Left),
    ];
    let rows = found.considered.iter().map(|route| {
        vec![
            Key::new(&route.host, &route.prefix).to_string().into(),
            if route.taken { "yes" } else { "no" }.into(),
            route.why.as_str().into(),
        ]
    });
    output::table(&columns, rows)
}
