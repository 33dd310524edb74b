//! `routes put` and `routes remove`.

use std::time::Duration;

use clap::Args;
use http::Method;

use crate::cli::client::{Call, ConnectionArgs, block_on};
use crate::cli::instance::InstanceArgs;
use crate::cli::key::Key;
use crate::cli::settings::{self, SettingArgs};
use crate::cli::wire::Changed;
use crate::cli::{CliError, duration, output};
use crate::route::With;

/// The options of every change.
#[derive(Args, Debug)]
struct ChangeArgs {
    /// Change it only if it is as it was: the entity tag from `routes get`.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the proxy's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `routes put`.
#[derive(Args, Debug)]
pub(in super::super) struct PutArgs {
    /// The route: /shop, example.com/shop or *.example.com/shop.
    key: Key,
    #[command(flatten)]
    target: InstanceArgs,
    #[command(flatten)]
    settings: SettingArgs,
    /// Join the route as this instance, instead of replacing it.
    #[arg(long, value_name = "ID", alias = "id", conflicts_with = settings::GROUP)]
    instance: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// `routes remove`.
#[derive(Args, Debug)]
pub(in super::super) struct RemoveArgs {
    /// The route: /shop, example.com/shop or *.example.com/shop.
    key: Key,
    /// How long its requests may go on; otherwise it goes at once.
    #[arg(long, value_name = "DURATION", value_parser = duration::any)]
    drain: Option<Duration>,
    /// Only this instance of it.
    #[arg(long, value_name = "ID", alias = "id")]
    instance: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) fn put(args: &PutArgs) -> Result<(), CliError> {
    let body = With {
        own: args.target.spec(),
        group: args.settings.0.clone(),
    };
    let id = args.instance.as_deref();
    let call = Call::json(Method::PUT, args.key.path_of(id), &body)?;
    args.change.carry_out(call, &args.key, id)
}

pub(super) fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    let id = args.instance.as_deref();
    let drain = args.drain.map(duration::written);
    let call = Call::delete(args.key.path_of(id)).query_if("drain", drain.as_deref());
    args.change.carry_out(call, &args.key, id)
}

impl ChangeArgs {
    fn carry_out(&self, call: Call, key: &Key, id: Option<&str>) -> Result<(), CliError> {
        let call = call
            .dry_run(self.dry_run)
            .if_match(self.if_match.as_deref())?;
        let mut client = self.connection.client()?;
        let answer = block_on(client.call(call))?;
        if self.json {
            return output::document(&answer.body);
        }
        let changed: Changed = answer.read()?;
        changed.told(key, id, &changed.result)
    }
}
