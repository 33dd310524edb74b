//! The replies to requests that are shed.

use http::header::{ACCEPT, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::super::reply::Reply;
use super::super::request::Request;
use crate::reply::grpc::Status;
use crate::reply::{Refusal, prefers_html};

/// The replies to requests that are shed, made once.
#[derive(Debug)]
pub(super) struct Replies {
    json: Reply,
    html: Reply,
    grpc: Reply,
}

impl Replies {
    pub(super) fn new() -> Self {
        let refusal = Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "OVERLOADED",
            "The proxy has more requests than it can serve now; try again in a second.",
        );
        let later = |mut reply: Reply| {
            let fields = reply.fields_mut();
            fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            reply
        };
        Self {
            json: later(Reply::with_body(&refusal, refusal.json())),
            html: later(Reply::with_body(&refusal, refusal.html())),
            grpc: later(Reply::of_call(&refusal, Status::of(&refusal))),
        }
    }

    /// The one in the form that the client reads.
    pub(super) fn of(&self, request: &Request) -> &Reply {
        if request.is_grpc() {
            return &self.grpc;
        }
        match request.fields().get(&ACCEPT) {
            Some(accept) if prefers_html(accept) => &self.html,
            _ => &self.json,
        }
    }
}
