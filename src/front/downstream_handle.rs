//! How the proxy reaches what the front keeps of an exchange, whatever HTTP it is.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::http::ServerSession;

use super::abort::AbortHandle;
use super::connection::Connection;
use super::h2::Client;
use super::listener::{HttpsRedirect, ListenerMode};
use super::pace::Rates;
use super::upstream_timeouts::UpstreamTimeouts;

/// A handle on the front's state for the exchange of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DownstreamHandle<'a> {
    /// An HTTP/1 connection.
    Connection(&'a Connection),
    /// One stream of an HTTP/2 connection.
    Stream(&'a StreamHandle),
}

/// The front's state for one HTTP/2 stream; it travels in the extensions of the request.
#[derive(Debug)]
pub(crate) struct StreamHandle {
    pub(super) abort: Arc<AbortHandle>,
    pub(super) upstream_timeouts: UpstreamTimeouts,
    pub(super) rates: Rates,
    pub(super) mode: ListenerMode,
    /// Whose stream it is, if a session of Pingora's serves it: what it resets is counted there.
    pub(super) client: Option<Arc<Client>>,
}

impl<'a> DownstreamHandle<'a> {
    /// The hold on a session's exchange, if it came through the front.
    pub(crate) fn of(session: &'a ServerSession) -> Option<Self> {
        if let Some(stream) = session.stream() {
            return Connection::of(stream).map(Self::Connection);
        }
        let extensions = &session.req_header().extensions;
        let hold = extensions.get::<Arc<StreamHandle>>()?;
        Some(Self::Stream(hold))
    }

    /// The limits on the origin's pauses.
    pub(crate) fn upstream_timeouts(self) -> &'a UpstreamTimeouts {
        match self {
            Self::Connection(connection) => connection.upstream_timeouts(),
            Self::Stream(stream) => &stream.upstream_timeouts,
        }
    }

    /// The rates that the client has to keep.
    pub(crate) fn rates(self) -> Option<&'a Rates> {
        match self {
            Self::Connection(connection) => connection.rates(),
            Self::Stream(stream) => Some(&stream.rates),
        }
    }

    /// Whether the request in progress is the connection's last.
    pub(crate) fn is_last(self) -> bool {
        match self {
            Self::Connection(connection) => connection.is_last,
            Self::Stream(_) => false,
        }
    }

    /// As [`Caller::takes_much`](super::Caller::takes_much). Streams have a limit of their own.
    pub(crate) fn takes_much(self) -> bool {
        match self {
            Self::Connection(connection) => connection.takes_much,
            Self::Stream(_) => false,
        }
    }

    /// Whether the listener only sends its clients to https.
    pub(crate) fn redirect(self) -> HttpsRedirect {
        match self {
            Self::Connection(connection) => connection.mode.redirect,
            Self::Stream(stream) => stream.mode.redirect,
        }
    }

    /// By what the exchange can be ended.
    pub(crate) fn abort(self) -> &'a AbortHandle {
        match self {
            Self::Connection(connection) => connection.abort(),
            Self::Stream(stream) => &stream.abort,
        }
    }

    /// The exchange has ended: whether the client has reset its stream, and after how long.
    pub(crate) fn note_end(self, is_reset: bool, after: Duration) {
        if let Self::Stream(stream) = self
            && let Some(client) = &stream.client
        {
            client.note_end(is_reset, after);
        }
    }

    /// Why its WebSocket is closed, if the client has sent what it may not.
    pub(crate) fn refused_websocket(self) -> Option<&'static str> {
        match self {
            Self::Connection(connection) => connection.refused_websocket(),
            Self::Stream(_) => None,
        }
    }

    /// The answer that comes next, a 101, opens a WebSocket. Only HTTP/1 has one.
    pub(crate) fn begin_websocket(self) {
        if let Self::Connection(connection) = self {
            connection.begin_websocket();
        }
    }
}
