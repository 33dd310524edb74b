//! What the proxy tells the program that it is built into: the three events of the original.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use tokio::sync::broadcast;

use super::RegisterError;
use crate::route::Route;

/// How many events a slow reader may lag behind before it is told that it missed some.
const CAPACITY: usize = 1024;

/// Something that happened; `tokio::sync::broadcast` tells a reader that was too slow how many it
/// missed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A route was registered, and every later request sees it.
    RouteRegistered(Arc<Route>),
    /// A registration was refused.
    RegisterError(Arc<RegisterFailure>),
    /// A request could not be proxied.
    ProxyError(Arc<ProxyFailure>),
}

/// A registration that was refused.
#[derive(Debug)]
pub struct RegisterFailure {
    /// Why.
    pub error: RegisterError,
    /// Who asked, if the peer has an address.
    pub peer: Option<IpAddr>,
}

/// Why a request could not be proxied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// No route takes the request.
    #[error("no app is registered for this path")]
    NotFound,
    /// The route's target does not take a connection.
    #[error("the app behind this path cannot be reached")]
    Unreachable,
    /// The target broke off before it answered.
    #[error("the app behind this path broke off before it answered")]
    Broken,
    /// The target answered something that is not HTTP.
    #[error("the app behind this path answered with something that is not HTTP")]
    InvalidResponse,
    /// The target is too slow.
    #[error("the app behind this path did not answer in time")]
    Timeout,
    /// The app, or the proxy itself, was taken down while the request was on its way.
    #[error("the app behind this path was taken down before it answered")]
    Drained,
}

impl ProxyError {
    /// The reason for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Unreachable => "UNREACHABLE",
            Self::Broken => "UPSTREAM_CLOSED",
            Self::InvalidResponse => "INVALID_RESPONSE",
            Self::Timeout => "TIMEOUT",
            Self::Drained => "DRAINED",
        }
    }
}

/// A request that could not be proxied.
#[derive(Clone, Debug)]
pub struct ProxyFailure {
    /// Why.
    pub error: ProxyError,
    /// The route that takes the request, unless there is none.
    pub route: Option<Arc<Route>>,
    /// The request's method.
    pub method: Method,
    /// The request's host, lower-case and without port; empty if it named none.
    pub host: String,
    /// The request's path as it was matched.
    pub path: String,
    /// The status that the client gets unless a handler answers.
    pub status: http::StatusCode,
}

/// Where events go out.
#[derive(Debug)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }
}

impl Events {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }

    /// Tells whoever listens; an event that nobody listens to is never made.
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.0.receiver_count() > 0 && self.0.send(event()).is_err() {
            log::trace!("the last subscriber left before an event reached it");
        }
    }
}
