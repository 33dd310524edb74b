//! `routes list` and `routes get`.

use clap::Args;
use http::header::ETAG;
use serde_json::Value;

use crate::cli::CliError;
use crate::cli::client::{Call, ConnectionArgs, block_on};
use crate::cli::key::Key;
use crate::cli::output::{self, Align, Text, or_dash};
use crate::cli::wire::{Instance, Route, Routes};

/// `routes list`.
#[derive(Args, Debug)]
pub(in super::super) struct ListArgs {
    /// Only routes for this host, as it was registered: example.com, *.example.com or *.
    #[arg(long)]
    host: Option<String>,
    /// Only this prefix and what is below it.
    #[arg(long)]
    prefix: Option<String>,
    /// Only what belongs to this owner.
    #[arg(long)]
    owner: Option<String>,
    /// Only routes without a request since: 30m, or a time as in RFC 3339.
    #[arg(long, value_name = "TIME")]
    inactive_since: Option<String>,
    /// Print the proxy's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `routes get`.
#[derive(Args, Debug)]
pub(in super::super) struct GetArgs {
    /// The route: /shop, example.com/shop or *.example.com/shop.
    key: Key,
    /// Print it as JSON, with its entity tag for --if-match.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn list(args: &ListArgs) -> Result<(), CliError> {
    let call = Call::get("/v1/routes")
        .query_if("host", args.host.as_deref())
        .query_if("prefix", args.prefix.as_deref())
        .query_if("owner", args.owner.as_deref())
        .query_if("inactive_since", args.inactive_since.as_deref());
    let mut client = args.connection.client()?;
    let answer = block_on(client.call(call))?;
    if args.json {
        return output::document(&answer.body);
    }
    let list: Routes = answer.read()?;
    let columns = [
        ("HOST", Align::Left),
        ("PREFIX", Align::Left),
        ("ID", Align::Left),
        ("TARGET", Align::Left),
        ("STATE", Align::Left),
        ("EXPIRES", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("REQUESTS", Align::Right),
        ("OWNER", Align::Left),
    ];
    output::table(&columns, list.routes.iter().flat_map(rows))
}

/// A row for each instance. Requests are counted for the route as a whole, so only its first row has them.
fn rows(route: &Route) -> impl Iterator<Item = Vec<Text>> {
    let requests: u64 = route.activity.requests.values().sum();
    let mut requests = Some(requests.to_string());
    route.instances.iter().map(move |instance| {
        vec![
            route.host.as_str().into(),
            route.prefix.as_str().into(),
            instance.id().into(),
            instance.target().into(),
            state(instance),
            or_dash(ends_in(instance)),
            instance.in_flight.into(),
            or_dash(requests.take().as_deref()),
            or_dash(instance.group.owner.as_deref()),
        ]
    })
}

fn state(instance: &Instance) -> Text {
    if instance.is_draining() {
        Text::Warning(instance.state.clone())
    } else {
        instance.state.as_str().into()
    }
}

/// When an instance goes away by itself.
fn ends_in(instance: &Instance) -> Option<&str> {
    instance
        .drain_ends_in
        .as_deref()
        .or(instance.expires_in.as_deref())
}

pub(super) fn get(args: &GetArgs) -> Result<(), CliError> {
    let mut client = args.connection.client()?;
    let answer = block_on(client.call(Call::get(args.key.path())))?;
    let tag = answer.field(ETAG.as_str());
    if args.json {
        let mut route: Value = answer.read()?;
        if let (Value::Object(route), Some(tag)) = (&mut route, tag) {
            route.insert("etag".to_owned(), tag.into());
        }
        return output::json(&route);
    }
    let route: Route = answer.read()?;
    let sum = |counts: &std::collections::BTreeMap<String, u64>| {
        let counts = counts.iter().filter(|(_, count)| **count > 0);
        let counts: Vec<String> = counts
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        }
    };
    let facts = [
        ("route", route.key().to_string()),
        ("generation", route.generation.to_string()),
        ("etag", tag.unwrap_or("-").to_owned()),
        (
            "last activity",
            route
                .activity
                .last
                .clone()
                .unwrap_or_else(|| "-".to_owned()),
        ),
        ("in flight", route.activity.in_flight.to_string()),
        ("requests", sum(&route.activity.requests)),
        ("bytes", sum(&route.activity.bytes)),
    ];
    let settings: Vec<(String, String)> = route
        .group
        .texts()
        .map(|(name, text)| (name.replace('_', " "), text))
        .collect();
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    output::table(
        &[("", Align::Left), ("", Align::Left)],
        facts
            .into_iter()
            .chain(settings)
            .map(|(name, value)| vec![Text::from(name), value.into()]),
    )?;
    output::line("")?;
    let columns = [
        ("ID", Align::Left),
        ("TARGET", Align::Left),
        ("STATE", Align::Left),
        ("TTL", Align::Right),
        ("EXPIRES", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("OWNER", Align::Left),
        ("SINCE", Align::Left),
    ];
    let rows = route.instances.iter().map(|instance| {
        vec![
            instance.id().into(),
            instance.target().into(),
            state(instance),
            or_dash(instance.group.ttl.as_deref()),
            or_dash(ends_in(instance)),
            instance.in_flight.into(),
            or_dash(instance.group.owner.as_deref()),
            or_dash(instance.since.as_deref()),
        ]
    });
    output::table(&columns, rows)
}
