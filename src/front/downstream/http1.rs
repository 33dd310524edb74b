//! The client's side of an exchange over HTTP/1.0 or HTTP/1.1.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::chunked::BadChunk;
use super::super::connection::Connection;
use super::super::fields::{Field, unfolded};
use super::super::framing::{Body, Framing, LAST_CHUNK, put_chunk};
use super::super::request::Request;
use super::super::reset::reset;
use super::{After, Downstream, DownstreamError, ResponseStart};

/// Data of this size and more is written from where it is, rather than copied behind what waits.
const LARGE: usize = 4096;

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It has not begun, but for interim ones.
    Waiting,
    Begun,
    Complete,
    /// It was given up.
    Abandoned,
}

/// How the answer's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it is.
    Plain,
    /// In chunks.
    Chunks,
    /// Not at all.
    None,
}

/// An HTTP/1 connection with a request on it.
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own.
pub(in crate::front) struct Http1<'c> {
    connection: &'c mut Connection,
    /// Whether the client speaks HTTP/1.0: it knows neither interim responses nor chunks.
    is_http10: bool,
    /// Whether the response is to `HEAD`.
    is_head: bool,
    /// The bytes that have been read of the request's body.
    early: BytesMut,
    body: Body,
    /// The bytes that wait to be written, and how many of them are.
    out: Vec<u8>,
    written: usize,
    taken: u64,
    /// Whether another request may follow.
    keeps: bool,
    stop: &'c AtomicBool,
    progress: Progress,
    form: Form,
    /// Whether the transport holds bytes that the client has not taken.
    is_flushing: bool,
    /// Whether the response ends with the connection.
    ends_with_connection: bool,
}

impl<'c> Http1<'c> {
    /// The client's side of `request`, which came over `connection`; `early` is what has been read of its
    /// body.
    pub(in crate::front) fn new(
        connection: &'c mut Connection,
        request: &Request,
        early: BytesMut,
        stop: &'c AtomicBool,
    ) -> Self {
        let framing = request.framing();
        let early = if framing == Framing::Upgrade {
            connection.await_switch(early);
            BytesMut::new()
        } else {
            early
        };
        let is_http10 = request.version() == Version::HTTP_10;
        let keeps = request.options().persists(request.version()) && !connection.is_last;
        Self {
            connection,
            is_http10,
            is_head: *request.method() == Method::HEAD,
            early,
            body: Body::new(framing),
            out: Vec::new(),
            written: 0,
            taken: 0,
            keeps,
            stop,
            progress: Progress::Waiting,
            form: Form::Plain,
            is_flushing: false,
            ends_with_connection: false,
        }
    }

    /// The client's side of a request that cannot be read: the response to it is the connection's last.
    pub(in crate::front) fn refusing(connection: &'c mut Connection) -> Self {
        static STOPS: AtomicBool = AtomicBool::new(true);
        Self {
            connection,
            is_http10: false,
            is_head: false,
            early: BytesMut::new(),
            body: Body::new(Framing::None),
            out: Vec::new(),
            written: 0,
            taken: 0,
            keeps: false,
            stop: &STOPS,
            progress: Progress::Waiting,
            form: Form::Plain,
            is_flushing: false,
            ends_with_connection: false,
        }
    }

    /// One piece of the body as it is on the wire.
    fn poll_raw(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, DownstreamError>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(room.len());
            self.early
                .copy_to_slice(room.get_mut(..count).unwrap_or_default());
            return Poll::Ready(Ok(count));
        }
        let mut buffer = ReadBuf::new(room);
        let read = Pin::new(&mut *self.connection).poll_read(context, &mut buffer);
        ready!(read)?;
        match buffer.filled().len() {
            0 => Poll::Ready(Err(DownstreamError::Gone(
                "the client left within its request",
            ))),
            count => Poll::Ready(Ok(count)),
        }
    }

    fn write_status(&mut self, status: StatusCode, reason: &str) {
        self.out.reserve(512);
        let code = status.as_str().as_bytes();
        for part in [b"HTTP/1.1 ", code, b" ", reason.as_bytes(), b"\r\n"] {
            self.out.extend_from_slice(part);
        }
    }

    fn put(&mut self, name: &[u8], value: &[u8]) {
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes the fields that say where the body ends, and notes how it is to be written.
    fn frame(&mut self, start: ResponseStart<'_>) {
        self.form = if start.is_bodiless {
            Form::None
        } else {
            Form::Plain
        };
        match start.framing {
            // RFC 9112, 6.3: it would end with the connection.
            Framing::None if !self.is_head && may_have_body(start.status) => {
                self.put(b"Content-Length", b"0");
            }
            Framing::None | Framing::Upgrade => {}
            Framing::Length(length) => {
                let mut text = itoa::Buffer::new();
                self.put(b"Content-Length", text.format(length).as_bytes());
            }
            Framing::Chunked | Framing::UntilClose if self.is_http10 => {
                // RFC 9112, 6.1: HTTP/1.0 knows no chunks. The body ends with the connection.
                self.keeps &= start.is_bodiless;
                self.ends_with_connection = !start.is_bodiless;
            }
            Framing::Chunked | Framing::UntilClose => {
                if !start.is_bodiless {
                    self.form = Form::Chunks;
                }
                self.put(b"Transfer-Encoding", b"chunked");
            }
        }
    }

    fn put_fields<'f>(&mut self, fields: impl Iterator<Item = Field<'f>>) {
        for (name, value) in fields {
            self.put(name, &unfolded(value));
        }
    }

    /// The rest of what waits.
    fn waiting(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// Counts what the transport has taken, first of what waits; how much of the rest that is.
    fn note_taken(&mut self, count: usize) -> usize {
        self.taken += count as u64;
        let own = count.min(self.waiting().len());
        self.written += own;
        if self.waiting().is_empty() {
            self.out.clear();
            self.written = 0;
        }
        count - own
    }

    /// Writes what waits, and `data` behind it, as far as the transport takes it; how much of `data`
    /// that is.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<Result<usize, DownstreamError>> {
        let out = self.out.get(self.written..).unwrap_or_default();
        let connection = Pin::new(&mut *self.connection);
        let written = match (out.is_empty(), data.is_empty()) {
            (true, true) => return Poll::Ready(Ok(0)),
            (true, false) => connection.poll_write(context, data),
            (false, false) if connection.is_write_vectored() => {
                connection.poll_write_vectored(context, &[IoSlice::new(out), IoSlice::new(data)])
            }
            (false, _) => connection.poll_write(context, out),
        };
        match ready!(written)? {
            0 => Poll::Ready(Err(DownstreamError::Gone("the connection takes nothing"))),
            count => Poll::Ready(Ok(self.note_taken(count))),
        }
    }
}

/// Whether a response with this status has a body unless it says otherwise (RFC 9112, 6.3).
fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

impl Downstream for Http1<'_> {
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, DownstreamError>> {
        while !self.body.is_over() {
            let count = ready!(self.poll_raw(context, room))?;
            let raw = room.get_mut(..count).unwrap_or_default();
            match self.body.extract(raw) {
                Ok(0) => {}
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(BadChunk) => return Poll::Ready(Err(DownstreamError::BadChunk)),
            }
        }
        Poll::Ready(Ok(0))
    }

    fn is_body_over(&self) -> bool {
        self.body.is_over()
    }

    fn wants_drain(&self) -> bool {
        self.progress == Progress::Complete && !self.body.is_over()
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<DownstreamError> {
        if !self.body.is_over() {
            return Poll::Pending;
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        // The gate lets nothing through any more, and keeps what comes for the next request.
        let read = ready!(Pin::new(&mut *self.connection).poll_read(context, &mut buffer));
        Poll::Ready(match read {
            Ok(()) => DownstreamError::Gone("the client left before its answer"),
            Err(error) => error.into(),
        })
    }

    fn inform<'f>(
        &mut self,
        status: StatusCode,
        reason: &str,
        fields: impl Iterator<Item = Field<'f>>,
    ) {
        if self.is_http10 {
            // RFC 9110, 15.2.
            return;
        }
        self.write_status(status, reason);
        self.put_fields(fields);
        self.out.extend_from_slice(b"\r\n");
    }

    fn close(&mut self) {
        self.keeps = false;
    }

    fn begin<'f>(
        &mut self,
        start: ResponseStart<'_>,
        fields: impl Iterator<Item = Field<'f>>,
    ) -> Result<(), DownstreamError> {
        self.progress = Progress::Begun;
        self.connection.begin_response();
        // The rest of a body may never come, and could not be told from the next request.
        self.keeps &= self.body.is_over() && !self.stop.load(Ordering::Relaxed);
        self.write_status(start.status, start.reason);
        self.put_fields(fields);
        self.frame(start);
        if start.framing == Framing::Upgrade {
            self.connection.switch();
        } else {
            let connection: &[u8] = if self.keeps { b"keep-alive" } else { b"close" };
            self.put(b"Connection", connection);
        }
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn write(&mut self, context: &mut Context<'_>, mut data: &[u8]) -> Result<(), DownstreamError> {
        match self.form {
            Form::None => return Ok(()),
            Form::Chunks if data.is_empty() => return Ok(()),
            Form::Chunks => {
                put_chunk(&mut self.out, data);
                return Ok(());
            }
            Form::Plain => {}
        }
        while data.len() >= LARGE {
            match self.poll_write(context, data) {
                Poll::Ready(count) => data = data.get(count?..).unwrap_or_default(),
                Poll::Pending => break,
            }
        }
        self.out.extend_from_slice(data);
        Ok(())
    }

    fn end(&mut self) -> Result<(), DownstreamError> {
        if self.form == Form::Chunks {
            self.out.extend_from_slice(LAST_CHUNK);
        }
        self.progress = Progress::Complete;
        Ok(())
    }

    /// HTTP/1 clients are sent no trailers.
    fn end_with(&mut self, _trailers: HeaderMap) -> Result<(), DownstreamError> {
        self.end()
    }

    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        while !self.waiting().is_empty() {
            ready!(self.poll_write(context, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        ready!(self.poll_taken(context))?;
        let flushed = Pin::new(&mut *self.connection).poll_flush(context);
        self.is_flushing = flushed.is_pending();
        flushed.map_err(DownstreamError::from)
    }

    fn is_waiting(&self) -> bool {
        self.is_flushing || !self.waiting().is_empty()
    }

    fn taken(&self) -> u64 {
        self.taken
    }

    fn has_begun(&self) -> bool {
        self.progress != Progress::Waiting
    }

    fn abandon(&mut self) {
        if self.ends_with_connection && self.progress == Progress::Begun {
            // Another end would look like that of the response.
            reset(&self.connection.transport);
        }
        self.progress = Progress::Abandoned;
    }

    fn after(&self) -> After {
        if self.progress != Progress::Complete {
            After::Abort
        } else if self.keeps && self.body.is_over() {
            After::KeepAlive
        } else {
            After::Close
        }
    }

    fn into_switched<'c>(self) -> Option<&'c mut Connection>
    where
        Self: 'c,
    {
        Some(self.connection)
    }
}
