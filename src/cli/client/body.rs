//! A request's body that shows how far it has been sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How much goes out at once.
const PIECE: usize = 64 * 1024;

/// A body in memory.
pub(super) struct Body {
    rest: Bytes,
    bar: Option<ProgressBar>,
    progress: Progress,
}

/// When something was sent last.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(super) fn at(&self) -> Instant {
        *self.0.lock()
    }
}

impl Body {
    pub(super) fn new(rest: Bytes, bar: Option<ProgressBar>) -> Self {
        Self {
            rest,
            bar,
            progress: Progress(Arc::new(Mutex::new(Instant::now()))),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        *self.progress.0.lock() = Instant::now();
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(size);
        if let Some(bar) = &self.bar {
            bar.inc(u64::try_from(size).unwrap_or(u64::MAX));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}
