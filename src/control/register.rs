//! `POST /register`: the contract of the original, check by check in its order.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::collect;
use super::error::{no_such_path, refusal, respond};
use super::generation::GENERATION;
use super::openapi::refusals::RegistrationRefused;
use super::openapi::texts;
use super::peer::Asker;
use super::state::Control;
use crate::registry::{Event, RegisterError, RegisterFailure, Registered, Registration};
use crate::reply::Refusal;
use crate::route::{InstanceSpec, Settings, With};

/// The path of registration within the API; the bridge maps the configured one to it.
pub(super) const PATH: &str = "/register";

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

/// A registration, as an app sends it.
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

/// Refuses a request for a path below those of registration.
pub(super) async fn below(method: Method, fields: HeaderMap) -> Response {
    respond(&said_to(&method, no_such_path()), &fields)
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

fn answer(registered: &Registered) -> Response {
    let Some(route) = registered.routes.first() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let answer = Answer {
        message: "Registered.",
        host: registered.target.host().map(str::to_owned),
        port: registered.target.port(),
        unix: registered.target.unix().map(str::to_owned),
        prefix: route.prefix.to_string(),
    };
    let generation = HeaderValue::from(registered.generation.0);
    ([(GENERATION, generation)], axum::Json(answer)).into_response()
}

/// Adds to the refusal of a `GET` or a `HEAD` that the path is the proxy's own: whoever reads it, a browser
/// above all, may look for an app of that path, which gets no requests for it.
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
        || respond(&said_to(method, refusal(&failure.error)), fields),
        |answer| answer.map(Body::from),
    );
    control
        .registry
        .emit(Event::RegisterError(Arc::new(failure)));
    response
}
