//! An upstream of HTTP/2: one request on one stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Version, response};
use log::debug;

use super::h2_connection::Sent;
use super::pool::Poolable as _;
use super::{H2Connection, Leftover, Question, ResponseSink, Upstream};
use crate::front::{CHUNK_HEAD, Fields, Framing, poll_room};
use crate::proxy::rules::failure::{Expected, Failure, Fault};
use crate::proxy::rules::response::{ResponseHead, StatusLine, check_trailers};
use crate::proxy::rules::retry::Loss;

/// How far the response is.
enum Stage {
    Head(ResponseFuture),
    /// Its body comes, or the trailers behind it.
    Body(RecvStream),
    /// No body belongs to its head; the end of its stream comes.
    End(RecvStream),
    Over,
}

/// One request on one stream.
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own.
pub(in crate::proxy) struct Http2 {
    connection: H2Connection,
    /// Whether the connection was idle before this request.
    is_reused: bool,
    question: Question,
    out: SendStream<Bytes>,
    /// The part of a piece that the upstream has not taken yet.
    waiting: Bytes,
    sent: u64,
    /// Whether the request ends behind what waits.
    is_ended: bool,
    /// Whether its end is sent.
    is_sent: bool,
    is_refused: bool,
    stage: Stage,
}

impl Http2 {
    /// A request whose head is sent; with `is_whole`, it has no body.
    pub(in crate::proxy) fn new(
        connection: H2Connection,
        is_reused: bool,
        (response, out): Sent,
        is_whole: bool,
        question: Question,
    ) -> Self {
        Self {
            connection,
            is_reused,
            question,
            out,
            waiting: Bytes::new(),
            sent: 0,
            is_ended: is_whole,
            is_sent: is_whole,
            is_refused: false,
            stage: Stage::Head(response),
        }
    }

    fn send(&mut self, piece: Bytes) {
        self.is_sent = self.is_ended && self.waiting.is_empty();
        self.sent += piece.len() as u64;
        if self.out.send_data(piece, self.is_sent).is_err() {
            self.refuse();
        }
    }

    /// The upstream takes no more: its response, or the lack of one, says why.
    fn refuse(&mut self) {
        self.is_refused = true;
        self.waiting.clear();
    }

    fn take_head(
        &mut self,
        head: &response::Parts,
        body: RecvStream,
        sink: &mut impl ResponseSink,
    ) -> Result<(), Failure> {
        let line = StatusLine {
            status: head.status,
            reason: head.status.canonical_reason().unwrap_or_default(),
            version: Version::HTTP_2,
        };
        let Question { asked, id_field } = self.question;
        let fields = Fields::Map(&head.headers);
        let read = ResponseHead::read(line, fields, asked, id_field);
        let mut read = read.map_err(Failure::invalid)?;
        let is_all = body.is_end_stream();
        if is_all {
            read.end_with_head();
        }
        sink.begin(&read)?;
        if is_all {
            self.stage = Stage::Over;
            return sink.end(None);
        }
        self.stage = match read.framing {
            Framing::None => Stage::End(body),
            _ => Stage::Body(body),
        };
        Ok(())
    }

    fn finish(
        &mut self,
        trailers: Option<HeaderMap>,
        sink: &mut impl ResponseSink,
    ) -> Result<(), Failure> {
        if let Some(trailers) = &trailers {
            check_trailers(trailers).map_err(Failure::invalid)?;
        }
        self.stage = Stage::Over;
        sink.end(trailers)
    }
}

/// An idle connection that dies before a byte of a response may simply have been too old.
fn failure(error: h2::Error, expected: Expected, is_reused: bool) -> Failure {
    let has_died_idle = is_reused && expected == Expected::Head && error.is_io();
    let failure = Failure::http2(error, expected);
    if has_died_idle {
        return Failure {
            loss: Loss::DiedIdle,
            ..failure
        };
    }
    failure
}

impl Upstream for Http2 {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.waiting.is_empty() {
            match ready!(poll_room(&mut self.out, self.waiting.len(), context)) {
                Ok(room) => {
                    let piece = self.waiting.split_to(room.min(self.waiting.len()));
                    self.send(piece);
                }
                Err(_closed) => self.refuse(),
            }
        }
        if self.is_ended && !self.is_sent && !self.is_refused {
            self.send(Bytes::new());
        }
        Poll::Ready(())
    }

    fn put(&mut self, _context: &mut Context<'_>, buffer: &mut [u8], count: usize) {
        let piece = buffer
            .get(CHUNK_HEAD..CHUNK_HEAD + count)
            .unwrap_or_default();
        self.waiting = Bytes::copy_from_slice(piece);
    }

    fn end(&mut self) {
        self.is_ended = true;
    }

    fn is_ended(&self) -> bool {
        self.is_ended
    }

    fn is_refused(&self) -> bool {
        self.is_refused
    }

    fn is_sending(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        _buffer: &mut [u8],
        sink: &mut impl ResponseSink,
    ) -> Poll<Result<(), Failure>> {
        let is_reused = self.is_reused;
        let failed = |error, expected| Poll::Ready(Err(failure(error, expected, is_reused)));
        match &mut self.stage {
            Stage::Head(response) => match ready!(Pin::new(response).poll(context)) {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    Poll::Ready(self.take_head(&head, body, sink))
                }
                Err(error) => failed(error, Expected::Head),
            },
            Stage::Body(body) => match ready!(body.poll_data(context)) {
                Some(Ok(piece)) => {
                    // The next is not read before the client has this one.
                    if let Err(error) = body.flow_control().release_capacity(piece.len()) {
                        debug!("the window of a stream stays as it is: {error}");
                    }
                    Poll::Ready(sink.data(context, &piece))
                }
                Some(Err(error)) => failed(error, Expected::Body),
                None => match ready!(body.poll_trailers(context)) {
                    Ok(trailers) => Poll::Ready(self.finish(trailers, sink)),
                    Err(error) => failed(error, Expected::Body),
                },
            },
            Stage::End(body) => {
                // RFC 9110, 6.4.1: whatever comes, the client has the whole response.
                match ready!(body.poll_data(context)) {
                    Some(Ok(piece)) if piece.is_empty() => Poll::Ready(Ok(())),
                    _ => Poll::Ready(self.finish(None, sink)),
                }
            }
            Stage::Over => Poll::Ready(Ok(())),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Gives the stream up, if it is not over, and leaves the connection.
    fn leave(mut self, failure: Option<&Failure>) -> Leftover {
        // One that hangs, or is about to end, would keep the next request from its response as well. A stream
        // that was reset says nothing about the connection.
        let is_at_fault = failure.is_some_and(|failure| {
            matches!(failure.fault, Fault::Upstream(_)) && failure.reset.is_none()
        });
        if is_at_fault || !self.connection.is_usable() {
            return Leftover::Nothing;
        }
        Leftover::Http2(self.connection)
    }
}
