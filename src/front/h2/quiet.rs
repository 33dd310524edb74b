//! How long a client may leave a connection of HTTP/2 without a request: before the first, between two,
//! and in the middle of one's head.
//!
//! It happens for every request, so it costs next to nothing, as between the requests of HTTP/1
//! ([`ReusableTimer`]): one timer serves the connection, and is asked only while there is something to
//! wait for.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::super::LINGER;
use super::super::idle::ReusableTimer;

/// The limits on what a client keeps the proxy waiting for.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuietLimits {
    /// For the first request to begin (`timeouts.handshake`).
    pub(super) first: Duration,
    /// For a head, once it has begun (`timeouts.head`).
    pub(super) head: Duration,
    /// Between two requests (`timeouts.idle`).
    pub(super) idle: Option<Duration>,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooQuiet {
    /// A head has not come to its end within this time.
    SlowHead(Duration),
    /// Nothing has been asked for too long.
    Idle,
}

/// The waits of a connection.
#[derive(Debug)]
pub(super) struct Quiet {
    limits: QuietLimits,
    timer: ReusableTimer,
    /// Since when no stream has been in use, as far as that was looked at.
    idle_since: Option<Instant>,
    /// Since when the present head has been in the making.
    head_since: Option<Instant>,
    has_begun: bool,
    is_stopping: bool,
}

impl Quiet {
    pub(super) fn new(limits: QuietLimits) -> Self {
        Self {
            limits,
            timer: ReusableTimer::default(),
            idle_since: None,
            head_since: None,
            has_begun: false,
            is_stopping: false,
        }
    }

    /// Notes that a request has come.
    pub(super) fn note_request(&mut self) {
        self.has_begun = true;
        self.idle_since = None;
        self.head_since = None;
    }

    /// Notes that nothing more is to come: the client has been sent GOAWAY.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.idle_since = None;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Ready once the client has kept the proxy waiting for too long; `is_in_use` is whether a stream is in
    /// use, `is_in_head` whether a head is in the making.
    pub(super) fn poll(
        &mut self,
        is_in_use: bool,
        is_in_head: bool,
        context: &mut Context<'_>,
    ) -> Poll<TooQuiet> {
        if is_in_use {
            self.idle_since = None;
        }
        if !is_in_head {
            self.head_since = None;
        }
        let (since, limit, end) = if is_in_head && !self.is_stopping {
            let since = *self.head_since.get_or_insert_with(Instant::now);
            let limit = self.limits.head;
            (since, Some(limit), TooQuiet::SlowHead(limit))
        } else if is_in_use {
            return Poll::Pending;
        } else {
            let since = *self.idle_since.get_or_insert_with(Instant::now);
            (since, self.without_request(), TooQuiet::Idle)
        };
        // A limit that no clock reaches does not limit.
        match limit.and_then(|limit| since.checked_add(limit)) {
            Some(deadline) => self.timer.poll(deadline, context).map(|()| end),
            None => Poll::Pending,
        }
    }

    /// How long the client may have no request.
    fn without_request(&self) -> Option<Duration> {
        if self.is_stopping {
            // Clients that have nothing in flight need not answer our GOAWAY.
            Some(LINGER)
        } else if self.has_begun {
            self.limits.idle
        } else {
            Some(self.limits.first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: QuietLimits = QuietLimits {
        first: Duration::from_secs(3),
        head: Duration::from_secs(2),
        idle: Some(Duration::from_secs(15)),
    };

    /// How long it takes until the connection is closed, and why; `None` if an hour is not enough.
    async fn end(
        quiet: &mut Quiet,
        is_in_use: bool,
        is_in_head: bool,
    ) -> Option<(Duration, TooQuiet)> {
        let begin = Instant::now();
        let poll = std::future::poll_fn(|context| quiet.poll(is_in_use, is_in_head, context));
        let end = tokio::time::timeout(3600 * SECOND, poll).await;
        Some((begin.elapsed(), end.ok()?))
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_limit() {
        let idle = |seconds| Some((seconds * SECOND, TooQuiet::Idle));
        let slow = Some((2 * SECOND, TooQuiet::SlowHead(2 * SECOND)));
        let mut quiet = Quiet::new(LIMITS);
        assert_eq!(end(&mut quiet, false, false).await, idle(3));
        let mut quiet = Quiet::new(LIMITS);
        assert_eq!(end(&mut quiet, false, true).await, slow);
        quiet.note_request();
        assert_eq!(end(&mut quiet, false, false).await, idle(15));
        assert_eq!(end(&mut quiet, true, false).await, None);
        // A head is waited for no longer because other streams are in use.
        assert_eq!(end(&mut quiet, true, true).await, slow);
        quiet.stop();
        assert_eq!(
            end(&mut quiet, false, true).await,
            Some((LINGER, TooQuiet::Idle))
        );
        assert_eq!(end(&mut quiet, true, false).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_idle_time_a_head_has_its_limit_all_the_same() {
        let mut quiet = Quiet::new(QuietLimits {
            idle: None,
            ..LIMITS
        });
        quiet.note_request();
        assert_eq!(end(&mut quiet, false, false).await, None);
        let slow = Some((2 * SECOND, TooQuiet::SlowHead(2 * SECOND)));
        assert_eq!(end(&mut quiet, false, true).await, slow);
    }
}
