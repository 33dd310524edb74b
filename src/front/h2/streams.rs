//! The wait for the next stream of a connection: for the client, for the server's stop, for the limits on
//! a client that is quiet.
//!
//! A stop and the end of the last stream wake the connection's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;
use log::{debug, info};
use pingora_core::protocols::Stream;

use super::super::LINGER;
use super::client::Client;
use super::header_watch::InHead;
use super::incoming::Incoming;
use super::quiet::{Quiet, TooQuiet};

/// A connection of HTTP/2.
pub(super) type Connection = h2::server::Connection<Stream, Bytes>;

/// How many streams of a connection may be malformed, as Pingora has it.
pub(super) const MOST_REJECTED: usize = 32;

/// The streams of a connection, one after another.
pub(super) struct Streams {
    connection: Connection,
    client: Arc<Client>,
    quiet: Quiet,
    in_head: InHead,
    rejected: usize,
}

/// Why there is no other stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There has been enough: the connection is to be closed, for this reason.
    Enough(Reason),
    /// The client has kept the proxy waiting for too long: the connection is to be closed.
    Quiet(TooQuiet),
    /// The connection is gone.
    Gone,
}

impl Streams {
    pub(super) fn new(
        connection: Connection,
        client: Arc<Client>,
        quiet: Quiet,
        in_head: InHead,
    ) -> Self {
        Self {
            connection,
            client,
            quiet,
            in_head,
            rejected: 0,
        }
    }

    /// The next stream, or why there is none; `stop` is whether the server stops.
    pub(super) async fn next(&mut self, stop: &AtomicBool) -> Result<Incoming, End> {
        std::future::poll_fn(|context| self.poll_next(stop, context)).await
    }

    fn poll_next(
        &mut self,
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
                    if error.is_library() {
                        info!("a connection of HTTP/2 is closed for what its client sent: {error}");
                    } else {
                        debug!("a connection of HTTP/2 broke off: {error}");
                    }
                    return Poll::Ready(Err(End::Gone));
                }
                Poll::Ready(None) => return Poll::Ready(Err(End::Gone)),
                Poll::Pending => {}
            }
            if self.quiet.is_stopping() || !stop.load(Ordering::Relaxed) {
                let (is_in_use, is_in_head) = (self.client.is_in_use(), self.in_head.get());
                let quiet = self.quiet.poll(is_in_use, is_in_head, context);
                return quiet.map(|why| Err(End::Quiet(why)));
            }
            // What is in flight, and on its way, may go on; nothing more is to come.
            self.connection.graceful_shutdown();
            self.quiet.stop();
        }
    }

    /// The consequence of a new stream; none if it is over already.
    fn take(
        &mut self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Option<Result<Incoming, End>> {
        self.quiet.note_request();
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
            self.quiet.stop();
        }
        taken.ok().map(Ok)
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
