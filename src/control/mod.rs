//! The REST API, an axum `Router`: written once, mounted wherever `bridge` puts it.
//!
//! Its handlers never wait for proxied traffic, so an app behind the proxy may register through it
//! while every worker is busy.

mod bridge;
mod caller;
mod error;
mod peer;
mod problem;
mod register;
mod status;
mod token_file;
mod tokens;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use bytes::Bytes;
use http::{HeaderMap, Uri};

pub use bridge::Bridge;
pub(crate) use caller::Callers;
pub(crate) use register::BodyLimits;
pub use token_file::TokenFileError;
pub use tokens::{NewToken, NewTokenError, Tokens, TokensError};

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
    pub(crate) callers: Arc<Callers>,
    /// The limits on a body for the API itself.
    pub(crate) api_body: BodyLimits,
    pub(crate) on_register_error: Option<RegisterErrorHandler>,
    pub(crate) started: Instant,
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

/// The whole API, which stands behind the control listeners. Its handlers find the request's
/// [`Actor`](crate::registry::Actor) among its extensions.
pub(crate) fn api(control: Arc<Control>) -> Router {
    Router::new()
        .route("/v1/status", get(status::status))
        .fallback(|uri: Uri| async move { problem::no_such_path(uri.path()) })
        .method_not_allowed_fallback(|| async { problem::method_not_allowed() })
        .layer(from_fn_with_state(Arc::clone(&control), caller::identify))
        .with_state(control)
}
