//! Requests whose target is not a path, or whose host is not one.

use super::refuse;
use crate::proxy::admission::{Admission, Verdict};
use crate::proxy::policy::Policy;

pub(in crate::proxy) fn check(_policy: &Policy, admission: &mut Admission<'_>) -> Verdict {
    match admission.request.fault() {
        None => Verdict::Pass,
        Some(refusal) => refuse(admission, refusal),
    }
}
