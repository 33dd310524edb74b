//! Between routes and what a store keeps of them.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::attempt::Step;
use super::clock::millis;
use super::destination::protocol;
use super::effects::missing;
use super::store::{InstanceRecord, RouteRecord, TlsRecord, Write};
use crate::route::{
    Activity, Endpoint, Generation, HostPattern, Instance, InstanceId, Lease, PathPrefix, Protocol,
    Route, RouteKey, Target, TargetTls,
};

/// What a store has to write for the steps of a commit.
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
                let before = moved.before.as_ref();
                for left in missing(before, Some(after)) {
                    if left.lease.is_some() {
                        writes.push(Write::RemoveLease(Arc::clone(&key), left.id.text()));
                    }
                }
                for joined in missing(Some(after), before) {
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

/// The text that a route is kept under.
pub(super) fn text(key: &RouteKey) -> Arc<str> {
    key.to_string().into()
}

fn record(route: &Route) -> RouteRecord {
    RouteRecord {
        host: route.host.to_string(),
        prefix: route.prefix.to_string(),
        generation: route.generation.0,
        security: route.security().cloned().unwrap_or_default(),
        instances: route.instances().map(|i| instance_record(i)).collect(),
    }
}

fn instance_record(instance: &Instance) -> InstanceRecord {
    let target = &instance.target;
    let since = instance.since.duration_since(SystemTime::UNIX_EPOCH);
    InstanceRecord {
        id: instance.id.to_string(),
        owner: instance.owner.as_deref().map(str::to_owned),
        host: target.host().unwrap_or_default().to_owned(),
        port: target.port().unwrap_or_default(),
        addresses: target.addresses().to_vec(),
        unix: target.unix().map(str::to_owned),
        protocol: (target.protocol != Protocol::Http1).then(|| target.protocol.name().to_owned()),
        https: target.tls.as_ref().map(|tls| TlsRecord {
            server_name: tls.server_name.to_string(),
            profile: tls.profile.as_deref().map(str::to_owned),
        }),
        ttl: instance.ttl().map(millis),
        since: since.map_or(0, millis),
    }
}

/// A route as it was kept; `ends` says when the lease of an instance ends.
pub(super) fn route(
    record: &RouteRecord,
    ends: impl Fn(&str) -> Option<u64>,
    now: u64,
) -> Result<Route, String> {
    let host = match record.host.as_str() {
        "*" => HostPattern::Any,
        host => HostPattern::parse(host).map_err(|error| error.to_string())?,
    };
    let prefix = PathPrefix::parse(&record.prefix).map_err(|error| error.to_string())?;
    let instances = record
        .instances
        .iter()
        .map(|instance| restored(instance, ends(&instance.id), now).map(Arc::new))
        .collect::<Result<Vec<_>, String>>()?;
    let activity = Arc::new(Activity::new(now));
    let generation = Generation(record.generation);
    Route::with_instances(RouteKey { host, prefix }, instances, generation, activity)
        .map(|route| route.secured(Some(&record.security)))
        .ok_or_else(|| "it has no instance".to_owned())
}

fn restored(record: &InstanceRecord, ends: Option<u64>, now: u64) -> Result<Instance, String> {
    let mut target = match (&record.unix, NonZeroU16::new(record.port)) {
        (Some(path), _) => Target::at(Endpoint::Unix(path.as_str().into())),
        (None, Some(port)) => Target::new(&record.host, port, record.addresses.clone()),
        (None, None) => return Err("its port is 0".to_owned()),
    };
    if let Some(name) = &record.protocol {
        target.protocol = protocol(name).map_err(|error| error.to_string())?;
    }
    target.tls = record.https.as_ref().map(|tls| {
        Box::new(TargetTls {
            server_name: tls.server_name.as_str().into(),
            profile: tls.profile.as_deref().map(Box::from),
        })
    });
    let mut instance = Instance::new(target);
    instance.id = InstanceId::parse(&record.id).map_err(|error| error.to_string())?;
    instance.owner = record.owner.as_deref().map(Arc::from);
    instance.since = SystemTime::UNIX_EPOCH + Duration::from_millis(record.since);
    instance.lease = record.ttl.map(|ttl| {
        let ttl = Duration::from_millis(ttl);
        Lease::new(ttl, ends.unwrap_or_else(|| now.saturating_add(millis(ttl))))
    });
    Ok(instance)
}
