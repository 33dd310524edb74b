//! One stream of HTTP/2 as the proxy's session: Pingora's own, which has neither a time limit for
//! the request's body nor a way to be ended from outside, within what adds both.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};

use super::super::hold::StreamHold;
use super::super::leash::Drained;
use super::super::wait::Wait;
use super::resets::Resets;

type Messages = Box<dyn futures_util::Stream<Item = Result<Bytes>> + Unpin + Send + Sync>;

/// A stream in use.
pub(super) struct Stream {
    inner: HttpSession,
    hold: Arc<StreamHold>,
    wait: Wait,
    read_timeout: Option<Duration>,
    resets: Arc<Resets>,
    began: Instant,
    /// Whether the answer is complete.
    is_ended: bool,
    /// Whether the client has reset the stream.
    is_reset: bool,
}

impl Stream {
    pub(super) fn new(inner: HttpSession, hold: Arc<StreamHold>, resets: Arc<Resets>) -> Self {
        Self {
            inner,
            hold,
            wait: Wait::default(),
            read_timeout: None,
            resets,
            began: Instant::now(),
            is_ended: false,
            is_reset: false,
        }
    }

    fn check_cut(&self) -> Result<()> {
        if self.hold.leash.is_cut() {
            self.cut()
        } else {
            Ok(())
        }
    }

    /// What a read or a write meets once the exchange is cut. Before the answer has begun, this is
    /// said once: the proxy's own answer comes then.
    fn cut<T>(&self) -> Result<T> {
        if self.inner.response_written().is_none() {
            self.hold.leash.release();
        }
        broken(Drained.into())
    }

    /// Waits until the client resets the stream, or has waited for too long: always an error.
    async fn idle<T>(&mut self) -> Result<T> {
        let (hold, wait) = (&self.hold, &mut self.wait);
        let mut idle = pin!(self.inner.idle());
        let reset = until_cut(
            hold,
            std::future::poll_fn(|context| match idle.as_mut().poll(context) {
                Poll::Ready(reason) => Poll::Ready(Ok(reason)),
                Poll::Pending => poll_silence(wait, hold, context).map(Err),
            }),
        );
        match reset.await {
            None => self.cut(),
            Some(Err(silent)) => broken(silent),
            Some(Ok(reason)) => {
                self.is_reset = true;
                let reason = match reason {
                    Ok(reason) => format!("the client reset the stream: {reason}"),
                    Err(error) => format!("the connection is gone: {error}"),
                };
                Err(Error::explain(ErrorType::ConnectionClosed, reason).into_down())
            }
        }
    }

    /// One piece of the request's body.
    async fn read(&mut self) -> Result<Option<Bytes>> {
        self.check_cut()?;
        let limit = self.read_timeout;
        let hold = &self.hold;
        let read = self.inner.read_body_bytes();
        let read = async {
            match limit {
                Some(limit) => match pingora_timeout::timeout(limit, read).await {
                    Ok(read) => read,
                    Err(_elapsed) => Error::e_explain(
                        ErrorType::ReadTimedout,
                        format!("reading body, timeout: {limit:?}"),
                    ),
                },
                None => read.await,
            }
        };
        let read = until_cut(hold, read).await;
        match read {
            Some(Ok(piece)) => Ok(piece),
            Some(Err(error)) => {
                self.is_reset |= *error.etype() == ErrorType::ReadError;
                Err(error.into_down())
            }
            None => self.cut(),
        }
    }

    async fn write(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.check_cut()?;
        let hold = &self.hold;
        match until_cut(hold, self.inner.write_body(data, end)).await {
            Some(written) => written.map_err(Error::into_down)?,
            None => return self.cut(),
        }
        self.wait.note_activity(&self.hold.patience);
        self.is_ended |= end;
        Ok(())
    }

    fn write_head(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.check_cut()?;
        let is_final = !head.status.is_informational();
        self.inner
            .write_response_header(head, end)
            .map_err(Error::into_down)?;
        self.wait.note_activity(&self.hold.patience);
        self.is_ended |= end && is_final;
        Ok(())
    }

    fn write_last(&mut self, trailers: HeaderMap) -> Result<()> {
        self.check_cut()?;
        self.inner
            .write_trailers(trailers)
            .map_err(Error::into_down)?;
        self.is_ended = true;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.inner.finish().map_err(Error::into_down)?;
        self.is_ended |= self.inner.response_written().is_some();
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_ended {
            self.resets.earn();
        } else if self.is_reset && self.inner.response_written().is_none() {
            self.resets.spend(self.began.elapsed());
        } else {
            // The client must not take what it has for the whole.
            self.inner.shutdown();
        }
    }
}

/// An error on the client's side whose cause the front knows.
fn broken<T>(cause: io::Error) -> Result<T> {
    let error = Error::because(ErrorType::ReadError, "while waiting for the origin", cause);
    Err(error.into_down())
}

/// Runs `work` until it is done or the exchange is cut.
async fn until_cut<T>(hold: &StreamHold, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        if hold.leash.is_cut() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// Ready once the origin has been silent for too long.
fn poll_silence(wait: &mut Wait, hold: &StreamHold, context: &mut Context<'_>) -> Poll<io::Error> {
    match wait.poll(&hold.patience, context) {
        Poll::Ready(Err(silent)) => Poll::Ready(silent),
        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
    }
}

#[async_trait]
impl Session for Stream {
    fn req_header(&self) -> &RequestHeader {
        self.inner.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read().await
    }

    /// What is left of a body is not read: the end of the stream tells the client to stop.
    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.write_head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_head(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.write(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.write_last(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut is_over = false;
        for task in tasks {
            is_over |= match task {
                HttpTask::Header(head, end) => {
                    self.write_head(head, end)?;
                    end
                }
                HttpTask::Body(data, end) => {
                    if let Some(data) = data.filter(|data| !data.is_empty()) {
                        self.write(data, end).await?;
                    }
                    end
                }
                HttpTask::Trailer(trailers) => {
                    if let Some(trailers) = trailers {
                        self.write_last(*trailers)?;
                    }
                    true
                }
                HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
                HttpTask::UpgradedBody(..) => {
                    let reason = "another protocol within HTTP/2";
                    return Error::e_explain(ErrorType::InternalError, reason);
                }
            };
        }
        if is_over {
            self.end()?;
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
        self.inner.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.response_written()
    }

    async fn shutdown(&mut self, code: u32, _context: &str) {
        self.inner.shutdown_with_reason(code.into());
    }

    async fn abandon(&mut self, _context: &str) {
        self.inner.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.inner.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        self.inner.is_body_empty()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.inner.is_body_done() {
            self.idle().await
        } else {
            self.read().await
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.inner.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.inner.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.inner.get_retry_buffer()
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
