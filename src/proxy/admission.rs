//! The state that the stages of the decision share: the request, their findings, and their verdicts.

use std::borrow::Cow;

use log::Level;

use super::in_flight::InFlight;
use super::policy::Policy;
use super::rules::forwarding;
use super::rules::request::says_https;
use crate::front::{Reply, Request, RequestId};

/// A request on its way through the stages, and what they have found.
pub(super) struct Admission<'r> {
    pub(super) request: &'r Request,
    pub(super) id: RequestId,
    /// Its host and path, as they are matched.
    pub(super) host: &'r str,
    pub(super) path: &'r str,
    /// Whether the client is a proxy whose word is kept.
    pub(super) is_trusted: bool,
    /// Whether the client's side is encrypted, as far as we or a trusted proxy can tell.
    pub(super) is_encrypted: bool,
    /// Whether the client has shown a certificate.
    pub(super) has_certificate: bool,
    /// The route that takes the request, and its instance.
    pub(super) in_flight: Option<InFlight>,
}

impl<'r> Admission<'r> {
    pub(super) fn new(policy: &Policy, request: &'r Request) -> Self {
        let caller = request.caller();
        let is_trusted = forwarding::is_trusted(caller.address, &policy.options.trusted_proxies);
        let client = caller.tls_client();
        Self {
            request,
            id: policy.options.request_ids.of(request),
            host: request.host(),
            path: request.path(),
            is_trusted,
            is_encrypted: caller.tls.is_some() || (is_trusted && says_https(request)),
            has_certificate: client.is_some_and(|client| client.certificate.is_some()),
            in_flight: None,
        }
    }
}

/// The verdict of a stage.
pub(super) enum Verdict {
    /// Nothing: the next one is asked.
    Pass,
    /// The request is for the control service.
    Control,
    /// The proxy answers itself.
    Reply(Box<OwnReply>),
}

/// A reply of the proxy's own, and what the log says about it.
#[derive(Debug)]
pub(super) struct OwnReply {
    pub(super) reply: Reply,
    /// The reason for programs.
    pub(super) code: &'static str,
    pub(super) level: Level,
    /// The reason for the log.
    pub(super) reason: Cow<'static, str>,
}
