//! `GET /v1/status`: what is running.

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
    /// How many requests were answered with 503 because the proxy was overloaded, since it started.
    shed: u64,
    /// Since the proxy started.
    #[schema(value_type = super::openapi::texts::Duration)]
    uptime: String,
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
        shed: control.shed.requests(),
        uptime: humantime::format_duration(uptime).to_string(),
    })
}
