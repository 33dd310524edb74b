//! One call on one connection to its target: both directions, polled by one task.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};

use super::super::clock::{Standing, Waiting, Waits};
use super::super::failure::{self, Failure};
use super::answer::{Answer, gone};
use super::line::{Line, Sent};
use super::upload::{Piece, Upload};
use crate::front::{Deadline, Leash, poll_room};
use crate::proxy::error::Fault;
use crate::proxy::options::Timeouts;
use crate::registry::ProxyError;

/// Why a try has failed.
#[derive(Debug)]
pub(super) struct Miss {
    pub(super) failure: Failure,
    /// The error code by which the target has reset the stream (RFC 9113, 7).
    pub(super) reset: Option<u32>,
    /// Whether the target has said that it has not looked at the call.
    pub(super) is_untouched: bool,
}

impl From<Failure> for Miss {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            reset: None,
            is_untouched: false,
        }
    }
}

impl Miss {
    /// What the target, or the connection to it, has done instead of `expected`.
    pub(super) fn of_target(error: h2::Error, expected: Expected) -> Self {
        let fault = match expected {
            Expected::Head if !error.is_io() => ProxyError::InvalidResponse,
            Expected::Head | Expected::Body => ProxyError::Broken,
        };
        let is_reset = error.is_reset() && error.is_remote();
        // RFC 9113, 8.7: a stream that was refused, or is above the last one that `GOAWAY` names.
        let is_untouched = match error.reason() {
            Some(Reason::REFUSED_STREAM) => is_reset,
            Some(Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
            _ => false,
        };
        Self {
            reset: error.reason().filter(|_| is_reset).map(u32::from),
            is_untouched,
            failure: Failure {
                fault: Fault::Origin(fault),
                reason: failure::Reason::Http2(error),
                is_death: false,
            },
        }
    }
}

/// What is to come of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Head,
    Body,
}

/// How far the answer is.
enum Stage {
    Head(ResponseFuture),
    /// Its body comes, or the trailers behind it.
    Body(RecvStream),
    Over,
}

/// One call on one connection.
pub(super) struct Pump<'x, 'y> {
    upload: &'x mut Upload,
    answer: &'x mut Answer<'y>,
    out: SendStream<Bytes>,
    stage: Stage,
    /// What the target has not taken of a piece.
    up: Bytes,
    /// What the client has not taken of a piece.
    down: Bytes,
    /// Whether the end of the body is on its way.
    is_ended: bool,
    /// Whether the target takes nothing more; it may answer all the same.
    is_refused: bool,
    timeouts: Timeouts,
    waits: Waits,
    line: Line,
}

impl<'x, 'y> Pump<'x, 'y> {
    pub(super) fn new(
        upload: &'x mut Upload,
        answer: &'x mut Answer<'y>,
        line: Line,
        (response, out): Sent,
        is_ended: bool,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            upload,
            answer,
            out,
            stage: Stage::Head(response),
            up: Bytes::new(),
            down: Bytes::new(),
            is_ended,
            is_refused: false,
            timeouts,
            waits: Waits::default(),
            line,
        }
    }

    /// Gives the stream up, if it is not over, and leaves the connection.
    pub(super) fn into_line(self) -> Line {
        self.line
    }

    /// Goes on until the answer is complete.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        leash: &Leash,
        timer: &mut Deadline,
    ) -> Poll<Result<(), Miss>> {
        if leash.is_cut() {
            return Poll::Ready(Err(Failure::drained().into()));
        }
        let body = match self.poll_upload(context) {
            Poll::Ready(sent) => {
                sent?;
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        };
        if let Poll::Ready(answered) = self.poll_answer(context) {
            return Poll::Ready(answered);
        }
        if let Poll::Ready(reset) = self.answer.reply.poll_reset(context) {
            let failure = match reset {
                Ok(_reason) => Failure::gone("the client reset the stream"),
                Err(error) => gone(error),
            };
            return Poll::Ready(Err(failure.into()));
        }
        self.note_waits(body);
        let late = ready!(self.waits.poll(&self.timeouts, timer, context));
        Poll::Ready(Err(late.into()))
    }

    /// Notes who is waited for now.
    fn note_waits(&mut self, body: Poll<()>) {
        self.waits.note(&Standing {
            is_body_due: body.is_pending(),
            is_sending: !self.up.is_empty(),
            is_sent: body.is_ready(),
            is_answered: self.answer.has_begun(),
            is_taking: !self.down.is_empty(),
        });
    }

    /// Moves the body of the call; ready at its end.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while !self.is_ended && !self.is_refused {
            if self.up.is_empty() {
                let Some(piece) = ready!(self.upload.poll_piece(context)) else {
                    self.send(Bytes::new(), true);
                    break;
                };
                self.up = match piece.map_err(gone)? {
                    Piece::New(piece) => {
                        self.answer.received(piece.len());
                        piece
                    }
                    Piece::Again(piece) => piece,
                };
                self.waits.restart(Waiting::Body);
            }
            match ready!(poll_room(&mut self.out, self.up.len(), context)) {
                Ok(room) => {
                    let piece = self.up.split_to(room.min(self.up.len()));
                    let is_last = self.up.is_empty() && self.upload.is_over();
                    self.send(piece, is_last);
                    self.waits.restart(Waiting::Sending);
                }
                Err(_closed) => self.refuse(),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, piece: Bytes, is_last: bool) {
        self.is_ended = is_last;
        if self.out.send_data(piece, is_last).is_err() {
            self.refuse();
        }
    }

    /// The target takes no more: its answer, or the lack of one, says why.
    fn refuse(&mut self) {
        self.is_refused = true;
        self.up.clear();
    }

    /// Moves the answer; ready when it is complete.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Miss>> {
        loop {
            ready!(self.poll_taken(context))?;
            match &mut self.stage {
                Stage::Head(response) => {
                    let response = match ready!(Pin::new(response).poll(context)) {
                        Ok(response) => response,
                        Err(error) => return failed(error, Expected::Head),
                    };
                    let (head, body) = response.into_parts();
                    let is_all = body.is_end_stream();
                    self.upload.settle();
                    let head = http::Response::from_parts(head, ());
                    self.answer.begin(head, is_all)?;
                    self.stage = if is_all {
                        Stage::Over
                    } else {
                        Stage::Body(body)
                    };
                }
                Stage::Body(body) => match ready!(body.poll_data(context)) {
                    Some(Ok(piece)) => {
                        release(body, piece.len());
                        self.answer.sent(piece.len());
                        self.down = piece;
                    }
                    Some(Err(error)) => return failed(error, Expected::Body),
                    None => {
                        match ready!(body.poll_trailers(context)) {
                            Ok(Some(last)) => self.answer.reply.end_with(last).map_err(gone)?,
                            Ok(None) => self.answer.reply.finish().map_err(gone)?,
                            Err(error) => return failed(error, Expected::Body),
                        }
                        self.stage = Stage::Over;
                    }
                },
                Stage::Over => return Poll::Ready(Ok(())),
            }
            self.waits.restart(Waiting::Answer);
        }
    }

    /// Ready once the client has taken what there is for it.
    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.down.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let before = self.down.len();
        let written = self.answer.reply.poll_write(context, &mut self.down, false);
        if self.down.len() < before {
            self.waits.restart(Waiting::Client);
        }
        written.map_err(gone)
    }
}

/// Opens the target's window again, for a piece that was taken: the next is not before the client has it.
fn release(body: &mut RecvStream, count: usize) {
    if let Err(error) = body.flow_control().release_capacity(count) {
        log::debug!("the window of a stream stays as it is: {error}");
    }
}

fn failed(error: h2::Error, expected: Expected) -> Poll<Result<(), Miss>> {
    Poll::Ready(Err(Miss::of_target(error, expected)))
}
