//! `POST /register`: the contract of the original, check by check in its order.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::refusal;
use super::openapi::refusals::RegistrationRefused;
use super::openapi::texts;
use super::peer::Asker;
use super::{Control, GENERATION};
use crate::registry::{Event, RegisterError, RegisterFailure, Registered, Registration};
use crate::reply::Refusal;
use crate::route::{InstanceSpec, Settings, With};

/// The answer to a registration, in the original's words and order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Registered)]
pub(super) struct Answer {
    message: &'static str,
    /// The target's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The target's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// The target's Unix socket, instead of a host and a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<String>,
    /// The path prefix, normalised.
    prefix: String,
}

/// A registration as it is sent: what the contract says, for its description.
type Described = With<With<Own, InstanceSpec>, Settings>;

/// The fields of a registration that the contract alone has.
#[derive(ToSchema)]
#[schema(as = Registration, example = json!({"prefix": "/shop", "port": 4321}))]
#[expect(
    dead_code,
    reason = "the description's; `Registration::from_json` reads the body"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Own {
    /// The path prefix.
    #[schema(value_type = texts::AskedPrefix)]
    prefix: String,
    /// The target's port; a string of digits will do. Needed unless there is a Unix socket.
    port: Option<Port>,
    /// The request hosts that the route is for; any, if there is no list.
    #[schema(value_type = Option<Vec<texts::RequestHost>>, min_items = 1)]
    req_host_names: Option<Vec<String>>,
    /// The instance that joins the route, under this name. Without it the registration replaces what
    /// was there.
    #[schema(value_type = Option<texts::InstanceId>)]
    instance: Option<String>,
}

/// A port as it is sent.
#[derive(ToSchema)]
#[schema(as = RegistrationPort)]
#[serde(untagged)]
#[expect(dead_code, reason = "the description's")]
enum Port {
    Number(texts::Port),
    Text(texts::PortDigits),
}

/// Why a registration is refused.
#[derive(ToSchema)]
#[schema(as = Refusal)]
#[expect(dead_code, reason = "the description's; `Refusal` writes the answer")]
pub(super) struct Refused {
    /// The reason for programs.
    #[schema(value_type = texts::Code)]
    error: String,
    /// The reason for people.
    message: String,
}

/// Limits on a registration's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// The most bytes.
    pub(crate) size: usize,
    /// The total time from the head on.
    pub(crate) time: Duration,
}

/// Registers an app: the contract of the npm package, from the machine that the proxy runs on.
#[utoipa::path(post, path = "/register", tag = "registration", operation_id = "register",
    request_body = Described, responses(
        (status = 200, description = "Registered", body = Answer),
        RegistrationRefused,
    ))]
pub(super) async fn register(
    State(control): State<Arc<Control>>,
    Extension(asker): Extension<Asker>,
    method: Method,
    fields: HeaderMap,
    body: Body,
) -> Response {
    match attempt(&control, &asker, &method, &fields, body).await {
        Ok(registered) => answer(&registered),
        Err(error) => {
            let peer = asker.peer.ip();
            let failure = RegisterFailure { error, peer };
            refuse(&control, failure, &method, &fields, &asker)
        }
    }
}

async fn attempt(
    control: &Control,
    asker: &Asker,
    method: &Method,
    fields: &HeaderMap,
    body: Body,
) -> Result<Registered, RegisterError> {
    let actor = control.callers.on_registration(asker, fields).await?;
    if method != Method::POST {
        return Err(RegisterError::MethodNotAllowed);
    }
    let body = collect(fields, body, control.body).await?;
    let registration = Registration::from_json(&body, control.unknown_fields)?;
    control.registry.register_as(registration, actor).await
}

/// The whole body, within its limits. Of one that says itself that it is too long nothing is waited for.
pub(super) async fn collect(
    fields: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<bytes::Bytes, RegisterError> {
    let length = fields.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let length: Option<u64> = length.and_then(|text| text.parse().ok());
    if length.is_some_and(|length| length > limits.size as u64) {
        return Err(RegisterError::TooLarge { limit: limits.size });
    }
    let length = length.and_then(|length| usize::try_from(length).ok());
    let whole = whole(Limited::new(body, limits.size), length.unwrap_or(0));
    match tokio::time::timeout(limits.time, whole).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(RegisterError::TooLarge { limit: limits.size })
        }
        // Whoever feeds it has written why.
        Ok(Err(_broken)) => Err(RegisterError::Truncated),
        Err(_elapsed) => Err(RegisterError::TooSlow { after: limits.time }),
    }
}

/// All bytes of a body in one piece. Each frame is dropped once it is copied, so that a large body is not
/// in memory twice.
async fn whole(mut body: Limited<Body>, length: usize) -> Result<bytes::Bytes, axum::BoxError> {
    let mut whole = Vec::with_capacity(length);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.into())
}

fn answer(registered: &Registered) -> Response {
    let Some(route) = registered.routes.first() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let answer = Answer {
        message: "Registered.",
        host: route.target().host().map(str::to_owned),
        port: route.target().port(),
        unix: route.target().unix().map(str::to_owned),
        prefix: route.prefix.to_string(),
    };
    let generation = HeaderValue::from(registered.generation.0);
    ([(GENERATION, generation)], axum::Json(answer)).into_response()
}

/// What a refusal says to a request by this method: whoever reads the path, a browser above all, may look for
/// an app of that path, which gets no requests for it.
fn said_to(method: &Method, mut refusal: Refusal) -> Refusal {
    if matches!(*method, Method::GET | Method::HEAD) {
        refusal.message.to_mut().push_str(
            " This path is the proxy's own, where apps register; the key registration.path of the proxy's \
             configuration moves it.",
        );
    }
    refusal
}

/// The contract's answer, unless the program around us writes its own.
fn refuse(
    control: &Control,
    failure: RegisterFailure,
    method: &Method,
    fields: &HeaderMap,
    asker: &Asker,
) -> Response {
    log::warn!(
        "registration refused: {}: {} (from {}) [{}]",
        failure.error.code(),
        failure.error,
        asker.from(),
        asker.id,
    );
    let handler = control.on_register_error.as_ref();
    let own = handler.and_then(|handler| handler(&failure));
    let response = own.map_or_else(
        || super::error::respond(&said_to(method, refusal(&failure.error)), fields),
        |answer| answer.map(Body::from),
    );
    control
        .registry
        .emit(Event::RegisterError(Arc::new(failure)));
    response
}
