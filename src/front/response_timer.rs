//! The wait for an origin: how long it has been silent, against how long it may be.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

use super::upstream_timeouts::{UpstreamSilent, UpstreamTimeouts};

/// The wait for the origin of one request.
#[derive(Debug, Default)]
pub(super) struct ResponseTimer {
    timer: Option<Pin<Box<Sleep>>>,
    /// When the wait began.
    since: Option<Instant>,
    /// When the last byte went to the client; only kept while a timer may need it.
    last_write: Option<Instant>,
}

impl ResponseTimer {
    /// Ready with an error once the origin has kept the client waiting for too long.
    pub(super) fn poll(
        &mut self,
        upstream_timeouts: &UpstreamTimeouts,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(limit) = upstream_timeouts.limit() else {
            return Poll::Pending;
        };
        // The origin's time begins with the end of the request's body, whatever came before.
        let waiting = *self.since.get_or_insert_with(Instant::now);
        let since = self.last_write.map_or(waiting, |write| write.max(waiting));
        let deadline = since + limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            UpstreamSilent::new(limit),
        )))
    }

    /// Remembers that the origin's answer goes on, if anybody asks for it.
    pub(super) fn note_activity(&mut self, upstream_timeouts: &UpstreamTimeouts) {
        if upstream_timeouts.is_limited() {
            self.last_write = Some(Instant::now());
        }
    }

    /// Whether something has gone to the client under a limit.
    pub(super) fn has_activity(&self) -> bool {
        self.last_write.is_some()
    }
}
