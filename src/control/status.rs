//! `GET /v1/status`: what is running.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Control;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    routes: usize,
    /// Since the proxy was made.
    uptime: String,
}

pub(super) async fn status(State(control): State<Arc<Control>>) -> Json<Status> {
    let uptime = Duration::from_secs(control.started.elapsed().as_secs());
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        routes: control.registry.routes().len(),
        uptime: humantime::format_duration(uptime).to_string(),
    })
}
