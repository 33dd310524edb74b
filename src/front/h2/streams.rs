//! The wait for the next stream of a connection: for the client, for the server's stop, for the idle
//! time.
//!
//! It happens for every request, so it costs next to nothing, as between the requests of HTTP/1
//! (`idle`): one timer serves the connection, and is asked only while no stream is in use; a stop and
//! the end of the last stream wake the connection's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;
use log::{debug, info};
use pingora_core::protocols::Stream;
use tokio::time::Instant;

use super::super::LINGER;
use super::super::idle::ReusableTimer;
use super::client::Client;
use super::incoming::Incoming;

/// A connection of HTTP/2.
pub(super) type Connection = h2::server::Connection<Stream, Bytes>;

/// How many streams of a connection may be malformed, as Pingora has it.
pub(super) const MOST_REJECTED: usize = 32;

/// The streams of a connection, one after another.
pub(super) struct Streams {
    connection: Connection,
    client: Arc<Client>,
    timer: ReusableTimer,
    /// Since when no stream has been in use, as far as that was looked at.
    idle_since: Option<Instant>,
    is_stopping: bool,
    rejected: usize,
}

/// Why there is no other stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There has been enough: the connection is to be closed, for this reason.
    Enough(Reason),
    /// The connection is gone.
    Gone,
}

impl Streams {
    pub(super) fn new(connection: Connection, client: Arc<Client>) -> Self {
        Self {
            connection,
            client,
            timer: ReusableTimer::default(),
            idle_since: None,
            is_stopping: false,
            rejected: 0,
        }
    }

    /// The next stream, or why there is none; `idle` is how long the client may have none in use,
    /// `stop` whether the server stops.
    pub(super) async fn next(
        &mut self,
        idle: Option<Duration>,
        stop: &AtomicBool,
    ) -> Result<Incoming, End> {
        std::future::poll_fn(|context| self.poll_next(idle, stop, context)).await
    }

    fn poll_next(
        &mut self,
        idle: Option<Duration>,
        stop: &AtomicBool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Incoming, End>> {
        loop {
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => match self.take(request, respond) {
                    Some(next) => return Poll::Ready(next),
                    None => continue,
                },
                Poll::Ready(Some(Err(error))) => {
                    debug!("a connection of HTTP/2 broke off: {error}");
                    return Poll::Ready(Err(End::Gone));
                }
                Poll::Ready(None) => return Poll::Ready(Err(End::Gone)),
                Poll::Pending => {}
            }
            if self.is_stopping || !stop.load(Ordering::Relaxed) {
                return self.poll_idle(idle, context);
            }
            // What is in flight, and on its way, may go on; nothing more is to come.
            self.connection.graceful_shutdown();
            self.is_stopping = true;
            self.idle_since = None;
        }
    }

    /// What follows from a new stream; none if it is over already.
    fn take(
        &mut self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Option<Result<Incoming, End>> {
        self.idle_since = None;
        let taken = Incoming::take(request, respond, &self.client);
        let is_malformed = |incoming: &Incoming| incoming.malformed.is_some();
        self.rejected += usize::from(taken.as_ref().map_or(true, is_malformed));
        if self.rejected >= MOST_REJECTED || self.client.resets.are_too_many() {
            info!("a connection of HTTP/2 is closed: too many malformed or reset streams");
            return Some(Err(End::Enough(Reason::ENHANCE_YOUR_CALM)));
        }
        if taken.is_ok() && self.client.ticket.is_at_limit() {
            // This one is still served, and nothing more is to come.
            self.connection.graceful_shutdown();
            self.is_stopping = true;
        }
        taken.ok().map(Ok)
    }

    /// Ready once no stream has been in use for too long.
    fn poll_idle(
        &mut self,
        idle: Option<Duration>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Incoming, End>> {
        if self.client.is_in_use() {
            self.idle_since = None;
            return Poll::Pending;
        }
        let limit = if self.is_stopping {
            // Clients that have nothing in flight need not answer our GOAWAY.
            Some(LINGER)
        } else {
            idle
        };
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        // A limit that no clock reaches does not limit.
        match limit.and_then(|limit| since.checked_add(limit)) {
            Some(deadline) => self
                .timer
                .poll(deadline, context)
                .map(|()| Err(End::Enough(Reason::NO_ERROR))),
            None => Poll::Pending,
        }
    }

    /// Sends GOAWAY, and waits for a moment until it is sent.
    pub(super) async fn close(mut self, reason: Reason) {
        self.connection.abrupt_shutdown(reason);
        let closed = std::future::poll_fn(|context| self.connection.poll_closed(context));
        if let Ok(Err(error)) = pingora_timeout::tokio_timeout(LINGER, closed).await {
            debug!("a connection of HTTP/2 was closed by both sides: {error}");
        }
    }
}
