//! The interface between the front and the services behind it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pingora_core::apps::HttpServerApp;
use pingora_core::server::ShutdownWatch;

use super::abort::AbortHandle;
use super::downstream::{After, Downstream};
use super::idle::ReusableTimer;
use super::request::Request;

/// Whom a request is for.
pub(crate) enum Decision<P> {
    /// The control service.
    Control,
    /// The proxy, which has decided what to do with it.
    Proxy(P),
}

/// The proxy behind the front. As an application of Pingora's it serves requests too, for `engine:
/// pingora`.
pub(crate) trait Service: HttpServerApp + Send + Sync + 'static {
    /// The decision about a request, which [`Service::serve`] carries out.
    type Plan: Send;

    /// Whether a request is for the control service.
    fn is_control(&self, request: &Request) -> bool;

    /// Whether a request is served also when there are too many: it is for the control service, or a health
    /// probe.
    fn is_exempt(&self, request: &Request) -> bool;

    /// Decides what becomes of a request.
    fn decide(&self, request: &Request) -> impl Future<Output = Decision<Self::Plan>> + Send;

    /// The field of a request's id, in lower case.
    fn id_field(&self) -> &'static str;

    /// Answers a request as it was decided.
    fn serve<'c, D: Downstream + 'c>(
        &'c self,
        plan: Self::Plan,
        request: Box<Request>,
        downstream: D,
        abort: Arc<AbortHandle>,
        timer: &'c mut ReusableTimer,
    ) -> impl Future<Output = Outcome<'c>> + Send + 'c;
}

/// The control service behind the front.
pub(crate) trait ControlService: HttpServerApp + Send + Sync + 'static {
    /// Answers a request.
    fn answer<'c, D: Downstream + 'c>(
        &'c self,
        request: Box<Request>,
        downstream: D,
        shutdown: &'c ShutdownWatch,
    ) -> impl Future<Output = After> + Send + 'c;
}

/// The result of an exchange: what follows on its connection.
pub(crate) enum Outcome<'c> {
    /// The connection.
    After(After),
    /// Another protocol on it, until its end.
    Switched(Pin<Box<dyn Future<Output = After> + Send + 'c>>),
}
