//! `GET /v1/status`: what is running.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Control;
use super::openapi::refusals::Refused;

/// What is running.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    version: &'static str,
    /// The table's generation.
    generation: u64,
    /// How many routes take requests.
    routes: usize,
    /// How many routes have instances that drain.
    draining: usize,
    /// Where routes are kept: `memory`, `embedded`.
    store: &'static str,
    /// What clients may take, and how often they were refused more.
    limits: BTreeMap<&'static str, Limit>,
    /// Since the proxy started.
    #[schema(value_type = super::openapi::texts::Duration)]
    uptime: String,
}

/// A limit on clients.
#[derive(Debug, Serialize, ToSchema)]
struct Limit {
    /// How often it was met since the proxy started.
    met: u64,
}

/// Says what is running.
#[utoipa::path(get, path = "/v1/status", tag = "status", operation_id = "getStatus", responses(
    (status = 200, description = "What is running", body = Status),
    Refused,
))]
pub(super) async fn status(State(control): State<Arc<Control>>) -> Json<Status> {
    let uptime = Duration::from_secs(control.started.elapsed().as_secs());
    let state = control.registry.state();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        generation: state.generation().0,
        routes: state.routes.len(),
        draining: state.draining.len(),
        store: control.registry.store_name(),
        limits: control
            .limits
            .all()
            .map(|(name, met)| (name, Limit { met }))
            .collect(),
        uptime: humantime::format_duration(uptime).to_string(),
    })
}
