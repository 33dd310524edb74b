//! The wait for the next request of a connection: for bytes, for the idle time, for the server's stop.
//!
//! It happens before each request, so it costs next to nothing: one timer serves a connection for all
//! its life and is set anew only when it has run out, and a stop wakes connections by their abort handles
//! rather than each of them asking for it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep};

use super::connection::Connection;

/// The timer of a connection: of its idle times, and of the waits of its exchanges.
#[derive(Debug, Default)]
pub(crate) struct ReusableTimer(Option<Pin<Box<Sleep>>>);

impl ReusableTimer {
    /// Ready once `deadline` has passed. What is in the timer's wheel may be an earlier time, of a wait
    /// that is over.
    pub(crate) fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Whether a request begins before the client, the idle time or the server ends the connection; its
/// first bytes are appended to `buffer`.
pub(super) async fn first_bytes(
    connection: &mut Connection,
    timer: &mut ReusableTimer,
    idle: Option<Duration>,
    stop: &AtomicBool,
    buffer: &mut BytesMut,
) -> bool {
    // A limit that no clock reaches does not limit.
    let deadline = idle.and_then(|idle| Instant::now().checked_add(idle));
    std::future::poll_fn(|context| {
        // What has come is served, whatever else has happened.
        if let Poll::Ready(read) = connection.poll_fill(context, buffer) {
            return Poll::Ready(matches!(read, Ok(count) if count > 0));
        }
        if stop.load(Ordering::Relaxed) {
            return Poll::Ready(false);
        }
        match deadline {
            Some(deadline) => timer.poll(deadline, context).map(|()| false),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a wait takes, on a timer that earlier waits have used.
    async fn wait(timer: &mut ReusableTimer, length: Duration) -> Duration {
        let begin = Instant::now();
        std::future::poll_fn(|context| timer.poll(begin + length, context)).await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn one_timer_serves_every_wait() {
        let (mut timer, second) = (ReusableTimer::default(), Duration::from_secs(1));
        assert_eq!(wait(&mut timer, second).await, second);
        // Waits that end before their time leave the timer where it was.
        for _ in 0..5 {
            let cut = tokio::time::timeout(second / 2, wait(&mut timer, second)).await;
            assert!(cut.is_err());
        }
        assert_eq!(wait(&mut timer, second).await, second);
        assert_eq!(wait(&mut timer, 10 * second).await, 10 * second);
        let short = wait(&mut timer, second / 10).await;
        assert_eq!(short, second / 10);
    }
}
