//! One stream of HTTP/2 for the services behind the front: the request and its answer, with a time
//! limit for the request's body and a way to be ended from outside. Pingora's session over it is
//! `session`.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::http::HttpTask;
use pingora_core::{BError, Error, ErrorType, Result};

use super::super::hold::StreamHold;
use super::super::leash::Drained;
use super::super::wait::Wait;
use super::body::RequestBody;
use super::incoming::Incoming;
use super::replay::Replay;
use super::reply::Reply;

/// A stream in use.
pub(super) struct Stream {
    pub(super) request: RequestHeader,
    pub(super) body: RequestBody,
    pub(super) reply: Reply,
    /// The head of the answer, once it is sent.
    pub(super) written: Option<Box<ResponseHeader>>,
    /// Bytes of the answer's body.
    pub(super) sent: usize,
    /// The request's body so far, if it may be sent again.
    pub(super) replay: Option<Replay>,
    pub(super) limits: Limits,
    hold: Arc<StreamHold>,
    wait: Wait,
}

/// The limits that a session is given; none of them is set at first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Time for one read of the request's body.
    pub(super) read: Option<Duration>,
    /// Time for the client to take one piece of the answer.
    pub(super) write: Option<Duration>,
    /// Time for what is left of the request's body; it is not read here.
    pub(super) drain: Option<Duration>,
}

impl Stream {
    /// The request as Pingora has it; `hold` travels with it.
    pub(super) fn new(incoming: Incoming, hold: Arc<StreamHold>) -> Self {
        let Incoming {
            mut head,
            body,
            reply,
        } = incoming;
        head.extensions.insert(Arc::clone(&hold));
        Self {
            request: head.into(),
            body,
            reply,
            written: None,
            sent: 0,
            replay: None,
            limits: Limits::default(),
            hold,
            wait: Wait::default(),
        }
    }

    /// Whether the request has no body.
    pub(super) fn is_bodiless(&self) -> bool {
        let length = self.request.headers.get(CONTENT_LENGTH);
        let is_none = || length.is_some_and(|length| length.as_bytes() == b"0");
        self.body.taken() == 0 && (self.body.is_over() || is_none())
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
        if self.written.is_none() {
            self.hold.leash.release();
        }
        broken(Drained.into())
    }

    /// Waits until the client resets the stream, or has waited for too long: always an error.
    pub(super) async fn idle<T>(&mut self) -> Result<T> {
        let (hold, wait, reply) = (&self.hold, &mut self.wait, &mut self.reply);
        let reset = std::future::poll_fn(|context| match reply.poll_reset(context) {
            Poll::Ready(reason) => Poll::Ready(Ok(reason)),
            Poll::Pending => poll_silence(wait, hold, context).map(Err),
        });
        let reason = match until_cut(hold, reset).await {
            None => return self.cut(),
            Some(Err(silent)) => return broken(silent),
            Some(Ok(Ok(reason))) => format!("the client reset the stream: {reason}"),
            Some(Ok(Err(error))) => format!("the connection is gone: {error}"),
        };
        Err(Error::explain(ErrorType::ConnectionClosed, reason).into_down())
    }

    /// One piece of the request's body.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>> {
        self.check_cut()?;
        let limit = self.limits.read;
        let read = within(limit, self.body.piece());
        let piece = match until_cut(&self.hold, read).await {
            None => return self.cut(),
            Some(None) => return too_slow(ErrorType::ReadTimedout, "reading body", limit),
            Some(Some(None)) => return Ok(None),
            Some(Some(Some(piece))) => {
                piece.map_err(failed(ErrorType::ReadError, "reading the request's body"))?
            }
        };
        if let Some(replay) = &mut self.replay {
            replay.note(&piece);
        }
        Ok(Some(piece))
    }

    pub(super) async fn write(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.check_cut()?;
        if self.reply.is_complete() {
            return Ok(());
        }
        let (limit, length) = (self.limits.write, data.len());
        let written = within(limit, self.reply.write(data, end));
        match until_cut(&self.hold, written).await {
            None => return self.cut(),
            Some(None) => return too_slow(ErrorType::WriteTimedout, "writing body", limit),
            Some(Some(written)) => {
                written.map_err(failed(ErrorType::WriteError, "writing the answer's body"))?;
            }
        }
        self.sent += length;
        self.wait.note_activity(&self.hold.patience);
        Ok(())
    }

    pub(super) fn write_head(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.check_cut()?;
        self.wait.note_activity(&self.hold.patience);
        if head.status.is_informational() || self.written.is_some() {
            return Ok(());
        }
        let copy = Response::from_parts(head.as_owned_parts(), ());
        self.reply
            .begin(copy, end)
            .map_err(failed(ErrorType::WriteError, "writing the answer's head"))?;
        self.written = Some(head);
        Ok(())
    }

    pub(super) fn write_last(&mut self, trailers: HeaderMap) -> Result<()> {
        self.check_cut()?;
        self.reply
            .end_with(trailers)
            .map_err(failed(ErrorType::WriteError, "writing trailers"))
    }

    pub(super) fn end(&mut self) -> Result<()> {
        self.reply
            .finish()
            .map_err(failed(ErrorType::WriteError, "ending the answer"))
    }

    /// Writes one part of an answer; whether it was the last.
    pub(super) async fn write_task(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(head, end) => {
                self.write_head(head, end)?;
                Ok(end)
            }
            HttpTask::Body(data, end) => {
                if let Some(data) = data.filter(|data| !data.is_empty()) {
                    self.write(data, end).await?;
                }
                Ok(end)
            }
            HttpTask::Trailer(trailers) => {
                if let Some(trailers) = trailers {
                    self.write_last(*trailers)?;
                }
                Ok(true)
            }
            HttpTask::Done => Ok(true),
            HttpTask::Failed(error) => Err(error),
            HttpTask::UpgradedBody(..) => {
                let reason = "another protocol within HTTP/2";
                Error::e_explain(ErrorType::InternalError, reason)
            }
        }
    }
}

/// An error on the client's side whose cause the front knows.
fn broken<T>(cause: io::Error) -> Result<T> {
    let error = Error::because(ErrorType::ReadError, "while waiting for the origin", cause);
    Err(error.into_down())
}

/// An error on the client's side that h2 has reported.
fn failed(kind: ErrorType, doing: &'static str) -> impl FnOnce(h2::Error) -> BError {
    move |error| Error::because(kind, doing, error).into_down()
}

/// The client has taken more than its time.
fn too_slow<T>(kind: ErrorType, doing: &str, limit: Option<Duration>) -> Result<T> {
    let limit = limit.unwrap_or_default();
    Err(Error::explain(kind, format!("{doing}, timeout: {limit:?}")).into_down())
}

/// Runs `work` for at most so long; a timer is made only if there is something to wait for.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => pingora_timeout::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
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
