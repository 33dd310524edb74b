//! Between routes and what a store keeps of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::clock::millis;
use super::rules::Rules;
use super::step::Step;
use super::store::{InstanceRecord, RouteRecord, Write};
use crate::route::{
    Activity, Generation, HostPattern, Instance, InstanceSpec, Lease, PathPrefix, Route, RouteKey,
    RouteSpec,
};

/// Returns the writes by which a store keeps the steps of a commit.
pub(super) fn writes<'s>(steps: impl Iterator<Item = &'s Step>) -> Vec<Write> {
    let mut writes = Vec::new();
    for step in steps {
        match step {
            Step::Move(moved) => {
                let Some(key) = moved.key().map(|key| text(&key)) else {
                    continue;
                };
                let Some(after) = &moved.after else {
                    writes.push(Write::RemoveRoute(key));
                    continue;
                };
                writes.push(Write::PutRoute(Arc::clone(&key), Box::new(record(after))));
                for left in moved.left() {
                    if left.lease.is_some() {
                        writes.push(Write::RemoveLease(Arc::clone(&key), left.id.text()));
                    }
                }
                for joined in moved.joined() {
                    if let Some(lease) = &joined.lease {
                        let (key, id) = (Arc::clone(&key), joined.id.text());
                        writes.push(Write::PutLease(key, id, lease.ends()));
                    }
                }
            }
            Step::Renew(key, instance, ends) => {
                writes.push(Write::PutLease(text(key), instance.id.text(), *ends));
            }
            // What drains is gone after a restart: its requests are.
            Step::Drain(..) | Step::Gone(..) => {}
        }
    }
    writes
}

/// The text that a route is kept under, however its prefix was written.
pub(super) fn text(key: &RouteKey) -> Arc<str> {
    format!("{}{}", key.host, key.prefix.identity()).into()
}

fn record(route: &Route) -> RouteRecord {
    RouteRecord {
        generation: route.generation.0,
        route: RouteSpec::of(route),
        instances: route.instances().map(|i| instance_record(i)).collect(),
    }
}

fn instance_record(instance: &Instance) -> InstanceRecord {
    let since = instance.since.duration_since(SystemTime::UNIX_EPOCH);
    InstanceRecord {
        addresses: instance.target.addresses().to_vec(),
        since: since.map_or(0, millis),
    }
}

/// When the leases of a store end: the route's key, the instance's id, milliseconds of the registry's clock.
type LeaseEnds = [(Arc<str>, Arc<str>, u64)];

/// The routes of a store, but for those that are damaged or that the rules no longer allow: a warning names
/// each.
pub(super) fn restored(
    records: Vec<(Arc<str>, RouteRecord)>,
    leases: &LeaseEnds,
    rules: &Rules,
    now: u64,
) -> Vec<Arc<Route>> {
    let ends = leases
        .iter()
        .map(|(key, id, ends)| ((&**key, &**id), *ends));
    let kept: HashMap<(&str, &str), u64> = ends.collect();
    let mut routes = Vec::with_capacity(records.len());
    for (key, record) in records {
        let ends = |id: &str| kept.get(&(&*key, id)).copied();
        match route(&record, ends, now).and_then(|route| rules.readmit(route)) {
            Ok(route) => routes.push(Arc::new(route)),
            Err(reason) => log::warn!("the stored route {key} is left out: {reason}"),
        }
    }
    routes
}

/// A route as it was kept; `ends` says when the lease of an instance ends.
fn route(
    record: &RouteRecord,
    ends: impl Fn(&str) -> Option<u64>,
    now: u64,
) -> Result<Route, String> {
    let spec = &record.route;
    let host = match spec.own.host.as_deref() {
        None | Some("*") => HostPattern::Any,
        Some(host) => HostPattern::parse(host).map_err(|error| error.to_string())?,
    };
    let prefix = PathPrefix::parse(&spec.own.prefix).map_err(|error| error.to_string())?;
    if spec.own.instances.len() != record.instances.len() {
        return Err("not each of its instances has addresses".to_owned());
    }
    let instances = spec
        .own
        .instances
        .iter()
        .zip(&record.instances)
        .map(|(spec, kept)| instance(spec, kept, &ends, now).map(Arc::new))
        .collect::<Result<Vec<_>, String>>()?;
    let activity = Arc::new(Activity::new(now));
    let generation = Generation(record.generation);
    Route::with_instances(RouteKey { host, prefix }, instances, generation, activity)
        .map(|route| route.with_settings(Some(&spec.group)))
        .ok_or_else(|| "it has no instance".to_owned())
}

fn instance(
    spec: &InstanceSpec,
    kept: &InstanceRecord,
    ends: impl Fn(&str) -> Option<u64>,
    now: u64,
) -> Result<Instance, String> {
    let checked = spec.check().map_err(|error| error.to_string())?;
    let target = checked.destination.resolved(&kept.addresses);
    let mut instance = Instance::new(target.map_err(|error| error.to_string())?);
    instance.id = checked.id.unwrap_or_default();
    instance.owner = checked.owner;
    instance.since = SystemTime::UNIX_EPOCH + Duration::from_millis(kept.since);
    instance.lease = checked.ttl.map(|ttl| {
        let ends = ends(instance.id.as_str());
        Lease::new(ttl, ends.unwrap_or_else(|| now.saturating_add(millis(ttl))))
    });
    Ok(instance)
}
