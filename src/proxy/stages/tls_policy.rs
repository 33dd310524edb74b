//! The check of a request's connection against the TLS policy of its route.

use super::deny;
use crate::proxy::admission::{Admission, Verdict};
use crate::proxy::policy::Policy;
use crate::proxy::tls_policy::Transport;

pub(in crate::proxy) fn check(policy: &Policy, admission: &mut Admission<'_>) -> Verdict {
    let Some(in_flight) = &admission.in_flight else {
        return Verdict::Pass;
    };
    let request = admission.request;
    let checked = policy.check_tls(in_flight.route(), || Transport {
        is_encrypted: admission.is_encrypted,
        has_certificate: admission.has_certificate,
        host: request.host(),
        method: request.method(),
        target: request.target(),
    });
    match checked {
        Ok(()) => Verdict::Pass,
        Err(denied) => deny(admission, denied),
    }
}
