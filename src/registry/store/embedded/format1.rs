//! Format 1, which releases up to 0.8 wrote: its records of routes, to be read once.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::super::{InstanceRecord, RouteRecord};
use crate::route::{HttpsInput, InstanceSpec, KeyedInstances, Port, RouteSpec, Settings, TlsWish};

/// A route.
#[derive(Debug, Deserialize)]
pub(super) struct Route {
    host: String,
    prefix: String,
    generation: u64,
    /// The requirements on clients' connections.
    #[serde(default)]
    security: Settings,
    instances: Vec<Instance>,
}

/// An instance.
#[derive(Debug, Deserialize)]
struct Instance {
    id: String,
    owner: Option<String>,
    /// Empty for a Unix socket.
    host: String,
    /// 0 for a Unix socket.
    port: u16,
    addresses: Vec<SocketAddr>,
    unix: Option<String>,
    protocol: Option<String>,
    https: Option<TlsWish>,
    /// In milliseconds.
    ttl: Option<u64>,
    since: u64,
}

impl From<Route> for RouteRecord {
    fn from(old: Route) -> Self {
        let (specs, instances) = old.instances.into_iter().map(Instance::split).unzip();
        Self {
            generation: old.generation,
            route: RouteSpec {
                own: KeyedInstances {
                    host: Some(old.host),
                    prefix: old.prefix,
                    instances: specs,
                },
                group: old.security,
            },
            instances,
        }
    }
}

impl Instance {
    fn split(self) -> (InstanceSpec, InstanceRecord) {
        let ttl = self.ttl.map(Duration::from_millis);
        let spec = InstanceSpec {
            id: Some(self.id),
            host: Some(self.host).filter(|_| self.unix.is_none()),
            port: Port::new(self.port),
            unix: self.unix,
            protocol: self.protocol,
            https: self.https.map(HttpsInput::How),
            owner: self.owner,
            ttl: ttl.map(|ttl| humantime::format_duration(ttl).to_string()),
        };
        let record = InstanceRecord {
            addresses: self.addresses,
            since: self.since,
        };
        (spec, record)
    }
}
