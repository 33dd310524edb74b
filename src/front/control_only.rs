//! A listener that has no proxy behind it: every request is for the control service.

use std::sync::Arc;

use async_trait::async_trait;
use log::error;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;

use super::abort::AbortHandle;
use super::downstream::Downstream;
use super::idle::ReusableTimer;
use super::request::Request;
use super::service::{Decision, Outcome, Service};

/// The service in place of a proxy.
pub(crate) struct ControlOnly;

impl Service for ControlOnly {
    /// There is nothing to decide.
    type Plan = std::convert::Infallible;

    fn is_control(&self, _request: &Request) -> bool {
        true
    }

    fn is_exempt(&self, _request: &Request) -> bool {
        true
    }

    async fn decide(&self, _request: &Request) -> Decision<Self::Plan> {
        Decision::Control
    }

    fn id_field(&self) -> &'static str {
        ""
    }

    async fn serve<'c, D: Downstream + 'c>(
        &'c self,
        plan: Self::Plan,
        _request: Box<Request>,
        _downstream: D,
        _abort: Arc<AbortHandle>,
        _timer: &'c mut ReusableTimer,
    ) -> Outcome<'c> {
        match plan {}
    }
}

#[async_trait]
impl HttpServerApp for ControlOnly {
    async fn process_new_http(
        self: &Arc<Self>,
        _session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        error!("a control listener has been asked to proxy; the connection is closed");
        None
    }
}
