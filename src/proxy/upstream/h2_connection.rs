//! A connection to an upstream of HTTP/2. It has one stream at a time, as one of HTTP/1.1 has one request: so
//! no request waits for another, whichever side is slow, and an app with several processes has work for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::SendStream;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use http::Request;
use log::debug;

use super::key::Origin;
use super::pool::Poolable;
use super::read_on::ReadOn;
use super::socket::Socket;

/// The flow-control window of a connection and of its stream, in bytes: an upstream may send so much ahead of
/// its client (RFC 9113, 5.2).
const WINDOW: u32 = 1024 * 1024;

/// The largest frame that a upstream is asked for.
const FRAME: u32 = 64 * 1024;

/// The budget for the overhead of small frames beside their payload, in bytes: enough for those of messages
/// of a few bytes, as many as the window has room for.
const FRAME_BUDGET: usize = 16 * 1024 * 1024;

/// The part that is kept of a request that the upstream does not take.
const SEND_BUFFER: usize = 128 * 1024;

/// A connection, driven by a task of its own.
#[derive(Debug)]
pub(in crate::proxy) struct H2Connection {
    sender: SendRequest<Bytes>,
    origin: Origin,
    ended: Arc<Ended>,
}

/// Whether a connection has ended, and who is woken by that.
#[derive(Debug, Default)]
struct Ended {
    is_over: AtomicBool,
    waker: AtomicWaker,
}

/// The stream of a request at its upstream.
pub(in crate::proxy) type Sent = (ResponseFuture, SendStream<Bytes>);

impl H2Connection {
    /// Begins to speak HTTP/2; it must be called within a runtime.
    pub(in crate::proxy) async fn open(socket: Socket) -> Result<Self, h2::Error> {
        let origin = socket.origin().clone();
        let (sender, connection) = options().handshake(ReadOn::new(socket)).await?;
        let ended = Arc::<Ended>::default();
        tokio::spawn(drive(connection, Arc::clone(&ended)));
        Ok(Self {
            sender,
            origin,
            ended,
        })
    }

    /// Sends the head of a request; with `is_whole` all there is.
    pub(in crate::proxy) fn send(
        &self,
        request: Request<()>,
        is_whole: bool,
    ) -> Result<Sent, h2::Error> {
        // A copy, since the sender itself may keep the stream, and then nothing would reset it.
        self.sender.clone().send_request(request, is_whole)
    }
}

impl Poolable for H2Connection {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn is_usable(&mut self) -> bool {
        !self.ended.is_over.load(Ordering::Relaxed)
    }

    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.ended.waker.register(context.waker());
        if self.ended.is_over.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

fn options() -> Builder {
    let mut options = Builder::new();
    options
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .data_frame_budget(FRAME_BUDGET)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

/// Moves the frames of a connection until it ends, which it does when its sender is dropped.
async fn drive(connection: Connection<ReadOn, Bytes>, ended: Arc<Ended>) {
    if let Err(error) = connection.await {
        debug!("a connection to a upstream broke off: {error}");
    }
    ended.is_over.store(true, Ordering::Release);
    ended.waker.wake();
}
