//! One try of an exchange: both directions between a client and one upstream, polled by one task.
//!
//! Whatever is read passes through one buffer of the thread, and is written from there. What the other
//! side does not take at once is kept, and nothing more is read for it until it has.
//!
//! A turn of the task moves 256 KiB at most: then the others of its thread are served.

use std::cell::RefCell;
use std::task::{Context, Poll, ready};

use super::options::{ExchangeLimits, Timeouts};
use super::request_body::RequestBody;
use super::responder::Responder;
use super::rules::failure::Failure;
use super::rules::timeouts::{Phase, PhaseTimers, Progress};
use super::upstream::{BUFFER, PIECE, Upstream};
use crate::front::{AbortHandle, CHUNK_HEAD, ClientLimit, Downstream, Now, Pace, ReusableTimer};

/// How many bytes a turn of a task moves before it gives way to the others of its thread.
pub(super) const TURN: u64 = 256 * 1024;

/// How many of them may be the request's: the response has the rest for itself.
const UPLOAD_TURN: u64 = TURN / 2;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Calls `work` with the buffer of the thread.
pub(super) fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SHARED.with_borrow_mut(|buffer| work(buffer))
}

/// One request at one upstream, and the client's side of it.
pub(super) struct Pump<'x, D, U> {
    pub(super) responder: Responder<'x, D>,
    pub(super) body: &'x mut RequestBody,
    pub(super) upstream: U,
    timeouts: Timeouts,
    abort: &'x AbortHandle,
    /// Whether anything has been sent.
    has_begun: bool,
    timers: PhaseTimers,
    taken: u64,
    limits: ExchangeLimits,
    upload: Pace,
    download: Pace,
    /// How many bytes had been moved when the turn began.
    turn: u64,
}

impl<'x, D: Downstream, U: Upstream> Pump<'x, D, U> {
    pub(super) fn new(
        responder: Responder<'x, D>,
        body: &'x mut RequestBody,
        upstream: U,
        timeouts: Timeouts,
        abort: &'x AbortHandle,
    ) -> Self {
        let limits = responder.policy.options.limits;
        Self {
            limits,
            upload: Pace::default(),
            download: Pace::default(),
            responder,
            body,
            upstream,
            timeouts,
            abort,
            has_begun: false,
            timers: PhaseTimers::default(),
            taken: 0,
            turn: 0,
        }
    }

    /// Goes on until the response is complete and on its way.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        timer: &mut ReusableTimer,
    ) -> Poll<Result<(), Failure>> {
        if self.abort.is_aborted() {
            return Poll::Ready(Err(Failure::drained()));
        }
        self.turn = self.responder.record.moved();
        let body = self.poll_upload(context)?;
        if self.poll_response(context)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(gone) = self.responder.downstream.poll_gone(context) {
            return Poll::Ready(Err(gone.into()));
        }
        self.note_progress(body)?;
        let late = ready!(self.timers.poll(&self.timeouts, timer, context));
        Poll::Ready(Err(late))
    }

    /// Notes who is waited for now; an error if that is a client who is too slow.
    fn note_progress(&mut self, body: Poll<()>) -> Result<(), Failure> {
        let downstream = &*self.responder.downstream;
        let taken = downstream.taken();
        if taken != self.taken {
            self.taken = taken;
            self.timers.restart(Phase::Client);
        }
        let is_sending = self.upstream.is_sending();
        let progress = Progress {
            is_body_due: body.is_pending(),
            is_sending,
            is_sent: self.upstream.is_refused() || (self.upstream.is_ended() && !is_sending),
            has_begun: downstream.has_begun(),
            is_taking: downstream.is_waiting(),
        };
        let mut now = Now::default();
        self.timers.note(&progress, &mut now);
        self.check_pace(&progress, &mut now)
    }

    /// An error if the client has been too slow. Once the response has begun, a body that pauses may be half
    /// of a conversation.
    fn check_pace(&mut self, progress: &Progress, now: &mut Now) -> Result<(), Failure> {
        let (limits, record) = (&self.limits, &self.responder.record);
        let is_awaited = progress.is_body_due && !progress.is_sending && !progress.has_begun;
        let received = record.received();
        if !record.is_grpc
            && self
                .upload
                .note(is_awaited, received, limits.upload_rate, now)
        {
            self.count(ClientLimit::UploadRate);
            return Err(Failure::slow_upload());
        }
        if self
            .download
            .note(progress.is_taking, self.taken, limits.download_rate, now)
        {
            self.count(ClientLimit::DownloadRate);
            return Err(Failure::slow_download());
        }
        Ok(())
    }

    fn count(&self, limit: ClientLimit) {
        self.responder.policy.options.limit_counts.count(limit);
    }

    /// Whether so many bytes have been moved in this turn; if so, there will be another.
    fn is_turn_over(&self, limit: u64, context: &Context<'_>) -> bool {
        let is_over = self.responder.record.moved() - self.turn >= limit;
        if is_over {
            context.waker().wake_by_ref();
        }
        is_over
    }

    /// Moves the request's body.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Failure> {
        loop {
            if !std::mem::replace(&mut self.has_begun, true) && !self.upstream.is_ended() {
                // A short body goes with its head.
                if let Poll::Ready(read) = with_buffer(|buffer| self.poll_piece(context, buffer)) {
                    read?;
                }
            }
            let before = self.upstream.sent();
            let sent = self.upstream.poll_send(context);
            if sent.is_ready() || self.upstream.sent() != before {
                self.timers.restart(Phase::Sending);
            }
            if sent.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.upstream.is_ended() || self.upstream.is_refused() {
                return Ok(Poll::Ready(()));
            }
            if self.is_turn_over(UPLOAD_TURN, context) {
                return Ok(Poll::Pending);
            }
            match with_buffer(|buffer| self.poll_piece(context, buffer)) {
                Poll::Ready(read) => read?,
                Poll::Pending => return Ok(Poll::Pending),
            }
            self.timers.restart(Phase::Body);
        }
    }

    /// Moves one piece of the request's body, or its end.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(), Failure>> {
        let room = buffer
            .get_mut(CHUNK_HEAD..CHUNK_HEAD + PIECE)
            .unwrap_or_default();
        let responder = &mut self.responder;
        let piece = ready!(self.body.poll_piece(responder.downstream, context, room))?;
        responder.record.receive(piece.fresh);
        if let Some(most) = self.limits.body
            && responder.record.received() > most
        {
            self.count(ClientLimit::Body);
            return Poll::Ready(Err(Failure::body_too_large(most)));
        }
        if piece.length > 0 {
            self.upstream.put(context, buffer, piece.length);
        }
        if piece.is_last {
            // One write for a short body and its end.
            self.upstream.end();
        }
        Poll::Ready(Ok(()))
    }

    /// Moves the response; ready when it is complete and on its way, or its head is that agrees to another
    /// protocol.
    fn poll_response(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Failure> {
        loop {
            if self.upstream.is_over() {
                return match self.responder.downstream.poll_flush(context) {
                    Poll::Ready(flushed) => Ok(Poll::Ready(flushed?)),
                    Poll::Pending => Ok(Poll::Pending),
                };
            }
            match self.responder.downstream.poll_taken(context) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => return Ok(Poll::Pending),
            }
            if self.is_turn_over(TURN, context) {
                return Ok(Poll::Pending);
            }
            let (upstream, responder) = (&mut self.upstream, &mut self.responder);
            let read = with_buffer(|buffer| upstream.poll_receive(context, buffer, responder));
            match read {
                Poll::Ready(read) => {
                    self.timers.restart(Phase::Response);
                    read?;
                }
                Poll::Pending => {
                    // Nothing more for now: the client is to have what there is.
                    if let Poll::Ready(flushed) = self.responder.downstream.poll_flush(context) {
                        flushed?;
                    }
                    return Ok(Poll::Pending);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
