//! The client's side of an exchange: how a response is written and a request's body is read, whatever HTTP
//! the client speaks.

pub(super) mod http1;
pub(super) mod http2;

use std::io;
use std::task::{Context, Poll};

use http::{HeaderMap, StatusCode};

use super::chunked::BadChunk;
use pingora_core::protocols::Shutdown;

use super::abort::Drained;
use super::connection::Connection;
use super::fields::Field;
use super::framing::Framing;

/// Why a client's side does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownstreamError {
    /// The client has left.
    #[error("{0}")]
    Gone(&'static str),
    /// The client takes nothing of its response.
    #[error("it takes nothing of its response (timeouts.send)")]
    Stuck,
    /// The connection or the stream broke: the client has left.
    #[error(transparent)]
    Broken(io::Error),
    /// The body of the request is not what its head has announced.
    #[error("the chunked body is malformed")]
    BadChunk,
    /// The exchange was ended from outside.
    #[error("the exchange was cut: the app or the proxy is taken down")]
    Aborted,
    /// The response has a field that the client cannot be sent.
    #[error("a field of the response has a name or a value that HTTP/2 does not allow")]
    InvalidField,
}

impl From<io::Error> for DownstreamError {
    fn from(error: io::Error) -> Self {
        match error.get_ref() {
            Some(inner) if inner.is::<Drained>() => Self::Aborted,
            Some(inner) if inner.is::<BadChunk>() => Self::BadChunk,
            _ => Self::Broken(error),
        }
    }
}

impl From<h2::Error> for DownstreamError {
    fn from(error: h2::Error) -> Self {
        Self::Broken(io::Error::other(error))
    }
}

/// The first part of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseStart<'a> {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase as the upstream has it; may be empty.
    pub reason: &'a str,
    /// How the body comes; the client's side may frame it otherwise.
    pub(crate) framing: Framing,
    /// Whether the response is to `HEAD`, or has no body for another reason: then its framing is only
    /// announced.
    pub is_bodiless: bool,
}

/// The client's side of an exchange. What is written is kept until the client takes it: whoever writes
/// waits for [`Downstream::poll_taken`] before it writes more.
pub(crate) trait Downstream: Send {
    /// Reads on in the request's body, into `room`; 0 at its end.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, DownstreamError>>;

    /// Whether the body has been read to its end.
    fn is_body_over(&self) -> bool;

    /// Whether the rest of the body is to be read after the response.
    fn wants_drain(&self) -> bool;

    /// Ready once the client has gone. Never ready while a body is to come that has to be read first.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<DownstreamError>;

    /// Writes an interim response, if the client can take one.
    fn inform<'f>(
        &mut self,
        status: StatusCode,
        reason: &str,
        fields: impl Iterator<Item = Field<'f>>,
    );

    /// The response that comes is the connection's last, where responses come one after another.
    fn close(&mut self);

    /// Writes the head of the response. The fields are those that are meant for the client, without those
    /// of the framing.
    ///
    /// # Errors
    /// The client cannot be told that.
    fn begin<'f>(
        &mut self,
        start: ResponseStart<'_>,
        fields: impl Iterator<Item = Field<'f>>,
    ) -> Result<(), DownstreamError>;

    /// Writes a piece of the response's body.
    ///
    /// # Errors
    /// The client has gone.
    fn write(&mut self, context: &mut Context<'_>, data: &[u8]) -> Result<(), DownstreamError>;

    /// Writes the end of the response.
    ///
    /// # Errors
    /// The client has gone.
    fn end(&mut self) -> Result<(), DownstreamError>;

    /// Writes the end of the response, with trailers where the client's protocol has room for them.
    ///
    /// # Errors
    /// The client has gone.
    fn end_with(&mut self, trailers: HeaderMap) -> Result<(), DownstreamError>;

    /// Ready once everything that was written is on its way, or in a buffer of the transport's.
    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DownstreamError>>;

    /// Ready once everything that was written is on its way.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DownstreamError>>;

    /// Whether something that was written waits for the client.
    fn is_waiting(&self) -> bool;

    /// How many bytes are on their way so far.
    fn taken(&self) -> u64;

    /// Whether the response, not only an interim one, has begun.
    fn has_begun(&self) -> bool;

    /// No response, or no more of it, can be written: the client is not to take what it has for all.
    fn abandon(&mut self);

    /// How the connection goes on.
    fn after(&self) -> After;

    /// The connection, once it speaks another protocol; only HTTP/1 can.
    fn into_switched<'c>(self) -> Option<&'c mut Connection>
    where
        Self: 'c;
}

/// The outcome of a connection when its exchange has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Another request may follow.
    KeepAlive,
    /// The response is complete, and was the last.
    Close,
    /// The client is not to take what it has for all.
    Abort,
}

impl After {
    /// The connection, if another request may follow; else it is closed.
    pub(super) async fn keep(self, mut connection: Box<Connection>) -> Option<Box<Connection>> {
        match self {
            Self::KeepAlive => {
                connection.close();
                Some(connection)
            }
            Self::Close => {
                Shutdown::shutdown(&mut *connection).await;
                None
            }
            Self::Abort => None,
        }
    }
}
