//! The events for the program that the proxy is built into, the three of the original among them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use tokio::sync::broadcast;

use super::{Counts, History, RegisterError};
use crate::route::{Generation, Instance, Route, RouteKey, clip};

/// How many events a slow reader may lag behind before it is told that it missed some.
const CAPACITY: usize = 1024;

/// Something that happened; `tokio::sync::broadcast` tells a reader that was too slow how many it
/// missed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A route was registered, and every later request sees it. The instance is the one that was registered:
    /// the only one, or one that has joined others.
    RouteRegistered(Arc<Route>, Arc<Instance>),
    /// A registration was refused.
    RegisterError(Arc<RegisterFailure>),
    /// A request could not be proxied.
    ProxyError(Arc<ProxyFailure>),
    /// A route or one of its instances is not what it was, and every later request sees it.
    Route(Arc<RouteEvent>),
    /// Many routes at once are not what they were: one event for all of them.
    Routes(RoutesEvent),
}

/// A change of one route.
#[derive(Debug)]
#[non_exhaustive]
pub struct RouteEvent {
    /// The kind of the event.
    pub kind: RouteEventKind,
    /// The route's key.
    pub key: RouteKey,
    /// The instance that it happened to, if to one.
    pub instance: Option<Arc<Instance>>,
    /// The route as it was before.
    pub before: Option<Arc<Route>>,
    /// The route as it is, unless it is gone.
    pub after: Option<Arc<Route>>,
    /// The table's generation with the change.
    pub generation: Generation,
}

/// An event of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteEventKind {
    /// It is new.
    Created,
    /// Its instances are others.
    Replaced,
    /// It is gone.
    Removed,
    /// An instance has joined it.
    InstanceJoined,
    /// An instance is another under the same name.
    InstanceReplaced,
    /// An instance takes no more requests.
    InstanceDraining,
    /// An instance is gone.
    InstanceLeft,
    /// An instance is gone because its lease has ended.
    LeaseExpired,
}

/// The lease of an instance was renewed, and nothing else has changed. It is no [`Event`]: there may be
/// thousands in a second, and most readers want to know of changes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Renewal {
    /// The route's key.
    pub key: RouteKey,
    /// The instance.
    pub instance: Arc<Instance>,
    /// The table's generation.
    pub generation: Generation,
}

impl Event {
    /// The code of a failure, which strangers may cause as often as they like; none for a change.
    pub(super) fn failure_code(&self) -> Option<&'static str> {
        match self {
            Self::RegisterError(failure) => Some(failure.error.code()),
            Self::ProxyError(failure) => Some(failure.error.code()),
            Self::RouteRegistered(..) | Self::Route(_) | Self::Routes(_) => None,
        }
    }
}

impl RouteEventKind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "route_created",
            Self::Replaced => "route_replaced",
            Self::Removed => "route_removed",
            Self::InstanceJoined => "instance_joined",
            Self::InstanceReplaced => "instance_replaced",
            Self::InstanceDraining => "instance_draining",
            Self::InstanceLeft => "instance_left",
            Self::LeaseExpired => "lease_expired",
        }
    }
}

/// A change of many routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoutesEvent {
    /// How many, by what became of them.
    pub counts: Counts,
    /// The table's generation with the change.
    pub generation: Generation,
}

/// A registration that was refused.
#[derive(Debug)]
#[non_exhaustive]
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
#[non_exhaustive]
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
pub(crate) struct Events {
    live: broadcast::Sender<Event>,
    renewals: broadcast::Sender<Arc<Renewal>>,
    history: Arc<History>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            live: broadcast::Sender::new(CAPACITY),
            renewals: broadcast::Sender::new(CAPACITY),
            history: Arc::default(),
        }
    }
}

impl Events {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.live.subscribe()
    }

    pub(crate) fn subscribe_renewals(&self) -> broadcast::Receiver<Arc<Renewal>> {
        self.renewals.subscribe()
    }

    /// Tells of a renewal, if anybody wants to know.
    pub(crate) fn renew(&self, renewal: impl FnOnce() -> Renewal) {
        if self.renewals.receiver_count() > 0 && self.renewals.send(Arc::new(renewal())).is_err() {
            log::trace!("the last reader of renewals left before one reached it");
        }
    }

    pub(crate) fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Tells whoever listens, and keeps the event for whoever comes back.
    pub(crate) fn emit(&self, event: Event) {
        let event = clipped(event);
        if self.live.receiver_count() > 0 && self.live.send(event.clone()).is_err() {
            log::trace!("the last subscriber left before an event reached it");
        }
        self.history.add(event);
    }
}

/// The event, with at most 256 bytes of each text that a stranger has sent: many events are kept, and a
/// method, a host or a path can have as many bytes as the head of a request.
fn clipped(event: Event) -> Event {
    let Event::ProxyError(failure) = event else {
        return event;
    };
    let lengths = [&failure.host, &failure.path].map(String::len);
    let is_short = |length: &usize| *length <= LONGEST_TEXT;
    if lengths.iter().all(is_short) && is_short(&failure.method.as_str().len()) {
        return Event::ProxyError(failure);
    }
    let clip = |text| clip(Cow::Borrowed(text), LONGEST_TEXT);
    let method = clip(failure.method.as_str()).replace([' ', '[', ']'], "-");
    Event::ProxyError(Arc::new(ProxyFailure {
        method: method.parse().unwrap_or_default(),
        host: clip(&failure.host).into_owned(),
        path: clip(&failure.path).into_owned(),
        ..ProxyFailure::clone(&failure)
    }))
}

/// The longest text of an event, in bytes.
const LONGEST_TEXT: usize = 256;
