//! An upstream of HTTP/1.1: one request on one connection.

use std::task::{Context, Poll, ready};

use super::response_reader::ResponseReader;
use super::{Leftover, PIECE, Question, ResponseSink, Socket, Upstream};
use crate::front::{CHUNK_END, CHUNK_HEAD, Framing, LAST_CHUNK, chunk_head};
use crate::proxy::rules::failure::{Failure, Reason};
use crate::proxy::rules::retry::Loss;

/// The upload to the upstream.
#[derive(Debug)]
struct Upload {
    /// The bytes that wait, in order: first the head, and then what was not taken of the body.
    wire: Vec<u8>,
    /// How much of it is sent.
    at: usize,
    sent: u64,
    framing: Framing,
    is_ended: bool,
    is_refused: bool,
    /// Whether the connection may hold bytes that are not on their way.
    is_unflushed: bool,
}

/// One request on one connection.
pub(in crate::proxy) struct Http1 {
    socket: Socket,
    upload: Upload,
    response: ResponseReader,
    /// Whether the connection was idle before this request.
    is_reused: bool,
    /// Whether anything has come.
    has_heard: bool,
}

impl Upload {
    fn waiting(&self) -> &[u8] {
        self.wire.get(self.at..).unwrap_or_default()
    }

    /// Sends what waits.
    fn poll_send(&mut self, context: &mut Context<'_>, socket: &mut Socket) -> Poll<()> {
        while let Some(waiting) = self.wire.get(self.at..)
            && !waiting.is_empty()
            && !self.is_refused
        {
            match ready!(socket.poll_write(context, waiting)) {
                Ok(count @ 1..) => self.note_sent(count),
                // Its response, or the lack of one, says more.
                Ok(0) | Err(_) => self.is_refused = true,
            }
        }
        self.wire.clear();
        self.at = 0;
        if self.is_unflushed && !self.is_refused {
            match ready!(socket.poll_flush(context)) {
                Ok(()) => self.is_unflushed = false,
                Err(_) => self.is_refused = true,
            }
        }
        Poll::Ready(())
    }

    fn note_sent(&mut self, count: usize) {
        self.at += count;
        self.sent += count as u64;
        self.is_unflushed = true;
    }

    /// Puts a piece on its way: sent from where it is, as far as the upstream takes it.
    fn put(&mut self, context: &mut Context<'_>, socket: &mut Socket, mut data: &[u8]) {
        while self.waiting().is_empty() && !data.is_empty() {
            match socket.poll_write(context, data) {
                Poll::Ready(Ok(count @ 1..)) => {
                    data = data.get(count..).unwrap_or_default();
                    self.sent += count as u64;
                    self.is_unflushed = true;
                }
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.is_refused = true;
                    return;
                }
                Poll::Pending => break,
            }
        }
        self.wire.extend_from_slice(data);
    }

    fn end(&mut self) {
        self.is_ended = true;
        if self.framing == Framing::Chunked {
            self.wire.extend_from_slice(LAST_CHUNK);
        }
    }

    /// Whether the upstream has been sent the whole request. A response may come before that; of the next
    /// request on the connection, the upstream would take the beginning for the rest of this one.
    fn is_whole(&self) -> bool {
        self.is_ended && self.waiting().is_empty() && !self.is_refused
    }
}

impl Http1 {
    /// A request with this head, whose body is framed in this way.
    pub(in crate::proxy) fn new(
        socket: Socket,
        is_reused: bool,
        head: Vec<u8>,
        framing: Framing,
        question: Question,
    ) -> Self {
        Self {
            socket,
            upload: Upload {
                wire: head,
                at: 0,
                sent: 0,
                framing,
                is_ended: matches!(framing, Framing::None | Framing::Upgrade),
                is_refused: false,
                is_unflushed: false,
            },
            response: ResponseReader::new(question),
            is_reused,
            has_heard: false,
        }
    }

    /// The connection broke: before a byte of a response, an idle one may simply have been too old.
    fn broken(&self, reason: Reason) -> Failure {
        let loss = if self.is_reused && !self.has_heard {
            Loss::DiedIdle
        } else {
            Loss::Other
        };
        Failure {
            loss,
            ..Failure::broken(reason)
        }
    }

    /// The upstream has closed the connection.
    fn close(&mut self, sink: &mut impl ResponseSink) -> Result<(), Failure> {
        if self.response.ends_with_connection() {
            self.response.finish(sink)
        } else {
            Err(self.broken(Reason::Text("it closed the connection")))
        }
    }
}

impl Upstream for Http1 {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.upload.poll_send(context, &mut self.socket)
    }

    fn put(&mut self, context: &mut Context<'_>, buffer: &mut [u8], count: usize) {
        let (mut start, mut end) = (CHUNK_HEAD, CHUNK_HEAD + count);
        if self.upload.framing == Framing::Chunked {
            // Around the data there is room for what makes it a chunk.
            let (line, begin) = chunk_head(count);
            let head = line.get(begin..).unwrap_or_default();
            start -= head.len();
            if let Some(room) = buffer.get_mut(start..CHUNK_HEAD) {
                room.copy_from_slice(head);
            }
            if let Some(room) = buffer.get_mut(end..end + CHUNK_END.len()) {
                room.copy_from_slice(CHUNK_END);
            }
            end += CHUNK_END.len();
        }
        let piece = buffer.get(start..end).unwrap_or_default();
        self.upload.put(context, &mut self.socket, piece);
    }

    fn end(&mut self) {
        self.upload.end();
    }

    fn is_ended(&self) -> bool {
        self.upload.is_ended
    }

    fn is_refused(&self) -> bool {
        self.upload.is_refused
    }

    fn is_sending(&self) -> bool {
        let upload = &self.upload;
        !upload.is_refused && (upload.is_unflushed || !upload.waiting().is_empty())
    }

    fn sent(&self) -> u64 {
        self.upload.sent
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        sink: &mut impl ResponseSink,
    ) -> Poll<Result<(), Failure>> {
        let room = buffer.get_mut(..PIECE).unwrap_or_default();
        let count = match ready!(self.socket.poll_read(context, room)) {
            Ok(count) => count,
            Err(error) => return Poll::Ready(Err(self.broken(Reason::Io(error)))),
        };
        if count == 0 {
            return Poll::Ready(self.close(sink));
        }
        self.has_heard = true;
        let read = room.get(..count).unwrap_or_default();
        Poll::Ready(self.response.hear(context, read, sink))
    }

    fn is_over(&self) -> bool {
        self.response.is_complete() || self.response.is_switched()
    }

    fn leave(self, failure: Option<&Failure>) -> Leftover {
        let response = &self.response;
        if failure.is_some() {
            Leftover::Nothing
        } else if response.is_switched() {
            Leftover::Switched(self.socket)
        } else if response.is_complete() && response.keeps() && self.upload.is_whole() {
            Leftover::Http1(self.socket)
        } else {
            Leftover::Nothing
        }
    }
}

#[cfg(test)]
mod tests;
