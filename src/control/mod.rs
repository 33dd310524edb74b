//! The REST API, an axum `Router`: written once, mounted wherever `bridge` puts it.
//!
//! Its handlers never wait for proxied traffic, so an app behind the proxy may register through it
//! while every worker is busy.

mod body;
mod bridge;
mod caller;
mod certificates;
mod condition;
mod entries;
mod error;
mod events;
mod fault;
mod generation;
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
mod state;
mod status;
mod token_file;
mod tokens;
mod users;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::routing::{MethodRouter, any, get};
use http::Uri;

pub(crate) use body::BodyLimits;
pub use bridge::Bridge;
pub(crate) use caller::Callers;
pub(crate) use state::{Control, RegisterErrorHandler};
pub use token_file::TokenFileError;
pub use tokens::{NewToken, NewTokenError, Tokens, TokensError};
pub use users::AllowedUser;

/// The part of the API that stands behind the traffic listener, or one of its own: registration alone.
pub(crate) fn registration(control: Arc<Control>) -> Router {
    Router::new()
        .route(register::PATH, any(register::register))
        .fallback(register::below)
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
        .layer(from_fn_with_state(
            Arc::clone(&control.callers),
            caller::identify,
        ))
        .route(register::PATH, any(register::register))
        .layer(map_response_with_state(
            Arc::clone(&control),
            generation::with_generation,
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
