//! `status`: what a running proxy is and holds.

use clap::Args;

use super::CliError;
use super::client::{Call, ConnectionArgs, block_on};
use super::output::{self, Align};
use super::wire::Status;

/// `status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Print the proxy's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &StatusArgs) -> Result<(), CliError> {
    let mut client = args.connection.client()?;
    let answer = block_on(client.call(Call::get("/v1/status")))?;
    if args.json {
        return output::document(&answer.body);
    }
    let status: Status = answer.read()?;
    let rows = [
        ("address", client.address()),
        ("version", status.version),
        ("uptime", status.uptime),
        ("generation", status.generation.to_string()),
        ("routes", status.routes.to_string()),
        ("draining", status.draining.to_string()),
        ("store", status.store),
        ("shed", status.shed.to_string()),
        ("shed handshakes", status.shed_handshakes.to_string()),
    ];
    output::table(
        &[("", Align::Left), ("", Align::Left)],
        rows.map(|(name, value)| vec![name.into(), value.into()]),
    )
}
