//! A connection that is read to its end when it takes nothing more: an upstream that answers early and closes
//! may have said all that its client needs (RFC 9113, 8.1), while the h2 crate gives a connection up on the
//! first write that fails.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Socket;

/// A connection whose writes do not fail. What is written once one has failed is lost; the end of what is read
/// says so.
#[derive(Debug)]
pub(super) struct ReadOn {
    socket: Socket,
    has_failed: bool,
}

impl ReadOn {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            has_failed: false,
        }
    }

    /// The outcome of a write that may have failed; `instead` if it has.
    fn forgive<T>(
        &mut self,
        instead: T,
        write: impl FnOnce(Pin<&mut Socket>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.has_failed {
            return Poll::Ready(Ok(instead));
        }
        let written = ready!(write(Pin::new(&mut self.socket)));
        self.has_failed = written.is_err();
        Poll::Ready(Ok(written.unwrap_or(instead)))
    }
}

impl AsyncRead for ReadOn {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.get_mut().socket), context, buffer)
    }
}

impl AsyncWrite for ReadOn {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = |socket: Pin<&mut Socket>| AsyncWrite::poll_write(socket, context, bytes);
        self.get_mut().forgive(bytes.len(), write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum();
        let write = |socket: Pin<&mut Socket>| socket.poll_write_vectored(context, parts);
        self.get_mut().forgive(length, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = |socket: Pin<&mut Socket>| AsyncWrite::poll_flush(socket, context);
        self.get_mut().forgive((), flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = |socket: Pin<&mut Socket>| socket.poll_shutdown(context);
        self.get_mut().forgive((), shutdown)
    }
}
