//! A session of Pingora's own HTTP/2 with the limits that Pingora 0.9.1 has none for.
//!
//! Over HTTP/2 Pingora has no read timeout, and nothing else that ends an exchange from outside. This
//! session adds the time that a client may take for its body, the time that an app may be silent, and the
//! cut when an instance, or the proxy, is taken down. Each is an error of a read or a write, so that the
//! client is told why. Everything else is Pingora's.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use log::debug;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{BError, Error, ErrorType, Result};

use super::super::abort::Drained;
use super::super::downstream_handle::StreamHandle;
use super::super::pace::{Paces, TooSlow};
use super::super::response_timer::ResponseTimer;

type Messages = Box<dyn futures_util::Stream<Item = Result<Bytes>> + Unpin + Send + Sync>;

/// A session of Pingora's and the limits of its exchange.
pub(super) struct Guarded {
    session: HttpSession,
    hold: Arc<StreamHandle>,
    wait: ResponseTimer,
    /// The time for one read of the request's body.
    read_timeout: Option<Duration>,
    paces: Paces,
    /// How many bytes of the response had been sent at the last look.
    sent: usize,
}

impl Guarded {
    pub(super) fn new(session: HttpSession, hold: Arc<StreamHandle>) -> Self {
        Self {
            session,
            hold,
            wait: ResponseTimer::default(),
            read_timeout: None,
            paces: Paces::default(),
            sent: 0,
        }
    }

    /// The error that a read or a write meets once the exchange is cut. Before the response has begun it
    /// is met once: the proxy's own reply comes then.
    #[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
    fn cut(&self) -> BError {
        if self.session.response_written().is_none() {
            self.hold.abort.release();
        }
        broken(Drained.into())
    }

    /// Reads the next piece of the request's body.
    async fn read(&mut self) -> Result<Option<Bytes>> {
        let limit = self.read_timeout;
        let hold = &*self.hold;
        hold.abort.upload().note_asked();
        let read = within(limit, self.session.read_body_bytes());
        let (paces, has_begun) = (&mut self.paces, hold.upstream_timeouts.is_answered());
        let read = waiting(read, || paces.note_read((&hold.rates, has_begun), None));
        let read = until_cut(hold, read).await;
        if let Some(Some(Ok(Some(piece)))) = &read {
            hold.abort.upload().note_piece();
            let note = self
                .paces
                .note_read((&hold.rates, has_begun), Some(piece.len()));
            note.map_err(slow)?;
        }
        match read {
            None => Err(self.cut()),
            Some(None) => {
                let reason = format!("reading body, timeout: {:?}", limit.unwrap_or_default());
                Err(Error::explain(ErrorType::ReadTimedout, reason).into_down())
            }
            Some(Some(read)) => read.map_err(Error::into_down),
        }
    }

    /// Waits until the client resets the stream or the app has been silent for too long: always an error.
    async fn idle<T>(&mut self) -> Result<T> {
        self.hold.abort.upload().note_asked();
        let (hold, wait) = (&self.hold, &mut self.wait);
        let mut idle = pin!(self.session.idle());
        let ended = std::future::poll_fn(|context| {
            if let Poll::Ready(reset) = idle.as_mut().poll(context) {
                return Poll::Ready(Ok(reset));
            }
            match wait.poll(&hold.upstream_timeouts, context) {
                Poll::Ready(Err(silent)) => Poll::Ready(Err(silent)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        });
        let reason = match until_cut(hold, ended).await {
            None => return Err(self.cut()),
            Some(Err(silent)) => return Err(broken(silent)),
            Some(Ok(Ok(reason))) => format!("the client reset the stream: {reason}"),
            Some(Ok(Err(error))) => format!("the connection is gone: {error}"),
        };
        Err(Error::explain(ErrorType::ConnectionClosed, reason).into_down())
    }

    /// Fails if the exchange is cut.
    fn check(&self) -> Result<()> {
        if self.hold.abort.is_aborted() {
            Err(self.cut())
        } else {
            Ok(())
        }
    }

    /// Notes that a write of the response has ended.
    fn note_written(&mut self) -> Result<()> {
        self.note_activity();
        let sent = self.session.body_bytes_sent();
        let fresh = sent.saturating_sub(std::mem::replace(&mut self.sent, sent));
        let note = self.paces.note_write(&self.hold.rates, Some(fresh));
        note.map_err(slow)
    }

    /// Notes that the response goes on.
    fn note_activity(&mut self) {
        self.wait.note_activity(&self.hold.upstream_timeouts);
    }
}

impl Drop for Guarded {
    /// A response without its end is reset, so that the client does not take it for a whole one.
    fn drop(&mut self) {
        self.session.shutdown();
    }
}

#[async_trait]
impl Session for Guarded {
    fn req_header(&self) -> &RequestHeader {
        self.session.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.session.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read().await
    }

    /// The rest of a body is not read: the end of the stream tells the client to stop.
    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.check()?;
        self.note_activity();
        self.session.write_response_header(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end)
            .await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        let task = HttpTask::Body(Some(data), end);
        self.response_duplex_vec(vec![task]).await.map(drop)
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.check()?;
        self.session.write_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.note_activity();
        let mut is_over = false;
        for task in tasks.into_iter().flat_map(pieces) {
            let (paces, rates) = (&mut self.paces, &self.hold.rates);
            let write = self.session.response_duplex_vec(vec![task]);
            let write = waiting(write, || paces.note_write(rates, None));
            let written = until_cut(&self.hold, write).await;
            is_over |= written.unwrap_or_else(|| Err(self.cut()))?;
            self.note_written()?;
        }
        Ok(is_over)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.session.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.session.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.session.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.session.response_written()
    }

    async fn shutdown(&mut self, code: u32, _context: &str) {
        self.session.shutdown_with_reason(code.into());
    }

    async fn abandon(&mut self, _context: &str) {
        self.session.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.session.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.session.finish()
    }

    fn is_body_empty(&mut self) -> bool {
        self.session.is_body_empty()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.session.is_body_done() {
            self.idle().await
        } else {
            self.read().await
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.session.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.session.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.session.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.session.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.session.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.session.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.session.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.session.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.session.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.session.get_retry_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}

/// An error on the client's side whose cause the front knows.
#[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
fn broken(cause: io::Error) -> BError {
    Error::because(ErrorType::ReadError, "while waiting for the app", cause).into_down()
}

/// A body in pieces of 8 KiB: how much of a piece a client has taken is not seen before it has all of it.
fn pieces(task: HttpTask) -> Vec<HttpTask> {
    const PIECE: usize = 8 * 1024;
    let HttpTask::Body(Some(mut data), is_end) = task else {
        return vec![task];
    };
    let mut pieces = Vec::with_capacity(data.len() / PIECE + 1);
    while data.len() > PIECE {
        pieces.push(HttpTask::Body(Some(data.split_to(PIECE)), false));
    }
    pieces.push(HttpTask::Body(Some(data), is_end));
    pieces
}

/// The error of a client that is too slow.
#[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
fn slow(slow: TooSlow) -> BError {
    broken(slow.into())
}

/// Runs `work` for at most so long.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => pingora_timeout::tokio_timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

/// Runs `work`; calls `note` when it has to wait. Whether the client is too slow is asked when it goes on.
async fn waiting<T>(
    work: impl Future<Output = T>,
    mut note: impl FnMut() -> std::result::Result<(), TooSlow>,
) -> T {
    let (mut work, mut is_waiting) = (pin!(work), false);
    std::future::poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        if polled.is_pending() && !std::mem::replace(&mut is_waiting, true) {
            note().unwrap_or_else(|slow| debug!("{slow}"));
        }
        polled
    })
    .await
}

/// Runs `work` until it is done or the exchange is cut.
async fn until_cut<T>(hold: &StreamHandle, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        if hold.abort.is_aborted() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}
