//! Errors of the API as problem documents (RFC 9457).

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::texts;
use crate::route::clip_message;

/// The longest pointer, in bytes.
pub(super) const MAX_POINTER: usize = 512;

/// The media type of a problem document.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request of the API is refused: its answer, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// The reason for programs, in capitals: `NO_SUCH_ROUTE`.
    pub(crate) code: &'static str,
    /// The reason for people: a sentence that says what to do.
    pub(crate) detail: Cow<'static, str>,
    /// The field of the body that is at fault, if one is: a pointer into it (RFC 6901).
    pub(crate) pointer: Option<String>,
    /// The query parameter that is at fault, if one is.
    pub(crate) parameter: Option<Cow<'static, str>>,
    /// The value of `WWW-Authenticate`, which a 401 has (RFC 9110, 15.5.2).
    pub(crate) challenge: Option<&'static str>,
}

/// The detail of the problem that a response is about, for the log.
#[derive(Clone)]
pub(super) struct Reason(pub(super) Cow<'static, str>);

/// Why a request is refused (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// The kind of the problem: `code` says it.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    /// The status, in words.
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The reason for programs.
    #[schema(value_type = texts::Code)]
    code: &'static str,
    /// The reason for people: a sentence that says what to do.
    detail: Cow<'static, str>,
    /// The field of the body that is at fault (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// The query parameter that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<Cow<'static, str>>,
}

impl Problem {
    /// A problem of the request as a whole.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: clip_message(detail),
            pointer: None,
            parameter: None,
            challenge: None,
        }
    }

    /// Names the field of the body that the problem is at (RFC 6901: `/changes/3/prefix`).
    #[must_use]
    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        let mut pointer: String = pointer.into();
        // To the field around one whose name is too long: a part of a name is no pointer.
        while pointer.len() > MAX_POINTER {
            pointer.truncate(pointer.rfind('/').unwrap_or(0));
        }
        self.pointer = Some(pointer);
        self
    }

    /// Names the query parameter that the problem is in.
    #[must_use]
    pub(crate) fn in_parameter(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.parameter = Some(clip_message(name));
        self
    }

    /// Adds the challenge that the client has to meet (RFC 6750, 3).
    #[must_use]
    pub(crate) fn challenging(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    fn document(&self) -> Document {
        Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail.clone(),
            pointer: self.pointer.clone(),
            parameter: self.parameter.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = match serde_json::to_string(&self.document()) {
            Ok(text) => text,
            Err(error) => {
                log::error!("a problem cannot be written as JSON: {error}");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(Reason(self.detail));
        response
    }
}

/// A path that the API does not have.
pub(super) fn no_such_path(path: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "NO_SUCH_PATH",
        format!("The control API has no {path}; /openapi.json lists what it has."),
    )
}

/// A method that the path does not have; the router adds `Allow`.
pub(super) fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "This path does not take the method; the field Allow names those that it takes.",
    )
}

/// A fault of the proxy.
pub(super) fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "INTERNAL",
        "The proxy could not do it; its log says more.",
    )
}

/// A request target that is not one.
pub(super) fn bad_target() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "BAD_TARGET",
        "The request target is not a path with a query; escape what is not allowed in a URI.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_what_is_known() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "INVALID_PREFIX", "No.");
        let text = |problem: &Problem| serde_json::to_string(&problem.document()).unwrap();
        assert_eq!(
            text(&problem),
            r#"{"type":"about:blank","title":"Bad Request","status":400,"code":"INVALID_PREFIX","detail":"No."}"#
        );
        assert!(
            text(&problem.clone().at("/changes/3/prefix"))
                .contains(r#""pointer":"/changes/3/prefix""#)
        );
        assert!(text(&problem.in_parameter("limit")).contains(r#""parameter":"limit""#));
    }

    #[test]
    fn an_answer_is_not_kept() {
        let response = Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "No.")
            .challenging("Bearer")
            .into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
