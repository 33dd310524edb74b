//! The REST API, an axum `Router`: written once, mounted wherever `bridge` puts it.
//!
//! Its handlers never wait for proxied traffic, so an app behind the proxy may register through it
//! while every worker is busy.

mod bridge;
mod caller;
mod certificates;
mod condition;
mod entries;
mod error;
mod events;
mod input;
mod matching;
mod object;
mod openapi;
mod peer;
mod place;
mod problem;
mod register;
mod relay;
mod routes;
mod set;
mod socket_owner;
mod status;
mod token_file;
mod tokens;
mod users;
mod view;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};

pub use bridge::Bridge;
pub(crate) use caller::Callers;
pub(crate) use register::BodyLimits;
pub use token_file::TokenFileError;
pub use tokens::{NewToken, NewTokenError, Tokens, TokensError};
pub use users::AllowedUser;

use crate::front::{Clients, Shed};
use crate::registry::{RegisterFailure, Registry, UnknownFields};
use crate::tls::Certificates;

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
    pub(crate) certificates: Arc<Certificates>,
    /// The limits on a body for the API itself.
    pub(crate) api_body: BodyLimits,
    pub(crate) on_register_error: Option<RegisterErrorHandler>,
    pub(crate) started: Instant,
    /// The clients of the traffic.
    pub(crate) clients: Arc<Clients>,
    /// The requests that were shed.
    pub(crate) shed: Arc<Shed>,
}

/// The part of the API that stands behind the traffic listener, or one of its own: registration alone.
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
    paths()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods)
        })
        .fallback(|uri: Uri| async move { problem::no_such_path(uri.path()) })
        .method_not_allowed_fallback(|| async { problem::method_not_allowed() })
        .layer(from_fn_with_state(Arc::clone(&control), caller::identify))
        .route(REGISTER, any(register::register))
        .layer(map_response_with_state(
            Arc::clone(&control),
            with_generation,
        ))
        .with_state(control)
}

/// The paths of the API, but for registration.
fn paths() -> [(&'static str, MethodRouter<Arc<Control>>); 8] {
    let one = get(routes::read).put(routes::put).delete(routes::remove);
    let certificate = get(certificates::read)
        .put(certificates::put)
        .delete(certificates::remove);
    [
        (
            place::ROUTES,
            get(set::list).put(set::put).patch(set::patch),
        ),
        ("/v1/routes/{*route}", one),
        ("/v1/match", get(matching::find)),
        ("/v1/events", get(events::follow)),
        ("/v1/status", get(status::status)),
        ("/v1/certificates", get(certificates::list)),
        ("/v1/certificates/{name}", certificate),
        ("/openapi.json", get(openapi::document)),
    ]
}

/// Adds x-route-generation to every response.
async fn with_generation(State(control): State<Arc<Control>>, mut response: Response) -> Response {
    let generation = control.registry.generation();
    response
        .headers_mut()
        .entry(GENERATION)
        .or_insert_with(|| HeaderValue::from(generation.0));
    response
}
