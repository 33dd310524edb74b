//! `register`: what an app does itself when it starts, for one that does not.

use clap::Args;
use http::Method;

use super::clean::clean;
use super::client::{Call, ConnectionArgs, block_on};
use super::instance::InstanceArgs;
use super::settings::SettingArgs;
use super::wire::{Registered, Registration};
use super::{CliError, output};

/// `register`.
#[derive(Args, Debug)]
pub(super) struct RegisterArgs {
    /// The path prefix: /shop.
    #[arg(long)]
    prefix: String,
    #[command(flatten)]
    target: InstanceArgs,
    #[command(flatten)]
    settings: SettingArgs,
    /// The request hosts that the route is for; any, if there is none.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    req_host_name: Vec<String>,
    /// Join the route as this instance, instead of replacing it.
    #[arg(long, value_name = "ID", alias = "id")]
    instance: Option<String>,
    /// Print the proxy's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &RegisterArgs) -> Result<(), CliError> {
    let registration = Registration {
        prefix: args.prefix.clone(),
        req_host_names: args.req_host_name.clone(),
        instance: args.instance.clone(),
        spec: args.target.spec(),
        settings: args.settings.0.clone(),
    };
    let mut client = args.connection.client()?;
    let call = Call::json(Method::POST, "/register", &registration)?;
    let answer = block_on(client.call(call))?;
    if args.json {
        return output::document(&answer.body);
    }
    let registered: Registered = answer.read()?;
    output::line(format_args!(
        "registered: {} -> {} (generation {})",
        clean(&registered.prefix),
        clean(&registered.target()),
        clean(answer.field("x-route-generation").unwrap_or("unknown")),
    ))
}
