//! The client's side of an exchange over HTTP/1.1.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::{Body, Framing, LAST_CHUNK, put_chunk};
use super::client::{Beginning, Client, Field};
use super::failure::Failure;
use super::request;
use crate::front::{BadChunk, Connection, Ended};
use crate::proxy::context::View;

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
pub(super) struct Http1<'c> {
    connection: &'c mut Connection,
    /// The request's head.
    head: BytesMut,
    /// What has been read of its body.
    early: BytesMut,
    body: Body,
    /// What waits to be written, and how much of it is.
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
}

impl<'c> Http1<'c> {
    pub(super) fn new(
        connection: &'c mut Connection,
        head: BytesMut,
        early: BytesMut,
        body: Framing,
        closes: bool,
        stop: &'c AtomicBool,
    ) -> Self {
        let early = if body == Framing::Upgrade {
            connection.await_switch(early);
            BytesMut::new()
        } else {
            early
        };
        Self {
            connection,
            head,
            early,
            body: Body::new(body),
            out: Vec::new(),
            written: 0,
            taken: 0,
            keeps: !closes,
            stop,
            progress: Progress::Waiting,
            form: Form::Plain,
            is_flushing: false,
        }
    }

    /// What becomes of the connection.
    pub(super) fn ended(self) -> Ended {
        if self.progress != Progress::Complete {
            Ended::Broken
        } else if self.keeps && self.body.is_over() {
            Ended::Kept
        } else {
            Ended::Closed
        }
    }

    /// The connection, for the protocol that it has been switched to.
    pub(super) fn into_connection(self) -> &'c mut Connection {
        self.connection
    }

    /// One piece of the body as it is on the wire.
    fn poll_raw(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, Failure>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(room.len());
            self.early
                .copy_to_slice(room.get_mut(..count).unwrap_or_default());
            return Poll::Ready(Ok(count));
        }
        let mut buffer = ReadBuf::new(room);
        let read = Pin::new(&mut *self.connection).poll_read(context, &mut buffer);
        ready!(read).map_err(Failure::of_client)?;
        match buffer.filled().len() {
            0 => Poll::Ready(Err(Failure::gone("the client left within its request"))),
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

    fn put_fields<'f>(&mut self, fields: impl Iterator<Item = Field<'f>>) {
        for (name, value) in fields {
            let start = self.out.len() + name.len();
            self.put(name, value);
            // A value of several lines (RFC 9112, 5.2) becomes one of one line.
            if memchr::memchr2(b'\r', b'\n', value).is_some() {
                let end = self.out.len() - 2;
                for byte in self.out.get_mut(start..end).unwrap_or_default() {
                    if matches!(*byte, b'\r' | b'\n') {
                        *byte = b' ';
                    }
                }
            }
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
    ) -> Poll<Result<usize, Failure>> {
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
        match ready!(written).map_err(Failure::of_client)? {
            0 => Poll::Ready(Err(Failure::gone("the connection takes nothing"))),
            count => Poll::Ready(Ok(self.note_taken(count))),
        }
    }
}

impl Client for Http1<'_> {
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, Failure>> {
        while !self.body.is_over() {
            let count = ready!(self.poll_raw(context, room))?;
            let raw = room.get_mut(..count).unwrap_or_default();
            match self.body.extract(raw) {
                Ok(0) => {}
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(BadChunk) => return Poll::Ready(Err(Failure::bad_chunk())),
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

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Failure> {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        // The gate lets nothing through any more, and keeps what comes for the next request.
        let read = ready!(Pin::new(&mut *self.connection).poll_read(context, &mut buffer));
        Poll::Ready(match read {
            Ok(()) => Failure::gone("the client left before its answer"),
            Err(error) => Failure::of_client(error),
        })
    }

    fn inform<'f>(
        &mut self,
        status: StatusCode,
        reason: &str,
        fields: impl Iterator<Item = Field<'f>>,
    ) {
        self.write_status(status, reason);
        self.put_fields(fields);
        self.out.extend_from_slice(b"\r\n");
    }

    fn close(&mut self) {
        self.keeps = false;
    }

    fn begin<'f>(
        &mut self,
        beginning: Beginning<'_>,
        fields: impl Iterator<Item = Field<'f>>,
    ) -> Result<(), Failure> {
        self.progress = Progress::Begun;
        self.connection.patience().begin_answer();
        // The rest of a body may never come, and could not be told from the next request.
        self.keeps &= self.body.is_over() && !self.stop.load(Ordering::Relaxed);
        self.write_status(beginning.status, beginning.reason);
        self.put_fields(fields);
        self.form = Form::Plain;
        match beginning.framing {
            Framing::None | Framing::Upgrade => {}
            Framing::Length(length) => {
                let mut text = itoa::Buffer::new();
                self.put(b"Content-Length", text.format(length).as_bytes());
            }
            Framing::Chunked | Framing::UntilClose => {
                self.form = Form::Chunks;
                self.put(b"Transfer-Encoding", b"chunked");
            }
        }
        if beginning.is_bodiless {
            self.form = Form::None;
        }
        if beginning.framing == Framing::Upgrade {
            self.connection.switch();
        } else {
            let connection: &[u8] = if self.keeps { b"keep-alive" } else { b"close" };
            self.put(b"Connection", connection);
        }
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn write(&mut self, context: &mut Context<'_>, mut data: &[u8]) -> Result<(), Failure> {
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

    fn end(&mut self) -> Result<(), Failure> {
        if self.form == Form::Chunks {
            self.out.extend_from_slice(LAST_CHUNK);
        }
        self.progress = Progress::Complete;
        Ok(())
    }

    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while !self.waiting().is_empty() {
            ready!(self.poll_write(context, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        ready!(self.poll_taken(context))?;
        let flushed = Pin::new(&mut *self.connection).poll_flush(context);
        self.is_flushing = flushed.is_pending();
        flushed.map_err(Failure::of_client)
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

    fn view(&self) -> Option<View<'_>> {
        let mut room = request::room();
        let (_, target, fields) = request::parse(&self.head, &mut room)?;
        let host = fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("host"));
        View::read(target.as_bytes(), None, host.map(|field| field.value)).ok()
    }

    fn method(&self) -> Method {
        let mut room = request::room();
        let parsed = request::parse(&self.head, &mut room);
        parsed
            .and_then(|(method, ..)| method.parse().ok())
            .unwrap_or_default()
    }

    fn target(&self) -> &[u8] {
        let mut room = request::room();
        match request::parse(&self.head, &mut room) {
            Some((_, target, _)) => target.as_bytes(),
            None => &[],
        }
    }

    fn accept(&self) -> Option<&[u8]> {
        let mut room = request::room();
        let (_, _, fields) = request::parse(&self.head, &mut room)?;
        let accept = fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("accept"));
        accept.map(|field| field.value)
    }

    fn abandon(&mut self) {
        self.progress = Progress::Abandoned;
    }
}
