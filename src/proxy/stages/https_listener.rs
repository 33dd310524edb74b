//! Listeners that only send their clients to https.

use super::deny;
use crate::proxy::admission::{Admission, Verdict};
use crate::proxy::https;
use crate::proxy::policy::Policy;
use crate::proxy::tls_policy;

pub(in crate::proxy) fn check(policy: &Policy, admission: &mut Admission<'_>) -> Verdict {
    let request = admission.request;
    match policy.redirect_port(request.caller().redirect) {
        // A certificate authority asks in cleartext (RFC 8555, 8.3).
        Some(port) if !https::is_challenge(request.method(), request.target()) => {
            let denied = tls_policy::redirect(request.host(), request.target(), port);
            deny(admission, denied)
        }
        _ => Verdict::Pass,
    }
}
