//! `routes watch`: what happens, as it happens, across restarts of the proxy.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::cli::clean::clean;
use crate::cli::client::{Client, ClientError, ConnectionArgs, Event, block_on};
use crate::cli::key::Key;
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
    match block_on(watch(&mut client, args.json)) {
        Ok(never) => match never {},
        Err(error) => Err(error),
    }
}

async fn watch(client: &mut Client, is_json: bool) -> Result<Infallible, CliError> {
    let mut last: Option<String> = None;
    let mut pause = PAUSE;
    let mut was_connected = false;
    loop {
        match client.events(last.as_deref(), SILENCE).await {
            Ok(mut events) => {
                if was_connected {
                    output::note("connected again");
                }
                was_connected = true;
                let end = loop {
                    match events.next().await {
                        Ok(Some(event)) => {
                            pause = PAUSE;
                            show(&event, is_json)?;
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
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    output::line(format_args!("{time}  {}", sentence(&event.name, &data)))
}

/// The event's name, the route that it is about, and the rest as it came.
fn sentence(name: &str, data: &Value) -> String {
    if name == "missed" {
        let missed = data.get("missed").and_then(Value::as_u64);
        let missed = missed.map_or_else(|| "some".to_owned(), |missed| missed.to_string());
        return format!("{missed} events were missed: `routes list` shows how it is now");
    }
    let mut rest = data.clone();
    let mut key = String::new();
    if let Value::Object(rest) = &mut rest
        && let (Some(Value::String(host)), Some(Value::String(prefix))) =
            (rest.get("host").cloned(), rest.get("prefix").cloned())
    {
        rest.remove("host");
        rest.remove("prefix");
        key = Key::new(&host, &prefix).to_string();
    }
    let rest = match rest {
        Value::Object(rest) if rest.is_empty() => String::new(),
        rest => rest.to_string(),
    };
    clean(format!("{name:<17}  {key}  {rest}").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_told_with_their_route() {
        let data = json!({"host": "*", "prefix": "/shop", "generation": 3});
        assert_eq!(
            sentence("route_created", &data),
            "route_created      /shop  {\"generation\":3}"
        );
        assert_eq!(sentence("routes_changed", &json!({})), "routes_changed");
        assert!(sentence("missed", &json!({"missed": 7})).starts_with("7 events were missed"));
    }
}
