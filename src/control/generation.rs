//! `x-route-generation`: how a client knows which table an answer is of.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;

use super::state::Control;

/// The field of an answer that carries the table's generation.
pub(super) const GENERATION: &str = "x-route-generation";

/// Adds x-route-generation to every response.
pub(super) async fn with_generation(
    State(control): State<Arc<Control>>,
    mut response: Response,
) -> Response {
    let generation = control.registry.generation();
    response
        .headers_mut()
        .entry(GENERATION)
        .or_insert_with(|| HeaderValue::from(generation.0));
    response
}
