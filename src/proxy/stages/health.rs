//! The stage of health probes, which are answered whatever their host, and before a redirect to https.

use std::borrow::Cow;

use log::Level;

use crate::health;
use crate::proxy::admission::{Admission, OwnReply, Verdict};
use crate::proxy::policy::Policy;

pub(in crate::proxy) fn check(policy: &Policy, admission: &mut Admission<'_>) -> Verdict {
    match policy.probe(admission.request) {
        None => Verdict::Pass,
        Some(probe) => Verdict::Reply(Box::new(OwnReply {
            reply: probe.response(&policy.options.health.health).into(),
            code: health::CODE,
            level: Level::Trace,
            reason: Cow::Borrowed("a health probe is answered"),
        })),
    }
}
