//! The stage of challenges of certificate authorities over HTTP (RFC 8555, 8.3), answered before anything is routed.

use std::borrow::Cow;

use log::Level;

use crate::proxy::admission::{Admission, OwnReply, Verdict};
use crate::proxy::policy::Policy;

/// A request for a challenge that is known is answered before anything is routed.
pub(in crate::proxy) fn check(policy: &Policy, admission: &mut Admission<'_>) -> Verdict {
    let request = admission.request;
    let challenges = &policy.options.challenges;
    match challenges.answer(request.method(), request.target()) {
        None => Verdict::Pass,
        Some(response) => Verdict::Reply(Box::new(OwnReply {
            reply: response.into(),
            code: "CHALLENGE",
            level: Level::Info,
            reason: Cow::Borrowed("a challenge is answered"),
        })),
    }
}
