//! Requests that announce a longer body than `limits.body` allows: none of it is asked for. One whose length
//! is not known is measured as it comes.

use super::refuse;
use crate::front::{ClientLimit, Framing};
use crate::proxy::admission::{Admission, Verdict};
use crate::proxy::policy::Policy;
use crate::proxy::rules::failure;

pub(in crate::proxy) fn check(policy: &Policy, admission: &mut Admission<'_>) -> Verdict {
    match (policy.options.limits.body, admission.request.framing()) {
        (Some(most), Framing::Length(length)) if length > most => {
            policy.options.limit_counts.count(ClientLimit::Body);
            refuse(admission, &failure::body_too_large(most))
        }
        _ => Verdict::Pass,
    }
}
