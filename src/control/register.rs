//! `POST /register`: the contract of the original, check by check in its order.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

use super::error::refusal;
use super::peer::Peer;
use super::{Control, GENERATION};
use crate::registry::{Actor, Event, RegisterError, RegisterFailure, Registered, Registration};

/// The answer to a registration, in the original's words and order.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    message: &'static str,
    host: &'a str,
    port: u16,
    prefix: &'a str,
}

/// Limits on a registration's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// The most bytes.
    pub(crate) size: usize,
    /// The total time from the head on.
    pub(crate) time: Duration,
}

pub(super) async fn register(
    State(control): State<Arc<Control>>,
    Extension(peer): Extension<Peer>,
    method: Method,
    fields: HeaderMap,
    body: Body,
) -> Response {
    match attempt(&control, peer, &method, &fields, body).await {
        Ok(registered) => answer(&registered),
        Err(error) => refuse(
            &control,
            RegisterFailure {
                error,
                peer: peer.ip(),
            },
            &fields,
        ),
    }
}

async fn attempt(
    control: &Control,
    peer: Peer,
    method: &Method,
    fields: &HeaderMap,
    body: Body,
) -> Result<Registered, RegisterError> {
    let _actor = control.callers.on_registration(peer, fields).await?;
    if method != Method::POST {
        return Err(RegisterError::MethodNotAllowed);
    }
    let body = collect(body, control.body).await?;
    let registration = Registration::from_json(&body, control.unknown_fields)?;
    let actor = Actor::local(peer.to_string());
    control.registry.register_as(registration, actor).await
}

/// The whole body, within its limits.
async fn collect(body: Body, limits: BodyLimits) -> Result<bytes::Bytes, RegisterError> {
    let whole = Limited::new(body, limits.size).collect();
    match tokio::time::timeout(limits.time, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(RegisterError::TooLarge { limit: limits.size })
        }
        Ok(Err(error)) => {
            log::debug!("a registration's body broke off: {error}");
            Err(RegisterError::Truncated)
        }
        Err(_elapsed) => Err(RegisterError::TooSlow { after: limits.time }),
    }
}

fn answer(registered: &Registered) -> Response {
    let Some(route) = registered.routes.first() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let answer = Answer {
        message: "Registered.",
        host: route.target().host(),
        port: route.target().port(),
        prefix: route.prefix.as_str(),
    };
    let generation = HeaderValue::from(registered.generation.0);
    ([(GENERATION, generation)], axum::Json(answer)).into_response()
}

/// The contract's answer, unless the program around us writes its own.
fn refuse(control: &Control, failure: RegisterFailure, fields: &HeaderMap) -> Response {
    log::warn!(
        "registration refused: {}: {} (from {})",
        failure.error.code(),
        failure.error,
        failure
            .peer
            .map_or_else(|| "a Unix socket".to_owned(), |peer| peer.to_string()),
    );
    let own = control
        .on_register_error
        .as_ref()
        .and_then(|handler| handler(&failure));
    let response = own.map_or_else(
        || super::error::respond(&refusal(&failure.error), fields),
        |answer| answer.map(Body::from),
    );
    control
        .registry
        .emit(Event::RegisterError(Arc::new(failure)));
    response
}
