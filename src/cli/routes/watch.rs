//! `routes watch`: what happens, as it happens, across restarts of the proxy.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::told;
use crate::cli::client::{Client, ClientError, ConnectionArgs, Event, block_on};
use crate::cli::{CliError, output};

/// How long a stream may be silent; the proxy sends a comment more often than that.
const SILENCE: Duration = Duration::from_mins(2);

/// Between two attempts to connect again.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// `routes watch`. It ends with a signal only.
#[derive(Args, Debug)]
pub(in super::super) struct WatchArgs {
    /// Print each event as one line of JSON: {"id", "event", "data"}.
    #[arg(long)]
    json: bool,
    /// Tell of renewals of leases, too, which change nothing else.
    #[arg(long)]
    renewals: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// An event for programs.
#[derive(Serialize)]
struct Line<'a> {
    id: Option<&'a str>,
    event: &'a str,
    data: &'a Value,
}

pub(super) fn run(args: &WatchArgs) -> Result<(), CliError> {
    let mut client = args.connection.client()?;
    match block_on(watch(&mut client, args)) {
        Ok(never) => match never {},
        Err(error) => Err(error),
    }
}

async fn watch(client: &mut Client, args: &WatchArgs) -> Result<Infallible, CliError> {
    let mut last: Option<String> = None;
    let mut pause = PAUSE;
    let mut was_connected = false;
    loop {
        match client.events(last.as_deref(), args.renewals, SILENCE).await {
            Ok(mut events) => {
                if was_connected {
                    output::note("connected again");
                }
                was_connected = true;
                let end = loop {
                    match events.next().await {
                        Ok(Some(event)) => {
                            pause = PAUSE;
                            show(&event, args.json)?;
                            if event.id.is_some() {
                                last = event.id;
                            }
                        }
                        Ok(None) => break "the stream has ended".to_owned(),
                        Err(error) => break error.to_string(),
                    }
                };
                output::note(format_args!("{end}; connecting again"));
            }
            Err(error) if was_connected && error.is_passing() => {
                log::debug!("still not there: {error}");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

fn show(event: &Event, is_json: bool) -> Result<(), CliError> {
    let data: Value = serde_json::from_str(&event.data)
        .map_err(|error| ClientError::NotTheApi(error.to_string()))?;
    if is_json {
        return output::json(&Line {
            id: event.id.as_deref(),
            event: &event.name,
            data: &data,
        });
    }
    let Some(line) = told::line(&event.name, &data) else {
        return Ok(());
    };
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    output::line(format_args!("{time}  {line}"))
}
