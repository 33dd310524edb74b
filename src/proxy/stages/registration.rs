//! Registrations, which are for the control service.

use crate::proxy::admission::{Admission, Verdict};
use crate::proxy::policy::Policy;

pub(in crate::proxy) fn check(policy: &Policy, admission: &mut Admission<'_>) -> Verdict {
    if policy.is_registration(admission.request, admission.path) {
        Verdict::Control
    } else {
        Verdict::Pass
    }
}
