//! The answer to the request of one stream, within the window that the client gives it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Response};
use log::debug;

use super::client::Client;

/// The part that is kept of one response that the client does not take, in bytes.
pub(super) const SEND_BUFFER: usize = 128 * 1024;

/// The answer to one request. Whoever drops it before its end resets the stream, so that the client
/// does not take what it has for the whole.
#[derive(Debug)]
pub(crate) struct Reply {
    respond: SendResponse<Bytes>,
    progress: Progress,
    client: Arc<Client>,
    began: Instant,
}

/// How far an answer has come.
#[derive(Debug)]
enum Progress {
    /// No head was sent.
    Waiting,
    /// The head was sent.
    Begun(SendStream<Bytes>),
    /// All was sent.
    Complete,
    /// The stream was reset from here.
    Reset,
}

impl Reply {
    pub(super) fn new(respond: SendResponse<Bytes>, client: Arc<Client>) -> Self {
        Self {
            respond,
            progress: Progress::Waiting,
            client,
            began: Instant::now(),
        }
    }

    /// Whether the answer is complete, as far as it is the proxy's part to send it.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.progress, Progress::Complete)
    }

    /// Sends the head, and with `end` all there is. h2 refuses one with fields of a connection of HTTP/1
    /// (RFC 9113, 8.2.2). Interim answers are not passed on, nor is a second head.
    pub(crate) fn begin(&mut self, head: Response<()>, end: bool) -> Result<(), h2::Error> {
        if head.status().is_informational() {
            debug!("an interim answer is not passed on");
            return Ok(());
        }
        if !matches!(self.progress, Progress::Waiting) {
            debug!("a second head is not sent");
            return Ok(());
        }
        let body = self.respond.send_response(head, end)?;
        self.progress = if end {
            Progress::Complete
        } else {
            Progress::Begun(body)
        };
        Ok(())
    }

    /// Sends `data` as far as the client's window allows, and takes off what was sent; ready once
    /// all of it was. With `end` it is the last. A call that is given up can be made again with the
    /// rest: no more is ever buffered than the window has room for.
    pub(crate) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        data: &mut Bytes,
        end: bool,
    ) -> Poll<Result<(), h2::Error>> {
        let body = match &mut self.progress {
            Progress::Begun(body) => body,
            Progress::Complete => return Poll::Ready(Ok(())),
            // There is no head, or no stream.
            Progress::Waiting | Progress::Reset => {
                return Poll::Ready(Err(Reason::INTERNAL_ERROR.into()));
            }
        };
        while !data.is_empty() {
            let room = ready!(poll_room(body, data.len(), context))?;
            let piece = data.split_to(room.min(data.len()));
            let is_last = end && data.is_empty();
            body.send_data(piece, is_last)?;
            if is_last {
                self.progress = Progress::Complete;
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(if end { self.finish() } else { Ok(()) })
    }

    /// Sends `data`, for a test.
    #[cfg(test)]
    pub(crate) async fn write(&mut self, mut data: Bytes, end: bool) -> Result<(), h2::Error> {
        std::future::poll_fn(|context| self.poll_write(context, &mut data, end)).await
    }

    /// Ends the answer with trailers.
    pub(crate) fn end_with(&mut self, trailers: HeaderMap) -> Result<(), h2::Error> {
        match &mut self.progress {
            Progress::Begun(body) => body.send_trailers(trailers)?,
            Progress::Complete => return Ok(()),
            Progress::Waiting | Progress::Reset => return Err(Reason::INTERNAL_ERROR.into()),
        }
        self.progress = Progress::Complete;
        Ok(())
    }

    /// Ends the answer, if it has begun and has no end yet.
    pub(crate) fn finish(&mut self) -> Result<(), h2::Error> {
        if let Progress::Begun(body) = &mut self.progress {
            body.send_data(Bytes::new(), true)?;
            self.progress = Progress::Complete;
        }
        Ok(())
    }

    /// Gives the stream up, unless its answer is complete.
    pub(crate) fn reset(&mut self, reason: Reason) {
        if !self.is_complete() {
            self.respond.send_reset(reason);
            self.progress = Progress::Reset;
        }
    }

    /// Ready once the client has reset the stream, or the connection is gone.
    pub(crate) fn poll_reset(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Reason, h2::Error>> {
        match &mut self.progress {
            Progress::Begun(body) => body.poll_reset(context),
            Progress::Waiting | Progress::Complete | Progress::Reset => {
                self.respond.poll_reset(context)
            }
        }
    }

    /// Whether the client has given the request up without waiting for a word.
    fn is_given_up(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        matches!(self.progress, Progress::Waiting) && self.poll_reset(&mut nobody).is_ready()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.is_complete() {
            self.client.resets.earn();
        } else if self.is_given_up() {
            self.client.resets.spend(self.began.elapsed());
        } else {
            self.reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// How much may be sent, at least one byte.
pub(crate) fn poll_room(
    body: &mut SendStream<Bytes>,
    wanted: usize,
    context: &mut Context<'_>,
) -> Poll<Result<usize, h2::Error>> {
    body.reserve_capacity(wanted.min(SEND_BUFFER));
    loop {
        // What an earlier call has reserved is not announced again.
        let room = body.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        match ready!(body.poll_capacity(context)) {
            Some(Ok(_room)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(why_closed(body, context))),
        }
    }
}

/// Why a stream takes nothing more.
fn why_closed(body: &mut SendStream<Bytes>, context: &mut Context<'_>) -> h2::Error {
    match body.poll_reset(context) {
        Poll::Ready(Ok(reason)) => reason.into(),
        Poll::Ready(Err(error)) => error,
        Poll::Pending => Reason::STREAM_CLOSED.into(),
    }
}
