//! Routes as clients of the API see them.

use std::sync::Arc;
use std::time::Duration;

use humantime::{format_duration, format_rfc3339_millis};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::texts;
use crate::registry::{Registry, State};
use crate::route::{
    Activity, ClientCertificate, Hsts, Instance, Protocol, Route, RouteKey, TlsPolicy,
};

/// A route.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RouteView {
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
    /// What becomes of requests in cleartext, if the route has its own policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<texts::TlsPolicy>)]
    tls: Option<TlsPolicy>,
    /// What browsers are told about later requests, if the route has its own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<texts::Hsts>)]
    hsts: Option<Hsts>,
    /// Whether clients have to show a certificate, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<texts::ClientCertificate>)]
    client_certificate: Option<ClientCertificate>,
    activity: ActivityView,
}

/// One instance of a route.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceView {
    /// Its name within the route.
    #[schema(value_type = texts::InstanceId)]
    id: String,
    /// The target's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The target's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// The target's Unix socket, instead of a host and a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<String>,
    /// What is spoken there, if it is not HTTP/1.1: `h2c`, `h2` or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    /// How the connection is secured, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    https: Option<TlsView>,
    /// Whose it is.
    #[schema(value_type = Option<texts::Owner>, required)]
    owner: Option<String>,
    /// The length of its lease.
    #[schema(value_type = Option<texts::Duration>, required)]
    ttl: Option<String>,
    state: InstanceState,
    /// What is left of its lease.
    #[schema(value_type = Option<texts::Duration>, required)]
    expires_in: Option<String>,
    /// What is left of its drain.
    #[schema(value_type = Option<texts::Duration>, required)]
    drain_ends_in: Option<String>,
    /// Requests on their way.
    in_flight: u64,
    /// When it joined.
    #[schema(value_type = texts::Time)]
    since: String,
}

/// How the connection to a target is secured.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TlsView {
    /// The name that the target's certificate has to be for.
    server_name: String,
    /// The configuration's name for a certificate authority and a client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
}

/// Whether an instance takes requests.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum InstanceState {
    /// It does.
    Ready,
    /// It does not any more.
    Draining,
}

/// What has gone on behind a route since it was made, or since the proxy started.
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
        let security = route.security().cloned().unwrap_or_default();
        RouteView {
            host: key.host.to_string(),
            prefix: key.prefix.to_string(),
            generation: route.generation.0,
            instances: instances.map(|instance| self.instance(instance)).collect(),
            tls: security.tls,
            hsts: security.hsts,
            client_certificate: security.client_certificate,
            activity: self.activity(&route.activity),
        }
    }

    pub(super) fn instance(&self, instance: &Instance) -> InstanceView {
        let drain_ends = instance.drain_ends();
        let target = &instance.target;
        InstanceView {
            id: instance.id.to_string(),
            host: target.host().map(str::to_owned),
            port: target.port(),
            unix: target.unix().map(str::to_owned),
            protocol: (target.protocol != Protocol::Http1).then(|| target.protocol.name()),
            https: target.tls.as_ref().map(|tls| TlsView {
                server_name: tls.server_name.to_string(),
                profile: tls.profile.as_deref().map(str::to_owned),
            }),
            owner: instance.owner.as_deref().map(str::to_owned),
            ttl: instance.ttl().map(|ttl| format_duration(ttl).to_string()),
            state: match drain_ends {
                None => InstanceState::Ready,
                Some(_) => InstanceState::Draining,
            },
            expires_in: instance.lease.as_ref().map(|lease| self.left(lease.ends())),
            drain_ends_in: drain_ends.map(|ends| self.left(ends)),
            in_flight: instance.in_flight(),
            since: format_rfc3339_millis(instance.since).to_string(),
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
