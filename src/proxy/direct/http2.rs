//! The client's side of an exchange over one stream of HTTP/2.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::body::Framing;
use super::client::{Beginning, Client, Field};
use super::failure::Failure;
use crate::front::{Incoming, Reply, RequestBody};
use crate::proxy::context::View;
use crate::registry::ProxyError;

/// A stream of HTTP/2 with a request on it.
pub(super) struct Http2 {
    head: Parts,
    body: RequestBody,
    reply: Reply,
    /// The field of the request's id.
    id_field: &'static str,
    /// What has been read of the body, and not been asked for.
    early: Bytes,
    /// What waits for the client's window, in order.
    waiting: Bytes,
    out: BytesMut,
    taken: u64,
    has_begun: bool,
    is_bodiless: bool,
    /// Whether the answer ends behind what waits.
    is_ended: bool,
}

impl Http2 {
    pub(super) fn new(request: Incoming, id_field: &'static str) -> Self {
        Self {
            id_field,
            head: request.head,
            body: request.body,
            reply: request.reply,
            early: Bytes::new(),
            waiting: Bytes::new(),
            out: BytesMut::new(),
            taken: 0,
            has_begun: false,
            is_bodiless: false,
            is_ended: false,
        }
    }
}

/// The client has reset the stream, or the connection is gone.
fn gone(error: &h2::Error) -> Failure {
    Failure::of_client(std::io::Error::other(error.to_string()))
}

/// A field as HTTP/2 has it; a value of several lines (RFC 9112, 5.2) becomes one of one line.
fn field((name, value): Field<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name).ok()?;
    let value = HeaderValue::from_bytes(value).ok().or_else(|| {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let line = value
            .iter()
            .map(|byte| if is_end(byte) { b' ' } else { *byte });
        HeaderValue::from_bytes(&line.collect::<Vec<u8>>()).ok()
    })?;
    Some((name, value))
}

impl Client for Http2 {
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, Failure>> {
        if self.early.is_empty() {
            match ready!(self.body.poll_piece(context)) {
                Some(piece) => self.early = piece.map_err(|error| gone(&error))?,
                None => return Poll::Ready(Ok(0)),
            }
        }
        let count = self.early.len().min(room.len());
        let room = room.get_mut(..count).unwrap_or_default();
        self.early.copy_to_slice(room);
        Poll::Ready(Ok(count))
    }

    fn is_body_over(&self) -> bool {
        self.early.is_empty() && self.body.is_over()
    }

    /// The end of the stream tells the client to stop.
    fn wants_drain(&self) -> bool {
        false
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Failure> {
        self.reply.poll_reset(context).map(|reset| match reset {
            Ok(_reason) => Failure::gone("the client reset the stream"),
            Err(error) => gone(&error),
        })
    }

    /// h2 has no interim answers.
    fn inform<'f>(
        &mut self,
        _status: StatusCode,
        _reason: &str,
        _fields: impl Iterator<Item = Field<'f>>,
    ) {
    }

    /// Other streams go on.
    fn close(&mut self) {}

    fn begin<'f>(
        &mut self,
        beginning: Beginning<'_>,
        fields: impl Iterator<Item = Field<'f>>,
    ) -> Result<(), Failure> {
        self.has_begun = true;
        self.is_bodiless = beginning.is_bodiless;
        let mut answer = Response::new(());
        *answer.status_mut() = beginning.status;
        let mut map = HeaderMap::with_capacity(24);
        for pair in fields {
            let Some((name, mut value)) = field(pair) else {
                let reason = "a field of the answer is none";
                return Err(Failure::of_origin(ProxyError::InvalidResponse, reason));
            };
            // No other answer has this id: in the table of the connection's fields (RFC 7541, 2.3.2) it
            // would only take the place of what comes again.
            value.set_sensitive(name.as_str() == self.id_field);
            map.append(name, value);
        }
        if let Framing::Length(length) = beginning.framing {
            map.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *answer.headers_mut() = map;
        let begun = self.reply.begin(answer, beginning.is_bodiless);
        begun.map_err(|error| gone(&error))
    }

    fn write(&mut self, _context: &mut Context<'_>, data: &[u8]) -> Result<(), Failure> {
        if !self.is_bodiless {
            // Sent with what follows: the end, for a short answer.
            self.out.extend_from_slice(data);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.is_ended = true;
        Ok(())
    }

    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.is_bodiless || !self.has_begun {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.waiting.is_empty() {
                self.waiting = self.out.split().freeze();
            }
            let is_last = self.is_ended && self.out.is_empty();
            let before = self.waiting.len();
            let sent = self.reply.poll_write(context, &mut self.waiting, is_last);
            self.taken += (before - self.waiting.len()) as u64;
            ready!(sent).map_err(|error| gone(&error))?;
            if self.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll_taken(context)
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.out.is_empty()
    }

    fn taken(&self) -> u64 {
        self.taken
    }

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    fn view(&self) -> Option<View<'_>> {
        let authority = self.head.uri.authority().map(Authority::as_str);
        let host = self.head.headers.get(HOST).map(HeaderValue::as_bytes);
        View::read(self.target(), authority, host).ok()
    }

    fn method(&self) -> Method {
        self.head.method.clone()
    }

    fn target(&self) -> &[u8] {
        let target = self.head.uri.path_and_query();
        target.map_or(&[], |target| target.as_str().as_bytes())
    }

    fn accept(&self) -> Option<&[u8]> {
        let accept = self.head.headers.get(http::header::ACCEPT);
        accept.map(HeaderValue::as_bytes)
    }

    /// A reply that is dropped before its end resets the stream.
    fn abandon(&mut self) {}
}
