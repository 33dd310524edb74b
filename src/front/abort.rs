//! The hold on one exchange: by it, whoever takes an instance of an app down reaches the exchanges
//! that are still on it, wherever their tasks are.
//!
//! An HTTP/1 connection has one abort handle for all of its exchanges, since they come one after another;
//! a protocol with several at a time has one for each.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Sleep;

use super::upload_watch::{PieceTimer, UploadWatch};

/// How long a WebSocket that is cut may take for its last words.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an exchange that is cut may take to notice it: both of its sides may be stuck.
const NOTICE: Duration = Duration::from_secs(2);

/// In place of a serial number: every instance.
const EVERY: u64 = u64::MAX;

/// The hold on one exchange at a time.
#[derive(Debug)]
pub(crate) struct AbortHandle {
    /// Wakes the task that drives the exchange.
    waker: Waker,
    /// The instance that the exchange goes to; 0 for none.
    serving: AtomicU64,
    /// The instance whose exchange is to end; 0 for none. It names the instance, so that a cut that
    /// comes late does not meet the connection's next exchange.
    cut: AtomicU64,
    /// The upload of the exchange in progress, if Pingora serves it.
    upload: OnceLock<Box<UploadWatch>>,
}

impl AbortHandle {
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            waker,
            serving: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            upload: OnceLock::new(),
        }
    }

    /// The exchange in progress goes to the instance with this serial number from now on.
    ///
    /// Whoever takes an instance down marks it first and cuts then; a proxy that asks for the mark
    /// after this call misses no cut.
    pub(crate) fn bind(&self, serial: u64) {
        self.serving.store(serial, Ordering::SeqCst);
    }

    /// The exchange is no longer on any instance: what is left of it is the proxy's own.
    pub(crate) fn release(&self) {
        self.serving.store(0, Ordering::Relaxed);
    }

    /// Forgets the exchange before.
    pub(super) fn reset(&self) {
        self.release();
        self.cut.store(0, Ordering::Relaxed);
        if let Some(upload) = self.upload.get() {
            upload.reset();
        }
    }

    /// The watch on the upload of the exchange in progress.
    pub(crate) fn upload(&self) -> &UploadWatch {
        self.upload.get_or_init(Box::default)
    }

    /// Whether the exchange in progress is to end.
    pub(crate) fn is_aborted(&self) -> bool {
        match self.cut.load(Ordering::Relaxed) {
            0 => false,
            cut => self.is_serving(cut),
        }
    }

    fn is_serving(&self, serial: u64) -> bool {
        let serving = self.serving.load(Ordering::SeqCst);
        serving != 0 && (serving == serial || serial == EVERY)
    }

    /// Ends the exchange, if it is on this instance; whether it is.
    pub(super) fn cut(&self, serial: u64) -> bool {
        let is_hit = serial != 0 && self.is_serving(serial);
        if is_hit {
            self.cut.store(serial, Ordering::Release);
            self.waker.wake_by_ref();
        }
        is_hit
    }

    /// Wakes the task.
    pub(super) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Ends the exchange, whichever instance it is on.
    pub(super) fn abort_any(&self) -> bool {
        self.cut(EVERY)
    }

    /// Runs an exchange; `None` if it did not notice that it was cut, and was dropped as it stood.
    ///
    /// The connection notices in its reads and writes, which Pingora does not always poll: not while
    /// the origin takes nothing of an upload.
    pub(crate) async fn run_until_aborted<T>(
        &self,
        mut exchange: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        let mut piece = PieceTimer::default();
        std::future::poll_fn(|context| {
            if let Poll::Ready(outcome) = Pin::new(&mut exchange).poll(context) {
                return Poll::Ready(Some(outcome));
            }
            if self.is_aborted() {
                return poll_timer(&mut timer, NOTICE, context).map(|()| None);
            }
            if let Some(upload) = self.upload.get() {
                upload.poll(&mut piece, context);
            }
            Poll::Pending
        })
        .await
    }
}

/// Ready once `after` has passed since the first call.
pub(super) fn poll_timer(
    timer: &mut Option<Pin<Box<Sleep>>>,
    after: Duration,
    context: &mut Context<'_>,
) -> Poll<()> {
    timer
        .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)))
        .as_mut()
        .poll(context)
}

/// The exchange was ended from outside: its instance, or the proxy, was taken down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the exchange was cut: the app or the proxy is taken down")]
pub(crate) struct Drained;

impl From<Drained> for io::Error {
    fn from(drained: Drained) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, drained)
    }
}

/// The waker of the task that asks. It stays the same for the task's life.
pub(super) async fn task_waker() -> Waker {
    std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exchange_on_the_instance_is_cut() {
        let abort = AbortHandle::new(Waker::noop().clone());
        assert!(!abort.cut(7) && !abort.abort_any() && !abort.cut(0));
        abort.bind(7);
        assert!(!abort.cut(8) && !abort.is_aborted());
        assert!(abort.cut(7) && abort.is_aborted());
        // A second try of the same request, on another instance.
        abort.bind(8);
        assert!(!abort.is_aborted());
        assert!(abort.abort_any() && abort.is_aborted());
        abort.release();
        assert!(!abort.is_aborted());
        abort.bind(8);
        abort.reset();
        abort.bind(8);
        assert!(
            !abort.is_aborted(),
            "a new exchange is not cut for the old one"
        );
    }
}
