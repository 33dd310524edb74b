//! The watch on what a client sends and its upstream does not take, for `engine: pingora`.
//!
//! Pingora 0.9.1 gives a write up after its write timeout, reads no more from the client then, and goes on
//! waiting for the response, or for the rest of a WebSocket; over HTTP/2 without a limit. The front sees that
//! a piece was handed out and that no more is asked for. After `timeouts.send` it shuts the upstream's
//! connection down, which Pingora does notice.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Context;
use std::time::Duration;

use log::warn;
use nix::sys::socket::{Shutdown, shutdown};
use parking_lot::Mutex;
use tokio::time::Sleep;

use super::duplicate::duplicate;

/// The state of the watch on one upload.
#[derive(Debug, Default)]
pub(crate) struct UploadWatch {
    /// How long the upstream may take for a piece, with a descriptor of its connection; none before there is
    /// one.
    upstream: Mutex<Option<(Duration, OwnedFd)>>,
    /// How often a piece was handed out, or more was asked for: odd while a piece is on its way.
    turns: AtomicU32,
    has_passed: AtomicBool,
}

/// The timer of a watch, for the piece that was handed out at this turn.
#[derive(Default)]
pub(super) struct PieceTimer(Option<(u32, Pin<Box<Sleep>>)>);

impl UploadWatch {
    /// From now on the upstream whose connection has this descriptor has so long for each piece.
    pub(crate) fn begin(&self, limit: Duration, upstream: RawFd) {
        self.turns.fetch_add(2, Ordering::Relaxed);
        match duplicate(upstream) {
            Ok(upstream) => *self.upstream.lock() = Some((limit, upstream)),
            Err(error) => warn!("timeouts.send does not hold for an upload: {error}"),
        }
    }

    /// Forgets the upload.
    pub(crate) fn end(&self) {
        if let Some(upstream) = self.upstream.lock().take() {
            drop(upstream);
        }
    }

    /// Forgets the request before. Most have no watch, and cost one look.
    pub(super) fn reset(&self) {
        if self.turns.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.end();
        self.turns.store(0, Ordering::Relaxed);
        self.has_passed.store(false, Ordering::Relaxed);
    }

    /// Whether the upstream's connection was shut down because it has taken too long.
    pub(crate) fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::Relaxed)
    }

    /// More of the body is asked for: the piece before has been taken.
    pub(super) fn note_asked(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        if turns % 2 == 1 {
            self.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// A piece of the body is handed out.
    pub(super) fn note_piece(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns
            .store(turns.wrapping_add(2) | 1, Ordering::Relaxed);
    }

    /// Shuts the upstream's connection down once it has taken too long for a piece.
    pub(super) fn poll(&self, timer: &mut PieceTimer, context: &mut Context<'_>) {
        let turns = self.turns.load(Ordering::Relaxed);
        let watched = turns % 2 == 1;
        let limit = watched
            .then(|| self.upstream.lock().as_ref().map(|(limit, _)| *limit))
            .flatten();
        let Some(limit) = limit else {
            timer.0 = None;
            return;
        };
        let (_, sleep) = match &mut timer.0 {
            Some(timer) if timer.0 == turns => timer,
            other => other.insert((turns, Box::pin(tokio::time::sleep(limit)))),
        };
        if sleep.as_mut().poll(context).is_ready() {
            self.pass();
        }
    }

    fn pass(&self) {
        let Some((_, upstream)) = self.upstream.lock().take() else {
            return;
        };
        self.has_passed.store(true, Ordering::Relaxed);
        if let Err(error) = shutdown(upstream.as_raw_fd(), Shutdown::Both) {
            log::debug!("an upstream's connection was gone already: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::task::Waker;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    fn watch() -> (UploadWatch, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let watch = UploadWatch::default();
        watch.begin(LIMIT, ours.as_raw_fd());
        (watch, theirs)
    }

    fn poll(watch: &UploadWatch, timer: &mut PieceTimer) {
        watch.poll(timer, &mut Context::from_waker(Waker::noop()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_is_not_taken_shuts_the_connection_down() {
        let ((watch, mut theirs), mut timer) = (watch(), PieceTimer::default());
        watch.note_piece();
        poll(&watch, &mut timer);
        tokio::time::advance(LIMIT / 2).await;
        poll(&watch, &mut timer);
        assert!(!watch.has_passed());
        tokio::time::advance(LIMIT).await;
        poll(&watch, &mut timer);
        assert!(watch.has_passed());
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the end of the stream");
        watch.reset();
        assert!(!watch.has_passed());
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_has_its_own_time_and_the_client_has_as_long_as_it_takes() {
        let ((watch, mut theirs), mut timer) = (watch(), PieceTimer::default());
        for _ in 0..5 {
            watch.note_piece();
            poll(&watch, &mut timer);
            tokio::time::advance(LIMIT * 9 / 10).await;
            watch.note_asked();
        }
        poll(&watch, &mut timer);
        tokio::time::advance(10 * LIMIT).await;
        poll(&watch, &mut timer);
        assert!(!watch.has_passed());
        assert!(theirs.read(&mut [0]).is_err(), "it is open");
    }
}
