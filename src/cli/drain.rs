//! `drain`: no new requests, and the end once those that are there are through.

use std::time::Duration;

use clap::Args;
use http::StatusCode;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use super::clean::clean;
use super::client::{Call, Client, ClientError, ConnectionArgs, block_on};
use super::key::Key;
use super::wire::{Changed, Instance, Route};
use super::{CliError, duration, output};

/// How often a drain is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// How long a drain may take to be seen as over.
const MARGIN: Duration = Duration::from_secs(10);

/// `drain`.
#[derive(Args, Debug)]
pub(super) struct DrainArgs {
    /// The route: /shop, example.com/shop or *.example.com/shop.
    key: Key,
    /// Only this instance of it.
    #[arg(long, value_name = "ID", alias = "id")]
    instance: Option<String>,
    /// How long requests may go on.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::positive)]
    within: Duration,
    /// Wait until it is gone.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the proxy's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &DrainArgs) -> Result<(), CliError> {
    let mut client = args.connection.client()?;
    block_on(async {
        let call = Call::delete(args.key.path_of(args.instance.as_deref()))
            .query("drain", &duration::written(args.within))
            .dry_run(args.dry_run);
        let answer = client.call(call).await?;
        let changed: Changed = answer.read()?;
        if args.wait {
            wait(&mut client, args).await?;
        }
        if args.json {
            return output::document(&answer.body);
        }
        let gone = if args.wait {
            "removed"
        } else {
            &changed.result
        };
        changed.told(&args.key, args.instance.as_deref(), gone)
    })
}

async fn wait(client: &mut Client, args: &DrainArgs) -> Result<(), CliError> {
    let id = args.instance.as_deref();
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    let end = Instant::now() + args.within + MARGIN;
    loop {
        let draining = draining(client, &args.key, id).await?;
        if draining.is_empty() {
            spinner.finish_and_clear();
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(CliError::StillThere(args.key.to_string()));
        }
        let in_flight: u64 = draining.iter().map(|instance| instance.in_flight).sum();
        spinner.set_message(format!("{}: {in_flight} requests in flight", args.key));
        sleep(EVERY).await;
    }
}

/// The instances that still drain. One that has come back under the same id is ready, and another
/// matter.
pub(super) async fn draining(
    client: &mut Client,
    key: &Key,
    id: Option<&str>,
) -> Result<Vec<Instance>, ClientError> {
    let route: Route = match client.call(Call::get(key.path())).await {
        Ok(answer) => answer.read()?,
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut instances = route.own.instances;
    instances.retain(|instance| instance.is_draining() && id.is_none_or(|id| instance.id() == id));
    Ok(instances)
}

impl Changed {
    /// Says what has become of a route or an instance.
    pub(super) fn told(&self, key: &Key, id: Option<&str>, result: &str) -> Result<(), CliError> {
        let instance = id.map_or_else(String::new, |id| format!(" instance {id}"));
        let would = if self.dry_run { "would be " } else { "" };
        output::line(format_args!(
            "{key}{instance}: {would}{} (generation {})",
            clean(result),
            self.generation
        ))
    }
}
