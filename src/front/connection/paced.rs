//! How fast a client is whose request Pingora serves, and that its task gives way to others.

use std::io;
use std::task::{Context, Poll};

use tokio::task::coop;

use super::Connection;
use crate::front::pace::{Paces, Rates};
use crate::front::response_timer::ResponseTimer;

/// The state of the watch on a request that Pingora serves: the client's pace, and the timer of the response.
#[derive(Debug, Default)]
pub(super) struct Watched {
    paces: Paces,
    rates: Rates,
    wait: ResponseTimer,
}

/// On which side something has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// The client has sent something.
    Read,
    /// Something has gone to the client.
    Write,
}

impl Connection {
    /// Pingora serves the request in progress: its reads and writes are all that is seen of it. It is given
    /// `early` bytes of the body with the head.
    pub(in crate::front) fn watch(&mut self, early: usize) {
        self.watched = Some(Box::default());
        if early > 0 {
            self.abort.upload().note_piece();
        }
    }

    /// The rates that the client has to keep, while Pingora serves the request.
    pub(in crate::front) fn rates(&self) -> Option<&Rates> {
        self.watched.as_ref().map(|watched| &watched.rates)
    }

    /// Ready with an error once the upstream has been silent for too long, for Pingora.
    pub(super) fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.watched {
            Some(watched) => watched.wait.poll(&self.upstream_timeouts, context),
            None => Poll::Pending,
        }
    }

    /// Notes that the exchange goes on, for Pingora. What the client sends counts once something has gone to it.
    pub(super) fn note_activity(&mut self, activity: Activity) {
        let Some(watched) = &mut self.watched else {
            return;
        };
        if activity == Activity::Write || watched.wait.has_activity() {
            watched.wait.note_activity(&self.upstream_timeouts);
        }
    }

    /// Notes what a read of the request's body gave, for Pingora; `None` while it waits.
    pub(super) fn note_upload(&mut self, read: Option<usize>) -> io::Result<()> {
        let Some(watched) = &mut self.watched else {
            return Ok(());
        };
        if read.is_some() {
            self.abort.upload().note_piece();
        }
        let state = (&watched.rates, self.upstream_timeouts.is_answered());
        Ok(watched.paces.note_read(state, read)?)
    }

    /// Notes that more of the body is asked for, by Pingora.
    pub(super) fn note_asked(&self) {
        if self.watched.is_some() {
            self.abort.upload().note_asked();
        }
    }

    /// Notes that bytes of a WebSocket are handed out, for Pingora.
    pub(super) fn note_frames(&self) {
        if self.watched.is_some() {
            self.abort.upload().note_piece();
        }
    }

    /// Notes what a write of the response gave, for Pingora.
    pub(super) fn note_download(
        &mut self,
        written: &Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        let Some(watched) = &mut self.watched else {
            return Ok(());
        };
        let count = match written {
            Poll::Ready(written) => Some(*written.as_ref().unwrap_or(&0)),
            Poll::Pending => None,
        };
        give_way(count.unwrap_or(0), context);
        Ok(watched.paces.note_write(&watched.rates, count)?)
    }
}

/// Takes what was written from the budget that the runtime gives a turn of a task, so that one that moves much
/// gives way to the others of its thread after 256 KiB, as under `engine: direct`.
fn give_way(written: usize, context: &mut Context<'_>) {
    /// A turn has 128 units (tokio 1, `task::coop`).
    const UNIT: usize = 2 * 1024;
    for _ in 0..written / UNIT {
        match coop::poll_proceed(context) {
            Poll::Ready(unit) => unit.made_progress(),
            // Nothing is left of it: the next read or write gives way.
            Poll::Pending => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a task that has written so much at once gives way before it goes on.
    async fn gives_way_after(written: usize) -> bool {
        let task = tokio::spawn(std::future::poll_fn(move |context| {
            give_way(written, context);
            Poll::Ready(coop::poll_proceed(context).is_pending())
        }));
        task.await.unwrap()
    }

    #[tokio::test]
    async fn a_task_gives_way_after_256_kib() {
        assert!(!gives_way_after(0).await);
        assert!(!gives_way_after(254 * 1024).await);
        assert!(gives_way_after(256 * 1024).await);
    }
}
