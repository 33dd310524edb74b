//! The response of an upstream of HTTP/1, read from the bytes as they come.

use std::mem::MaybeUninit;
use std::task::Context;

use http::{StatusCode, Version};

use super::{Interim, Question, ResponseSink};
use crate::front::{BodyScan, Fields, Framing};
use crate::proxy::rules::failure::Failure;
use crate::proxy::rules::response::{ResponseError, ResponseHead, StatusLine};
use crate::registry::ProxyError;

/// The most fields that the head of a response may have, as Pingora has it.
const MOST_FIELDS: usize = 256;

/// The most bytes of the head of a response.
const LONGEST_HEAD: usize = 1024 * 1024;

/// A response on its way: how far it has come.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseReader {
    question: Question,
    stage: Stage,
    head: PartialHead,
    interim: Interim,
    /// Whether the connection can be used again, as far as the upstream says.
    keeps: bool,
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

/// The part of an incomplete head that has come.
#[derive(Debug, Default)]
struct PartialHead {
    bytes: Vec<u8>,
    /// How many bytes have been searched for the end.
    searched: usize,
    /// How long it has to be before it is parsed without its end: whoever sends something else than a head
    /// is told before it ends.
    parse_at: usize,
}

impl ResponseReader {
    pub(in crate::proxy) fn new(question: Question) -> Self {
        Self {
            question,
            stage: Stage::Head,
            head: PartialHead::default(),
            interim: Interim::default(),
            keeps: false,
        }
    }

    /// Whether the response is complete.
    pub(in crate::proxy) fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether its head agrees to another protocol.
    pub(in crate::proxy) fn is_switched(&self) -> bool {
        matches!(self.stage, Stage::Switched)
    }

    /// Whether the connection can be used again after it, as far as the upstream says.
    pub(in crate::proxy) fn keeps(&self) -> bool {
        self.keeps
    }

    /// Whether it ends with the connection.
    pub(in crate::proxy) fn ends_with_connection(&self) -> bool {
        matches!(self.stage, Stage::Body(BodyScan::UntilClose))
    }

    /// Takes what has come, and hands it to `sink`.
    ///
    /// # Errors
    /// The response is malformed, or the client cannot be told.
    pub(in crate::proxy) fn hear(
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
            // Where the body ends is not to be guessed (RFC 9112, 6.3).
            Err(Malformed::Value) if lines_of_head(bytes).any(is_odd_framing) => {
                Err(Failure::invalid(ResponseError::NotHttp))
            }
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

    /// Its end has come.
    pub(in crate::proxy) fn finish(&mut self, sink: &mut impl ResponseSink) -> Result<(), Failure> {
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

/// The lines of the head at the beginning of `bytes`, behind which more may have come.
fn lines_of_head(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_empty = |line: &&[u8]| matches!(*line, b"" | b"\r");
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .skip_while(is_empty)
        .take_while(move |line| !is_empty(line))
}

/// Whether a line of a head says where the body ends, with a control character in it.
fn is_odd_framing(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_framing = ["content-length", "transfer-encoding"].iter().any(|name| {
        let start = line.get(..name.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    });
    is_framing
        && line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
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

#[cfg(test)]
mod tests;
