//! The audit: one line of JSON for each route that a change touches, in the log under `audit`.

use std::sync::Arc;
use std::time::SystemTime;

use humantime::format_rfc3339_millis;
use serde::Serialize;

use super::Actor;
use super::attempt::Cause;
use crate::route::{Generation, Instance, Route, RouteKey};

/// The name under which the log's filter finds it (`log: info,audit=off`).
const TARGET: &str = "audit";

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    change: u64,
    action: &'static str,
    /// The name of the token; null for whoever needed none.
    who: Option<&'a str>,
    from: &'a str,
    /// The user of this machine who asked, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// The id of the request; null for what no request has asked for.
    request: Option<&'a str>,
    host: String,
    prefix: &'a str,
    before: Option<Vec<Entry<'a>>>,
    after: Option<Vec<Entry<'a>>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
}

/// Writes the line of a route that was changed.
pub(super) fn moved(
    actor: &Actor,
    cause: Cause,
    key: &RouteKey,
    before: Option<&Arc<Route>>,
    after: Option<&Arc<Route>>,
    generation: Generation,
) {
    let instances = |route: &Arc<Route>| route.instances().cloned().collect::<Vec<_>>();
    let (before, after) = (before.map(instances), after.map(instances));
    write(
        actor,
        cause.name(),
        key,
        before.as_deref(),
        after.as_deref(),
        generation,
    );
}

/// Writes the line of an instance whose drain is over.
pub(super) fn drained(actor: &Actor, key: &RouteKey, instance: &Arc<Instance>, at: Generation) {
    let before = std::slice::from_ref(instance);
    write(actor, "drained", key, Some(before), None, at);
}

fn write(
    actor: &Actor,
    action: &'static str,
    key: &RouteKey,
    before: Option<&[Arc<Instance>]>,
    after: Option<&[Arc<Instance>]>,
    generation: Generation,
) {
    if !log::log_enabled!(target: TARGET, log::Level::Info) {
        return;
    }
    let line = Line {
        time: format_rfc3339_millis(SystemTime::now()).to_string(),
        change: generation.0,
        action,
        who: actor.name.as_deref(),
        from: &actor.from,
        user: actor.user.as_deref(),
        request: actor.request.as_deref(),
        host: key.host.to_string(),
        prefix: key.prefix.as_str(),
        before: before.map(entries),
        after: after.map(entries),
    };
    match serde_json::to_string(&line) {
        Ok(line) => log::info!(target: TARGET, "{line}"),
        Err(error) => log::error!(target: TARGET, "a change of {key} cannot be written: {error}"),
    }
}

fn entries(instances: &[Arc<Instance>]) -> Vec<Entry<'_>> {
    instances.iter().map(|instance| entry(instance)).collect()
}

fn entry(instance: &Instance) -> Entry<'_> {
    Entry {
        id: instance.id.as_str(),
        host: instance.target.host(),
        port: instance.target.port(),
        unix: instance.target.unix(),
        owner: instance.owner.as_deref(),
        ttl: instance
            .ttl()
            .map(|ttl| humantime::format_duration(ttl).to_string()),
    }
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Register => "register",
            Self::Join => "join",
            Self::Leave => "remove",
            Self::Drain => "drain",
            Self::Expire => "expire",
        }
    }
}
