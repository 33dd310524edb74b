//! `GET /healthz` and `GET /readyz`: health probes, for which nobody has to be known.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::openapi::refusals::Unread;
use super::state::Control;
use crate::health::Probe;

/// The answer to a probe.
#[derive(ToSchema)]
#[schema(as = Health)]
#[expect(
    dead_code,
    reason = "the description's; `health::Probe` writes the answer"
)]
pub(super) struct Document {
    /// `alive`; or `ready`, `starting` or `stopping`.
    #[schema(example = "ready")]
    status: String,
}

/// Says that the process lives. Needs no token.
#[utoipa::path(get, path = "/healthz", tag = "status", operation_id = "getLiveness", responses(
    (status = 200, description = "The process lives", body = Document),
    Unread,
))]
pub(super) async fn live(State(control): State<Arc<Control>>) -> Response {
    Probe::Liveness.response(&control.health).map(Body::from)
}

/// Says whether requests should be sent to this proxy: its store is loaded, its listeners accept connections,
/// and it has not been told to stop. Needs no token.
#[utoipa::path(get, path = "/readyz", tag = "status", operation_id = "getReadiness", responses(
    (status = 200, description = "The proxy is ready", body = Document),
    (status = 503, description = "It is starting or stopping", body = Document),
    Unread,
))]
pub(super) async fn ready(State(control): State<Arc<Control>>) -> Response {
    Probe::Readiness.response(&control.health).map(Body::from)
}
