//! The end of an exchange that is cut, or of a WebSocket whose client sends too much at a time.

use std::io;
use std::task::{Context, Poll};

use log::debug;
use pingora_core::protocols::Stream;
use tokio::io::ReadBuf;

use super::super::abort::Drained;
use super::super::websocket::WebSocket;
use super::Connection;

impl Connection {
    /// Ends a WebSocket whose client has sent too much at a time: what came before is still handed out.
    #[cold]
    pub(super) fn cut_at(
        &mut self,
        (start, end): (usize, usize),
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.abort.abort_any();
        buffer.set_filled(end);
        if end == start {
            return self.poll_cut_read(context, buffer);
        }
        Poll::Ready(Ok(()))
    }

    /// Returns the error of a read or a write once the exchange is cut, unless it is a WebSocket whose
    /// closing handshake is still possible.
    ///
    /// Before the response has begun, this error comes only once, so that the proxy can send its own reply.
    #[cold]
    pub(super) fn drained(&mut self) -> io::Error {
        if !self.begun {
            self.abort.release();
        }
        Drained.into()
    }

    /// The WebSocket with its transport, if it can part in good order.
    pub(super) fn parting(&mut self) -> Option<(&mut WebSocket, &mut Stream)> {
        let websocket = self.websocket.as_deref_mut()?;
        // What the client has sent ahead may end within a frame.
        let can_part = websocket.can_part() && self.ahead.is_empty();
        (can_part || websocket.is_parting()).then_some((websocket, &mut self.transport))
    }

    /// Why its WebSocket is closed, if the client has sent what it may not.
    pub(crate) fn refused_websocket(&self) -> Option<&'static str> {
        self.websocket.as_ref()?.refused()
    }

    /// Waits for the last words of a WebSocket whose origin has closed before its client.
    pub(in crate::front) async fn part(&mut self) {
        let Some(websocket) = &mut self.websocket else {
            return;
        };
        let transport = &mut self.transport;
        let parted =
            std::future::poll_fn(|context| websocket.poll_last_words(transport, context)).await;
        if let Err(error) = parted {
            debug!("a client left before its closing handshake was over: {error}");
        }
    }

    #[cold]
    pub(super) fn poll_cut_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.parting() {
            Some((websocket, transport)) => websocket.poll_read(transport, context, buffer),
            None => Poll::Ready(Err(self.drained())),
        }
    }

    #[cold]
    pub(super) fn poll_cut_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.parting() {
            Some((websocket, transport)) => websocket.poll_write(transport, context, bytes),
            None => Poll::Ready(Err(self.drained())),
        }
    }
}
