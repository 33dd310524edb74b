//! From the control API's errors to HTTP: the one place that knows which error is which status.

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::problem::Problem;
use crate::registry::store::StoreError;
use crate::registry::{Action, ChangeError, RegisterError};
use crate::reply::Refusal;
use crate::route::clip_message;

/// The answer to a registration that is refused.
pub(super) fn refusal(error: &RegisterError) -> Refusal {
    use RegisterError as E;
    let status = match error {
        E::Forbidden { .. } | E::TargetNotAllowed { .. } | E::UnixNotAllowed { .. } => {
            StatusCode::FORBIDDEN
        }
        E::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
        E::Change(error) => of_change(error),
        E::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        E::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        E::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
        E::Spec(_)
        | E::Reserved { .. }
        | E::ReservedForProbes { .. }
        | E::Ttl(_)
        | E::TargetUnresolved { .. }
        | E::TargetIsProxy { .. }
        | E::Truncated => StatusCode::BAD_REQUEST,
    };
    let refusal = Refusal::new(status, error.code(), clip_message(error.to_string()));
    if matches!(error, E::MethodNotAllowed) {
        refusal.allowing("POST")
    } else {
        refusal
    }
}

/// The status of a change that is not made.
fn of_change(error: &ChangeError) -> StatusCode {
    use ChangeError as E;
    match error.entry().1 {
        E::NoSuchRoute { .. } | E::NoSuchInstance { .. } => StatusCode::NOT_FOUND,
        E::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
        E::Owned { .. } | E::ForeignOwner { .. } | E::Scope { .. } => StatusCode::FORBIDDEN,
        E::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
        E::Store(StoreError::Full { .. }) => StatusCode::INSUFFICIENT_STORAGE,
        E::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// A value that the registry's rules refuse, at its place in the body.
pub(super) fn invalid(error: &RegisterError, pointer: &str) -> Problem {
    let refusal = refusal(error);
    let problem = Problem::new(refusal.status, refusal.code, refusal.message);
    if pointer.is_empty() {
        problem
    } else {
        problem.at(pointer)
    }
}

/// A change that was refused; `list` is where its entries stand in the body.
pub(super) fn not_made(error: &ChangeError, list: &str) -> Problem {
    let (entry, inner) = error.entry();
    let mut text = inner.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text.push('.');
    let problem = Problem::new(of_change(error), error.code(), text);
    match entry {
        Some(index) => problem.at(format!("{list}/{index}")),
        None => problem,
    }
}

/// An action that the token does not allow.
pub(super) fn not_allowed(action: Action) -> Problem {
    let detail = format!("No scope of the token allows {action}.");
    Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN_SCOPE", detail)
}

/// The answer for a path that the control API does not have.
pub(super) fn no_such_path() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "NO_SUCH_PATH",
        "Nothing is served below the registration path; POST to the path itself.",
    )
}

/// A refusal as a response, in the format that the request prefers.
pub(super) fn respond(refusal: &Refusal, fields: &HeaderMap) -> Response {
    let body = refusal.body(fields.get(ACCEPT).map(HeaderValue::as_bytes));
    let mut response = Response::new(Body::from(body.bytes));
    *response.status_mut() = refusal.status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if refusal.status == StatusCode::UNAUTHORIZED {
        fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(methods) = refusal.allow {
        fields.insert(ALLOW, HeaderValue::from_static(methods));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::SpecError;

    #[test]
    fn the_contracts_codes_have_their_statuses() {
        let cases = [
            (
                RegisterError::Forbidden {
                    reason: "no".into(),
                },
                403,
                "FORBIDDEN",
            ),
            (RegisterError::MethodNotAllowed, 405, "METHOD_NOT_ALLOWED"),
            (SpecError::NotJson("x".into()).into(), 400, "BAD_REQUEST"),
            (
                SpecError::Incomplete("missing: port".into()).into(),
                400,
                "INCOMPLETE_REQUEST",
            ),
            (
                RegisterError::TooLarge {
                    limit: 1,
                    key: "registration.body_limit",
                },
                413,
                "PAYLOAD_TOO_LARGE",
            ),
            (
                RegisterError::TargetNotAllowed {
                    target: "a:1".into(),
                },
                403,
                "TARGET_NOT_ALLOWED",
            ),
        ];
        for (error, status, code) in cases {
            let refusal = refusal(&error);
            assert_eq!((refusal.status.as_u16(), refusal.code), (status, code));
        }
    }
}
