//! The route that takes a request, and the instance that it goes to.

use std::borrow::Cow;

use log::Level;

use crate::front::Reply;
use crate::proxy::admission::{Admission, OwnReply, Verdict};
use crate::proxy::policy::Policy;
use crate::proxy::record::RequestSummary;
use crate::registry::ProxyError;

pub(in crate::proxy) fn check(policy: &Policy, admission: &mut Admission<'_>) -> Verdict {
    let request = admission.request;
    policy.find(admission);
    if admission.in_flight.is_some() {
        return Verdict::Pass;
    }
    let summary = RequestSummary {
        method: request.method().clone(),
        host: request.host().to_owned(),
        path: request.path().to_owned(),
    };
    let (refusal, own) = policy.fail(None, summary, ProxyError::NotFound, None);
    Verdict::Reply(Box::new(OwnReply {
        reply: own.map_or_else(|| Reply::refusal(&refusal, request, None), Reply::from),
        code: refusal.code,
        level: Level::Info,
        reason: Cow::Borrowed("no route"),
    }))
}
