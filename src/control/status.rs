//! `GET /v1/status`: what is running.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::refusals::Refused;
use super::state::Control;
use crate::front::ClientMeter;
use crate::registry::Meter;

/// The state of the running proxy.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    version: &'static str,
    /// The table's generation.
    generation: u64,
    /// How many routes take requests.
    routes: usize,
    /// How many routes have instances that drain.
    draining: usize,
    /// The limits on the table and on clients.
    limits: Vec<LimitStatus>,
    /// Where routes are kept: `memory`, `embedded`.
    store: &'static str,
    /// How many requests were answered with 503 because the proxy was overloaded, since it started.
    shed: u64,
    /// How many connections were closed before their TLS handshake for the same reason.
    shed_handshakes: u64,
    /// Since the proxy started.
    #[schema(value_type = super::openapi::texts::Duration)]
    uptime: String,
}

/// One limit: on the table, or on what clients may take.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitStatus {
    /// The key of the configuration that sets it.
    #[schema(example = "limits.routes")]
    key: &'static str,
    /// The amount that it allows; null if it is off.
    #[schema(required)]
    most: Option<u64>,
    /// The amount in all; null for a limit on each owner, registration, client or request.
    #[schema(required)]
    used: Option<usize>,
    /// How often it was met since the proxy started: so many changes, connections or requests were refused, or
    /// ended.
    refused: u64,
}

impl From<Meter> for LimitStatus {
    fn from(meter: Meter) -> Self {
        Self {
            key: meter.limit.key(),
            most: Some(meter.most as u64),
            used: meter.used,
            refused: meter.refused,
        }
    }
}

impl From<ClientMeter> for LimitStatus {
    fn from(meter: ClientMeter) -> Self {
        Self {
            key: meter.limit.key(),
            most: meter.most,
            used: meter.used,
            refused: meter.met,
        }
    }
}

/// Says what is running.
#[utoipa::path(get, path = "/v1/status", tag = "status", operation_id = "getStatus", responses(
    (status = 200, description = "What is running", body = Status),
    Refused,
))]
pub(super) async fn status(State(control): State<Arc<Control>>) -> Json<Status> {
    let uptime = Duration::from_secs(control.started.elapsed().as_secs());
    let state = control.registry.state();
    let table = control.registry.meters().map(LimitStatus::from);
    let clients = control.clients.meters().map(LimitStatus::from);
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        generation: state.generation().0,
        routes: state.routes.len(),
        draining: state.draining.len(),
        limits: table.chain(clients).collect(),
        store: control.registry.store_name(),
        shed: control.shed.requests(),
        shed_handshakes: control.shed.handshakes(),
        uptime: humantime::format_duration(uptime).to_string(),
    })
}
