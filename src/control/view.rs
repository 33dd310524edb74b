//! Routes as clients of the API see them.

use std::sync::Arc;
use std::time::Duration;

use humantime::{format_duration, format_rfc3339_millis};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::texts;
use crate::registry::{Registry, State};
use crate::route::{Activity, Instance, InstanceSpec, Route, RouteKey, Settings, With};

/// A route: what is written of it, and how it is.
pub(super) type RouteView = With<RouteState, Settings>;

/// One instance of a route: what is written of it, and how it is.
pub(super) type InstanceView = With<InstanceState, InstanceSpec>;

/// A route: its key, its instances, its settings, and what it has served.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RouteView)]
pub(super) struct RouteState {
    /// The request hosts: `*`, `example.com` or `*.example.com`.
    #[schema(value_type = texts::HostPattern)]
    host: String,
    /// The path prefix.
    #[schema(value_type = texts::Prefix)]
    prefix: String,
    /// The change that made it what it is.
    generation: u64,
    /// Its instances, those that drain last.
    instances: Vec<InstanceView>,
    activity: ActivityView,
}

/// An instance of a route: where it is, and whether it takes requests.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InstanceView)]
pub(super) struct InstanceState {
    /// Its name within the route.
    #[schema(value_type = texts::InstanceId)]
    id: String,
    /// Whose it is.
    #[schema(value_type = Option<texts::Owner>, required)]
    owner: Option<String>,
    /// The length of its lease.
    #[schema(value_type = Option<texts::Duration>, required)]
    ttl: Option<String>,
    state: Readiness,
    /// The rest of its lease.
    #[schema(value_type = Option<texts::Duration>, required)]
    expires_in: Option<String>,
    /// The rest of its drain.
    #[schema(value_type = Option<texts::Duration>, required)]
    drain_ends_in: Option<String>,
    /// Requests on their way.
    in_flight: u64,
    /// When it joined.
    #[schema(value_type = texts::Time)]
    since: String,
}

/// Whether an instance takes requests.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = InstanceState)]
pub(super) enum Readiness {
    /// It does.
    Ready,
    /// It does not any more.
    Draining,
}

/// The activity behind a route since it was made, or since the proxy started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActivityView {
    /// When a request began or ended or a byte passed; when the route was made, before.
    #[schema(value_type = texts::Time)]
    last_activity: String,
    /// Requests on their way.
    in_flight: u64,
    requests: RequestsView,
    bytes: BytesView,
}

/// Requests that have ended, by the class of their status.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequestsView {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    successful: u64,
    #[serde(rename = "3xx")]
    redirection: u64,
    #[serde(rename = "4xx")]
    client_error: u64,
    #[serde(rename = "5xx")]
    server_error: u64,
    /// Without an answer.
    aborted: u64,
}

/// Bytes of bodies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BytesView {
    /// From clients.
    received: u64,
    /// To clients.
    sent: u64,
}

/// Makes views of routes as of one moment.
pub(super) struct Viewer<'a> {
    registry: &'a Registry,
    state: &'a State,
    now: u64,
}

impl<'a> Viewer<'a> {
    pub(super) fn new(registry: &'a Registry, state: &'a State) -> Self {
        Self {
            registry,
            state,
            now: registry.clock().now(),
        }
    }

    /// The route with a key, with what drains of it.
    pub(super) fn route(&self, key: &RouteKey) -> Option<RouteView> {
        let route = self.state.get(key)?;
        Some(self.of(route))
    }

    /// A route that takes requests, or drains, with what drains of it.
    pub(super) fn of(&self, route: &Arc<Route>) -> RouteView {
        let key = route.key();
        let draining = self.state.draining.get(&key);
        let draining = draining.filter(|draining| !Arc::ptr_eq(draining, route));
        let instances = route.instances();
        let instances = instances.chain(draining.into_iter().flat_map(|d| d.instances()));
        RouteView {
            own: RouteState {
                host: key.host.to_string(),
                prefix: key.prefix.to_string(),
                generation: route.generation.0,
                instances: instances.map(|instance| self.instance(instance)).collect(),
                activity: self.activity(&route.activity),
            },
            group: route.settings().cloned().unwrap_or_default(),
        }
    }

    pub(super) fn instance(&self, instance: &Instance) -> InstanceView {
        let drain_ends = instance.drain_ends();
        let mut spec = InstanceSpec::of(instance);
        InstanceView {
            own: InstanceState {
                // These are always there.
                id: spec.id.take().unwrap_or_default(),
                owner: spec.owner.take(),
                ttl: spec.ttl.take(),
                state: match drain_ends {
                    None => Readiness::Ready,
                    Some(_) => Readiness::Draining,
                },
                expires_in: instance.lease.as_ref().map(|lease| self.left(lease.ends())),
                drain_ends_in: drain_ends.map(|ends| self.left(ends)),
                in_flight: instance.in_flight(),
                since: format_rfc3339_millis(instance.since).to_string(),
            },
            group: spec,
        }
    }

    fn activity(&self, activity: &Activity) -> ActivityView {
        let totals = activity.totals();
        let [
            informational,
            successful,
            redirection,
            client_error,
            server_error,
            aborted,
        ] = totals.ended;
        let last = self.registry.clock().date(totals.last_activity);
        ActivityView {
            last_activity: format_rfc3339_millis(last).to_string(),
            in_flight: totals.in_flight,
            requests: RequestsView {
                informational,
                successful,
                redirection,
                client_error,
                server_error,
                aborted,
            },
            bytes: BytesView {
                received: totals.received,
                sent: totals.sent,
            },
        }
    }

    fn left(&self, ends: u64) -> String {
        let left = Duration::from_millis(ends.saturating_sub(self.now));
        format_duration(left).to_string()
    }
}
