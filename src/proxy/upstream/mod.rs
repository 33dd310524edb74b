//! Upstreams: what an exchange asks of one, whatever HTTP it speaks and over whatever connection.

mod h2_connection;
pub(super) mod http1;
pub(super) mod http2;
mod key;
pub(super) mod pool;
mod read_on;
pub(super) mod response_reader;
pub(super) mod socket;
pub(super) mod tls;

use std::task::{Context, Poll};

use http::HeaderMap;

use super::rules::failure::Failure;
use super::rules::response::{Asked, ResponseHead};
use crate::front::{CHUNK_END, CHUNK_HEAD};

pub(super) use h2_connection::H2Connection;
pub(super) use key::KeyRef;
pub(super) use socket::Socket;

/// The most bytes of one read from either side.
pub(super) const PIECE: usize = 64 * 1024;

/// How many interim responses a request may have (RFC 9110, 15.2): an upstream that sends nothing else
/// holds its client.
const MOST_INTERIM: u32 = 100;

/// The buffer of a read: room for [`PIECE`] bytes, and around it for what makes them a chunk.
pub(super) const BUFFER: usize = CHUNK_HEAD + PIECE + CHUNK_END.len();

/// The properties of a request that an upstream needs to read its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) asked: Asked,
    /// The field of the request's id, in lower case.
    pub(super) id_field: &'static str,
}

/// Where a response goes.
pub(super) trait ResponseSink {
    /// An interim response has come.
    ///
    /// # Errors
    /// The client cannot be told.
    fn inform(&mut self, head: &ResponseHead<'_>) -> Result<(), Failure>;

    /// The head of the final response has come.
    ///
    /// # Errors
    /// The client cannot be told.
    fn begin(&mut self, head: &ResponseHead<'_>) -> Result<(), Failure>;

    /// A piece of its body has come.
    ///
    /// # Errors
    /// The client has gone.
    fn data(&mut self, context: &mut Context<'_>, data: &[u8]) -> Result<(), Failure>;

    /// Its end has come, with trailers if there are any.
    ///
    /// # Errors
    /// The client has gone.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure>;
}

/// The connection that an exchange with an upstream leaves behind.
pub(super) enum Leftover {
    /// A connection that can be used again.
    Http1(Socket),
    Http2(H2Connection),
    /// A connection that speaks another protocol from here on.
    Switched(Socket),
    /// Nothing: the connection is closed.
    Nothing,
}

/// One request at one upstream, sent and answered.
pub(super) trait Upstream: Send {
    /// Sends what waits; ready once nothing does.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Puts a piece of the request's body on its way: `count` bytes, which stand at [`CHUNK_HEAD`] in a
    /// buffer of [`BUFFER`] bytes.
    fn put(&mut self, context: &mut Context<'_>, buffer: &mut [u8], count: usize);

    /// Puts the end of the request's body on its way.
    fn end(&mut self);

    /// Whether the end of the request's body is on its way.
    fn is_ended(&self) -> bool;

    /// Whether the upstream takes nothing more; it may answer all the same.
    fn is_refused(&self) -> bool;

    /// Whether something waits to be sent.
    fn is_sending(&self) -> bool;

    /// How many bytes have been sent.
    fn sent(&self) -> u64;

    /// Reads on in the response, and hands what has come to `sink`.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        sink: &mut impl ResponseSink,
    ) -> Poll<Result<(), Failure>>;

    /// Whether the response is complete, or its head agrees to another protocol.
    fn is_over(&self) -> bool;

    /// Leaves the upstream: when the response is complete, or because of a failure.
    fn leave(self, failure: Option<&Failure>) -> Leftover;
}

/// Counts interim responses.
#[derive(Debug, Default)]
struct Interim(u32);

impl Interim {
    /// Whether there may be one more.
    fn count(&mut self) -> bool {
        self.0 += 1;
        self.0 <= MOST_INTERIM
    }
}
