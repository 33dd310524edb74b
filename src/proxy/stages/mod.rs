//! The stages of the decision about a request, one file each; `decide` has their order.

pub(super) mod body_limit;
pub(super) mod challenge;
pub(super) mod health;
pub(super) mod https_listener;
pub(super) mod registration;
pub(super) mod route;
pub(super) mod tls_policy;
pub(super) mod well_formed;

use std::borrow::Cow;

use log::Level;

use super::admission::{Admission, OwnReply, Verdict};
use super::https;
use super::tls_policy::Denied;
use crate::front::Reply;
use crate::reply::Refusal;

/// A request is refused.
fn refuse(admission: &Admission<'_>, refusal: &Refusal) -> Verdict {
    Verdict::Reply(Box::new(OwnReply {
        reply: Reply::refusal(refusal, admission.request, None),
        code: refusal.code,
        level: Level::Info,
        reason: Cow::Owned(format!("refused: {}", refusal.message)),
    }))
}

/// A request does not come as it ought to: it is sent to https, or refused. gRPC knows no redirects.
fn deny(admission: &Admission<'_>, denied: Denied) -> Verdict {
    let location = match denied {
        Denied::Redirect(location) if !admission.request.is_grpc() => location,
        denied => return refuse(admission, &denied.refusal()),
    };
    match https::redirect(&location) {
        Ok(response) => Verdict::Reply(Box::new(OwnReply {
            reply: response.into(),
            code: "REDIRECT",
            level: Level::Debug,
            reason: Cow::Owned(format!("sent to {location}")),
        })),
        // What a URL cannot hold is encoded in it, so this is one.
        Err(_not_a_value) => refuse(admission, &https::no_host()),
    }
}
