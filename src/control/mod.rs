//! The REST API, an axum `Router`: written once, mounted wherever `bridge` puts it.
//!
//! Its handlers never wait for proxied traffic, so an app behind the proxy may register through it
//! while every worker is busy.

mod bridge;
mod error;
mod peer;
mod register;

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::HeaderMap;

pub use bridge::Bridge;
pub(crate) use register::BodyLimits;

use crate::registry::{RegisterFailure, Registry, UnknownFields};

/// The field of an answer that carries the table's generation.
pub(crate) const GENERATION: &str = "x-route-generation";

/// The path of registration within the API; the bridge maps the configured one to it.
const REGISTER: &str = "/register";

/// A handler that may answer a refused registration itself.
pub(crate) type RegisterErrorHandler =
    Arc<dyn Fn(&RegisterFailure) -> Option<http::Response<Bytes>> + Send + Sync>;

/// What the API's handlers share.
pub(crate) struct Control {
    pub(crate) registry: Arc<Registry>,
    pub(crate) unknown_fields: UnknownFields,
    pub(crate) body: BodyLimits,
    pub(crate) on_register_error: Option<RegisterErrorHandler>,
}

/// The part of the API that stands behind the traffic listener: registration alone.
pub(crate) fn registration(control: Arc<Control>) -> Router {
    Router::new()
        .route(REGISTER, any(register::register))
        .fallback(
            |fields: HeaderMap| async move { error::respond(&error::no_such_path(), &fields) },
        )
        .with_state(control)
}
