//! An upstream of HTTP/1.1: one request on one connection.

use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use http::{StatusCode, Version};

use super::{Interim, Leftover, PIECE, Question, ResponseSink, Socket, Upstream};
use crate::front::{BodyScan, CHUNK_END, CHUNK_HEAD, Fields, Framing, LAST_CHUNK, chunk_head};
use crate::proxy::rules::failure::{Failure, Reason};
use crate::proxy::rules::response::{ResponseError, ResponseHead, StatusLine};
use crate::proxy::rules::retry::Loss;
use crate::registry::ProxyError;

/// The most fields that the head of a response may have, as Pingora has it.
const MOST_FIELDS: usize = 256;

/// The most bytes of the head of a response.
const LONGEST_HEAD: usize = 1024 * 1024;

/// What goes to the upstream.
#[derive(Debug)]
struct Upload {
    /// What waits, in order: first the head, and then what was not taken of the body.
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

/// How far the response is.
#[derive(Debug)]
enum Stage {
    /// Its head comes, or an interim one.
    Head,
    Body(BodyScan),
    Over,
    /// The upstream speaks another protocol from here on.
    Switched,
}

/// One request on one connection.
pub(in crate::proxy) struct Http1 {
    socket: Socket,
    question: Question,
    upload: Upload,
    stage: Stage,
    head: PartialHead,
    interim: Interim,
    /// Whether the connection can be used again, as far as the upstream says.
    keeps: bool,
    /// Whether the connection was idle before this request.
    is_reused: bool,
    /// Whether anything has come.
    has_heard: bool,
}

/// What has come of a head that is not complete.
#[derive(Debug, Default)]
struct PartialHead {
    bytes: Vec<u8>,
    /// How many bytes have been searched for the end.
    searched: usize,
    /// How long it has to be before it is parsed without its end: whoever sends something else than a head
    /// is told before it ends.
    parse_at: usize,
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
            question,
            upload: Upload {
                wire: head,
                at: 0,
                sent: 0,
                framing,
                is_ended: matches!(framing, Framing::None | Framing::Upgrade),
                is_refused: false,
                is_unflushed: false,
            },
            stage: Stage::Head,
            head: PartialHead::default(),
            interim: Interim::default(),
            keeps: false,
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
        match self.stage {
            Stage::Body(BodyScan::UntilClose) => self.finish(sink),
            _ => Err(self.broken(Reason::Text("it closed the connection"))),
        }
    }

    fn hear(
        &mut self,
        context: &mut Context<'_>,
        mut bytes: &[u8],
        sink: &mut impl ResponseSink,
    ) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let count = match &mut self.stage {
                Stage::Head => self.hear_head(bytes, sink)?,
                Stage::Body(body) => {
                    let piece = body.advance(bytes).map_err(|_invalid| {
                        let reason = "invalid chunked coding in the response";
                        Failure::upstream(ProxyError::InvalidResponse, reason)
                    })?;
                    let (is_over, end) = (body.is_over(), piece.framing + piece.data);
                    sink.data(context, bytes.get(piece.framing..end).unwrap_or_default())?;
                    if is_over {
                        self.finish(sink)?;
                    }
                    end
                }
                Stage::Switched => return sink.data(context, bytes),
                Stage::Over => {
                    // Of a response that nobody has asked for.
                    self.keeps = false;
                    return Ok(());
                }
            };
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// How many of the bytes belong to the head.
    fn hear_head(&mut self, bytes: &[u8], sink: &mut impl ResponseSink) -> Result<usize, Failure> {
        if self.head.bytes.is_empty() {
            let length = self.read_head(bytes, sink)?;
            if length.is_none() {
                self.head.begin(bytes);
            }
            return Ok(length.unwrap_or(bytes.len()));
        }
        let before = self.head.bytes.len();
        if !self.head.is_worth_parsing(bytes) {
            return Ok(bytes.len());
        }
        let partial = std::mem::take(&mut self.head);
        if let Some(length) = self.read_head(&partial.bytes, sink)? {
            return Ok(length.saturating_sub(before));
        }
        self.head = partial;
        Ok(bytes.len())
    }

    /// Reads a head; its length, if it is complete.
    fn read_head(
        &mut self,
        bytes: &[u8],
        sink: &mut impl ResponseSink,
    ) -> Result<Option<usize>, Failure> {
        match self.parse_head(bytes, sink) {
            Err(Malformed::Value) => {
                // RFC 9110, 5.5: a control character in a value may be replaced by a space.
                let cleaned: Vec<u8> = bytes.iter().map(|byte| without_control(*byte)).collect();
                self.parse_head(&cleaned, sink)
                    .map_err(|_value| Failure::invalid(ResponseError::NotHttp))?
            }
            Err(Malformed::Syntax) => Err(Failure::invalid(ResponseError::NotHttp)),
            Ok(read) => read,
        }
    }

    fn parse_head(
        &mut self,
        bytes: &[u8],
        sink: &mut impl ResponseSink,
    ) -> Result<Result<Option<usize>, Failure>, Malformed> {
        let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut parser = httparse::ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true);
        parser.allow_obsolete_multiline_headers_in_responses(true);
        let mut response = httparse::Response::new(&mut []);
        let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut room);
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() > LONGEST_HEAD => {
                return Ok(Err(Failure::invalid(ResponseError::TooLong)));
            }
            Ok(httparse::Status::Partial) => return Ok(Ok(None)),
            Err(httparse::Error::HeaderValue) => return Err(Malformed::Value),
            Err(_syntax) => return Err(Malformed::Syntax),
        };
        let status = response
            .code
            .and_then(|code| StatusCode::from_u16(code).ok());
        let line = StatusLine {
            status: status.ok_or(Malformed::Syntax)?,
            reason: response.reason.unwrap_or_default(),
            version: if response.version == Some(1) {
                Version::HTTP_11
            } else {
                Version::HTTP_10
            },
        };
        let Question { asked, id_field } = self.question;
        let fields = Fields::Parsed(response.headers);
        let head = match ResponseHead::read(line, fields, asked, id_field) {
            Ok(head) => head,
            Err(error) => return Ok(Err(Failure::invalid(error))),
        };
        Ok(self.take_head(&head, sink).map(|()| Some(length)))
    }

    fn take_head(
        &mut self,
        head: &ResponseHead<'_>,
        sink: &mut impl ResponseSink,
    ) -> Result<(), Failure> {
        if head.is_interim() {
            if !self.interim.count() {
                return Err(Failure::invalid(ResponseError::TooManyInterim));
            }
            return sink.inform(head);
        }
        self.keeps = head.keeps;
        sink.begin(head)?;
        let body = BodyScan::new(head.framing);
        if head.framing == Framing::Upgrade {
            self.stage = Stage::Switched;
        } else if body.is_over() {
            self.finish(sink)?;
        } else {
            self.stage = Stage::Body(body);
        }
        Ok(())
    }

    fn finish(&mut self, sink: &mut impl ResponseSink) -> Result<(), Failure> {
        self.stage = Stage::Over;
        sink.end(None)
    }
}

/// Why bytes are not a head.
enum Malformed {
    /// A value has a character that it may not have.
    Value,
    Syntax,
}

/// A byte, or a space in place of a control character. NUL stays, and is refused; so do line ends and tabs.
fn without_control(byte: u8) -> u8 {
    match byte {
        b'\0' | b'\t' | b'\r' | b'\n' => byte,
        byte if byte.is_ascii_control() => b' ',
        byte => byte,
    }
}

impl PartialHead {
    fn begin(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.searched = 0;
        self.parse_at = 2 * self.bytes.len();
    }

    /// Takes more of the head. Whether it may be complete, or has become so long that it is parsed all the
    /// same: each byte is looked at a bounded number of times, however small the pieces are.
    fn is_worth_parsing(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        let from = self.searched.saturating_sub(3);
        self.searched = self.bytes.len();
        let fresh = self.bytes.get(from..).unwrap_or_default();
        let is_complete = memchr::memchr_iter(b'\n', fresh)
            .any(|at| matches!(fresh.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])));
        let is_long = self.bytes.len() >= self.parse_at;
        if is_long {
            self.parse_at = 2 * self.bytes.len();
        }
        is_complete || is_long || self.bytes.len() > LONGEST_HEAD
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
        !self.upload.is_refused && !self.upload.waiting().is_empty()
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
        Poll::Ready(self.hear(context, read, sink))
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Switched)
    }

    fn leave(self, failure: Option<&Failure>) -> Leftover {
        match self.stage {
            _ if failure.is_some() => Leftover::Nothing,
            Stage::Over if self.upload.is_whole() && self.keeps => Leftover::Http1(self.socket),
            Stage::Switched => Leftover::Switched(self.socket),
            Stage::Head | Stage::Body(_) | Stage::Over => Leftover::Nothing,
        }
    }
}

#[cfg(test)]
mod tests;
