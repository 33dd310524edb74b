//! The client's connection as Pingora sees it: the transport with a gate in front of its reads.
//!
//! The gate hands out the bytes of the current request and no more. What a client sends ahead (the
//! next request, pipelined: RFC 9112, 9.3.2) waits here until its turn; a bare Pingora ends the
//! request in progress when it meets such bytes. Between requests the connection holds no buffer:
//! reads go through one scratch buffer per thread, and only what arrived is kept.
//!
//! Two limits that Pingora has only one timer for live here as well: how long an origin may take
//! for its first byte, and how long it may pause between two.

use std::cell::RefCell;
mod cut;
mod paced;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::abort::AbortHandle;
use super::caller::Caller;
use super::chunked::{BadChunk, ChunkScan};
use super::framing::Framing;
use super::gate::Gate;
use super::listener::ListenerMode;
use super::sniff::Sniff;
use super::upstream_timeouts::UpstreamTimeouts;
use super::websocket::{FrameLimits, WebSocket};
use paced::{Activity, Watched};

/// How much of the next requests is kept while one is in progress; then the client's TCP waits.
const MOST_AHEAD: usize = 64 * 1024;

/// One read of the scratch buffer.
const SCRATCH: usize = 16 * 1024;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A client's connection with the gate in front of its reads.
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub(crate) struct Connection {
    pub(super) transport: Stream,
    /// The protocols that the first bytes of the connection may still be of.
    pub(super) sniff: Sniff,
    /// The mode in which its requests are served.
    pub(super) mode: ListenerMode,
    /// Whether the request in progress is the last that it serves.
    pub(super) is_last: bool,
    /// As [`Caller::takes_much`], of the request in progress.
    pub(super) takes_much: bool,
    /// Bytes that came before their turn.
    pub(super) ahead: BytesMut,
    gate: Gate,
    /// How far a chunked body has come.
    chunks: ChunkScan,
    upstream_timeouts: UpstreamTimeouts,
    /// Whether its next request came before the last response was complete.
    pub(super) is_pipelined: bool,
    /// Until when the connection was left alone, if its last request was shed.
    pub(super) rested: Option<Instant>,
    /// Whether the transport may still hold bytes for the client.
    unflushed: bool,
    /// Whether a byte of the answer has gone to the client; interim ones do not count.
    begun: bool,
    /// By what the exchange in progress can be ended.
    abort: Arc<AbortHandle>,
    /// Whether the next answer opens a WebSocket.
    is_switching: AtomicBool,
    /// The frames, once a WebSocket is open.
    websocket: Option<Box<WebSocket>>,
    /// The limits on the WebSocket frames and messages that the client sends.
    frames: Option<Arc<FrameLimits>>,
    /// The state of the watch on a request that Pingora serves.
    watched: Option<Box<Watched>>,
}

impl Connection {
    pub(crate) fn new(transport: Stream, abort: Arc<AbortHandle>) -> Self {
        Self {
            transport,
            sniff: Sniff::Over,
            mode: ListenerMode::SERVING,
            ahead: BytesMut::new(),
            gate: Gate::Length(0),
            chunks: ChunkScan::default(),
            upstream_timeouts: UpstreamTimeouts::default(),
            is_pipelined: false,
            rested: None,
            unflushed: false,
            begun: false,
            abort,
            is_switching: AtomicBool::new(false),
            websocket: None,
            is_last: false,
            takes_much: false,
            frames: None,
            watched: None,
        }
    }

    /// A connection in cleartext, with bytes that have been read from it already.
    pub(super) fn sniffing(mut self, sniff: Sniff, bytes: BytesMut) -> Self {
        self.sniff = sniff;
        self.ahead = bytes;
        self
    }

    /// Sets the mode of the listener and the limits on WebSocket frames.
    pub(super) fn treated(mut self, mode: ListenerMode, frames: Option<Arc<FrameLimits>>) -> Self {
        self.mode = mode;
        self.frames = frames;
        self
    }

    /// The transport, for another protocol than HTTP/1.
    pub(super) fn into_transport(self) -> Stream {
        self.transport
    }

    /// The connection behind a stream of Pingora's, if it came through the front.
    pub(crate) fn of(stream: &Stream) -> Option<&Self> {
        (**stream).as_any().downcast_ref()
    }

    /// Takes the connection back from Pingora.
    pub(crate) fn reclaim(stream: Stream) -> Option<Box<Self>> {
        stream.into_any().downcast().ok()
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> Caller {
        Caller::of(
            self.transport.get_socket_digest(),
            self.transport.get_proxy_digest(),
            self.transport.get_ssl_digest(),
            self.mode.redirect,
            self.mode.registers,
        )
    }

    /// The response, not only an interim one, begins.
    pub(super) fn begin_response(&self) {
        self.upstream_timeouts.begin_answer();
    }

    /// The limits on the origin's pauses.
    pub(crate) fn upstream_timeouts(&self) -> &UpstreamTimeouts {
        &self.upstream_timeouts
    }

    /// By what the exchange in progress can be ended.
    pub(crate) fn abort(&self) -> &AbortHandle {
        &self.abort
    }

    /// A handle of its own to end the exchange in progress by.
    pub(crate) fn abort_handle(&self) -> Arc<AbortHandle> {
        Arc::clone(&self.abort)
    }

    /// The answer that comes next, a 101, opens a WebSocket.
    pub(crate) fn begin_websocket(&self) {
        self.is_switching.store(true, Ordering::Relaxed);
    }

    /// Keeps what the client sends until it is known whose it is: the next protocol's, if the answer
    /// agrees to one, or the next request's. `early` has come behind the request's head.
    pub(crate) fn await_switch(&mut self, early: BytesMut) {
        self.gate = Gate::Length(0);
        self.ahead = early;
    }

    /// The answer that is about to be written opens a WebSocket: what the client sends is its.
    pub(crate) fn switch(&mut self) {
        self.gate = Gate::Open;
        self.websocket = Some(Box::new(WebSocket::new(self.frames.clone())));
    }

    /// Opens the gate for a new request: `early` are bytes behind its head, already read.
    ///
    /// Returns the part of them that belongs to the request; the rest waits for its turn.
    pub(crate) fn open(&mut self, framing: Framing, mut early: BytesMut) -> BytesMut {
        self.close();
        self.sniff = Sniff::Over;
        self.upstream_timeouts.reset();
        self.gate = framing.into();
        self.chunks = ChunkScan::default();
        let own = self.pass(&early);
        self.ahead = early.split_off(own);
        early
    }

    /// The exchange has ended: until the next one begins, nothing can be cut.
    pub(super) fn close(&mut self) {
        self.abort.reset();
        self.begun = false;
        self.websocket = None;
        self.watched = None;
        self.is_switching = AtomicBool::new(false);
    }

    /// Whether the request's body is not the chunks that its head has announced.
    pub(super) fn is_malformed(&self) -> bool {
        self.chunks.is_odd()
    }

    /// Whether the client may go on sending a body: a response has come before its end.
    pub(super) fn is_body_left(&self) -> bool {
        self.websocket.is_none() && !matches!(self.gate, Gate::Length(0))
    }

    /// How many of the next bytes belong to the request; the gate moves behind them.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        match &mut self.gate {
            Gate::Length(left) => {
                let own = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= own as u64;
                own
            }
            Gate::Chunked => match self.chunks.end(bytes) {
                Some(own) => {
                    self.gate = Gate::Length(0);
                    own
                }
                None => bytes.len(),
            },
            Gate::Open => bytes.len(),
        }
    }

    /// Waits for bytes between requests and appends them to `buffer`; 0 at the end of the stream.
    pub(crate) async fn fill(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_fill(context, buffer)).await
    }

    /// Poll form of `fill`.
    pub(super) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        if !self.ahead.is_empty() {
            let ahead = std::mem::take(&mut self.ahead);
            let count = ahead.len();
            if buffer.is_empty() {
                *buffer = ahead;
            } else {
                buffer.extend_from_slice(&ahead);
            }
            return Poll::Ready(Ok(count));
        }
        read_scratch(&mut self.transport, context, buffer)
    }

    /// Reads what the client sends ahead of its turn; ready only at the end of the stream.
    pub(super) fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < MOST_AHEAD {
            match read_scratch(&mut self.transport, context, &mut self.ahead) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Pending
    }

    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.transport).poll_read(context, buffer);
        let count = polled.is_ready().then(|| buffer.filled().len() - before);
        self.note_upload(count)?;
        std::task::ready!(polled)?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        let own = self.pass(read);
        if self.is_malformed() {
            let error = io::Error::new(io::ErrorKind::InvalidData, BadChunk);
            return Poll::Ready(Err(error));
        }
        self.ahead
            .extend_from_slice(read.get(own..).unwrap_or_default());
        buffer.set_filled(before + own);
        Poll::Ready(Ok(()))
    }

    /// Sends what waits in the transport's buffer, ready only with an error. Pingora 0.9.1 flushes
    /// an answer that has a length only at its end, however long the origin takes for the rest.
    fn poll_unflushed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.transport).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Pending
    }

    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.gate {
            Gate::Length(0) => match self.poll_ahead(context) {
                Poll::Pending => self.poll_wait(context),
                ended @ Poll::Ready(_) => ended,
            },
            Gate::Length(_) | Gate::Chunked => self.poll_body(context, buffer),
            Gate::Open => {
                let before = buffer.filled().len();
                let read = self.poll_upgraded(context, buffer);
                if read.is_pending() {
                    return self.poll_wait(context);
                }
                self.note_frames();
                let most = self.note_read(buffer.filled().get(before..).unwrap_or_default());
                match most {
                    None => read,
                    Some(most) => self.cut_at((before, before + most), context, buffer),
                }
            }
        }
    }

    /// Reads on in what the client says in the next protocol.
    fn poll_upgraded(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.transport).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(count));
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Remembers that an upgraded connection is in use: there the silence of both sides counts. How much of
    /// what was read may be handed out, if not all.
    fn note_read(&mut self, bytes: &[u8]) -> Option<usize> {
        self.note_activity(Activity::Read);
        self.websocket.as_mut()?.note_read(bytes)
    }

    /// Remembers what went to the client.
    fn note_write<'a>(&mut self, slices: impl Iterator<Item = &'a [u8]>, written: usize) {
        self.unflushed = true;
        self.begun = self.begun || self.upstream_timeouts.is_answered();
        self.note_activity(Activity::Write);
        if self.websocket.is_none() && self.is_switching.load(Ordering::Relaxed) {
            self.switch();
        }
        if let Some(websocket) = &mut self.websocket {
            let mut left = written;
            for bytes in slices {
                let own = bytes.get(..left).unwrap_or(bytes);
                websocket.note_write(own);
                left -= own.len();
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.abort.is_aborted() {
            return this.poll_cut_read(context, buffer);
        }
        this.note_asked();
        match this.poll_request(context, buffer) {
            Poll::Pending => this.poll_unflushed(context),
            read @ Poll::Ready(_) => read,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.abort.is_aborted() {
            return this.poll_cut_write(context, bytes);
        }
        let written = Pin::new(&mut this.transport).poll_write(context, bytes);
        this.note_download(&written, context)?;
        let written = std::task::ready!(written)?;
        this.note_write(std::iter::once(bytes), written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = std::task::ready!(Pin::new(&mut this.transport).poll_flush(context));
        this.unflushed = false;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.abort.is_aborted() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return this.poll_cut_write(context, first.map_or(&[], |slice| slice));
        }
        let written = Pin::new(&mut this.transport).poll_write_vectored(context, slices);
        this.note_download(&written, context)?;
        let written = std::task::ready!(written)?;
        this.note_write(slices.iter().map(|slice| &**slice), written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("id", &self.transport.id())
            .field("gate", &self.gate)
            .field("ahead", &self.ahead.len())
            .finish_non_exhaustive()
    }
}

/// One read through the thread's scratch buffer, appended to `buffer`.
fn read_scratch(
    transport: &mut Stream,
    context: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    SCRATCH_BUFFER.with_borrow_mut(|scratch| {
        let mut read = ReadBuf::new(scratch);
        std::task::ready!(Pin::new(transport).poll_read(context, &mut read))?;
        buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
}
