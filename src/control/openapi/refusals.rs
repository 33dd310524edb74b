//! The answers that refuse, by what they are shared by.

use std::collections::BTreeMap;

use utoipa::openapi::content::{Content, ContentBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Object, Ref, RefOr, Type};
use utoipa::{IntoResponses, ToSchema};

use super::texts;
use crate::control::problem::{Document, MEDIA_TYPE};

type Responses = BTreeMap<String, RefOr<Response>>;

/// Of every request.
pub(in crate::control) struct Refused;

/// Of a request that anybody may make.
pub(in crate::control) struct Unread;

/// Of what is not there.
pub(in crate::control) struct NotThere;

/// Of a body.
pub(in crate::control) struct BadBody;

/// Of a change.
pub(in crate::control) struct NotMade;

/// Of a change of a certificate.
pub(in crate::control) struct NotKept;

impl IntoResponses for Refused {
    fn responses() -> Responses {
        problems(&[
            (
                400,
                "The request is not one; `detail` says what to send instead",
            ),
            (401, "A token is needed, or the token is not a valid one"),
            (403, "Not allowed: to this caller, or for this route"),
            (408, "The request did not come in time"),
            (414, "Path and query are too long"),
            (
                429,
                "Too many wrong tokens at a time, or more routes than a limit allows",
            ),
            (431, "The head is too long"),
            (500, "A fault of the proxy; its log says more"),
        ])
    }
}

impl IntoResponses for Unread {
    fn responses() -> Responses {
        problems(&[
            (
                400,
                "The request is not one; `detail` says what to send instead",
            ),
            (408, "The request did not come in time"),
            (414, "Path and query are too long"),
            (431, "The head is too long"),
            (500, "A fault of the proxy; its log says more"),
        ])
    }
}

impl IntoResponses for NotThere {
    fn responses() -> Responses {
        problems(&[(
            404,
            "It is not there: no such route, instance or certificate",
        )])
    }
}

impl IntoResponses for BadBody {
    fn responses() -> Responses {
        problems(&[
            (413, "The body is too large"),
            (415, "The body is not JSON"),
        ])
    }
}

impl IntoResponses for NotMade {
    fn responses() -> Responses {
        problems(&[
            (
                412,
                "Somebody was faster: it is not what `If-Match` or `If-None-Match` expects",
            ),
            (503, "The store fails; nothing was changed"),
            (507, "The disk is full; nothing was changed"),
        ])
    }
}

impl IntoResponses for NotKept {
    fn responses() -> Responses {
        problems(&[
            (
                409,
                "The name, or the default, is the configuration's; change it there",
            ),
            (
                503,
                "The disk fails, or the proxy stops; nothing was changed",
            ),
            (507, "The disk is full; nothing was changed"),
        ])
    }
}

/// Whether the listener answers with this status too, before a request gets to the API: with JSON as
/// for a registration, and without what the API's answers have.
pub(super) fn is_listeners(status: &str) -> bool {
    matches!(status, "400" | "408" | "414" | "431" | "500")
}

fn problems(answers: &[(u16, &str)]) -> Responses {
    let response = |&(status, description): &(u16, &str)| {
        let status = status.to_string();
        let mut response = ResponseBuilder::new().description(description);
        if !matches!(status.as_str(), "414" | "431") {
            response = response.content(MEDIA_TYPE, schema(Document::name()));
        }
        if is_listeners(&status) {
            response = response.content("application/json", schema(Refusal::name()));
        }
        (status, response.build().into())
    };
    answers.iter().map(response).collect()
}

fn schema(name: impl AsRef<str>) -> Content {
    let schema = Ref::from_schema_name(name.as_ref());
    ContentBuilder::new().schema(Some(schema)).build()
}

/// Why a registration is refused.
#[derive(ToSchema)]
#[schema(as = Refusal)]
#[expect(
    dead_code,
    reason = "the description's; `reply::Refusal` writes the answer"
)]
pub(super) struct Refusal {
    /// The reason for programs.
    #[schema(value_type = texts::Code)]
    error: String,
    /// The reason for people.
    message: String,
}

/// Of a registration: JSON, or a page for who asks for one.
pub(in crate::control) struct RegistrationRefused;

impl IntoResponses for RegistrationRefused {
    fn responses() -> Responses {
        let answers = [
            (400, "It is not a registration"),
            (401, "A token is needed, or the token is not a valid one"),
            (
                403,
                "Not allowed: to this caller, to this target or for this route",
            ),
            (408, "The body did not come in time"),
            (413, "The body is too large"),
            (414, "Path and query are too long"),
            (429, "More routes than a limit allows; nothing was changed"),
            (431, "The head is too long"),
            (500, "A fault of the proxy; its log says more"),
            (503, "The store fails; nothing was changed"),
            (507, "The disk is full; nothing was changed"),
        ];
        let response = |(status, description): (u16, &str)| {
            let page = Object::with_type(Type::String);
            let page = ContentBuilder::new().schema(Some(page)).build();
            let response = ResponseBuilder::new()
                .description(description)
                .content("application/json", schema(Refusal::name()))
                .content("text/html", page)
                .build();
            (status.to_string(), response.into())
        };
        answers.into_iter().map(response).collect()
    }
}
