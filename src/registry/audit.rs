//! The audit: one line of JSON for each route that a change touches, in the log under `audit`.

use std::sync::Arc;
use std::time::SystemTime;

use humantime::format_rfc3339_millis;
use serde::Serialize;

use super::Actor;
use super::step::Cause;
use crate::route::{Generation, Instance, InstanceSpec, Route, RouteKey, Settings};

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
    before: Option<Vec<InstanceSpec>>,
    after: Option<Vec<InstanceSpec>>,
    /// The settings of the route before the change, and after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings_before: Option<&'a Settings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings_after: Option<&'a Settings>,
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
    write(
        actor,
        cause.name(),
        key,
        Sides { before, after },
        generation,
    );
}

/// Writes the line of an instance whose drain is over.
pub(super) fn drained(actor: &Actor, key: &RouteKey, instance: &Arc<Instance>, at: Generation) {
    if !is_on() {
        return;
    }
    let before = Some(vec![InstanceSpec::of(instance)]);
    let line = Line {
        before,
        ..line(actor, "drained", key, at)
    };
    line.write(key);
}

/// A route before and after.
#[derive(Clone, Copy)]
struct Sides<'a> {
    before: Option<&'a Arc<Route>>,
    after: Option<&'a Arc<Route>>,
}

fn is_on() -> bool {
    log::log_enabled!(target: TARGET, log::Level::Info)
}

fn write(
    actor: &Actor,
    action: &'static str,
    key: &RouteKey,
    Sides { before, after }: Sides<'_>,
    generation: Generation,
) {
    if !is_on() {
        return;
    }
    let line = Line {
        before: before.map(instances),
        after: after.map(instances),
        settings_before: before.and_then(|route| route.settings()),
        settings_after: after.and_then(|route| route.settings()),
        ..line(actor, action, key, generation)
    };
    line.write(key);
}

fn instances(route: &Arc<Route>) -> Vec<InstanceSpec> {
    route.instances().map(|one| InstanceSpec::of(one)).collect()
}

/// A line about nothing yet.
fn line<'a>(
    actor: &'a Actor,
    action: &'static str,
    key: &'a RouteKey,
    generation: Generation,
) -> Line<'a> {
    Line {
        time: format_rfc3339_millis(SystemTime::now()).to_string(),
        change: generation.0,
        action,
        who: actor.name.as_deref(),
        from: &actor.from,
        user: actor.user.as_deref(),
        request: actor.request.as_deref(),
        host: key.host.to_string(),
        prefix: key.prefix.as_str(),
        before: None,
        after: None,
        settings_before: None,
        settings_after: None,
    }
}

impl Line<'_> {
    fn write(&self, key: &RouteKey) {
        match serde_json::to_string(self) {
            Ok(line) => log::info!(target: TARGET, "{line}"),
            Err(error) => {
                log::error!(target: TARGET, "a change of {key} cannot be written: {error}");
            }
        }
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
