//! The client's side of the bridge, whoever has read the request.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::super::peer::Asker;

/// A request as the router gets it, but for its body.
pub(super) struct Head {
    pub(super) method: Method,
    /// The target as the client wrote it.
    pub(super) target: Vec<u8>,
    pub(super) fields: HeaderMap,
    pub(super) asker: Asker,
    pub(super) is_http2: bool,
    /// Whether the client waits for a word before it sends the body.
    pub(super) expects: bool,
}

/// The head of a response.
pub(super) struct Start {
    pub(super) status: StatusCode,
    /// The fields without those of the framing.
    pub(super) fields: HeaderMap,
    /// How many bytes the body has, or the one that a `HEAD` has asked about; none if that is not known.
    pub(super) length: Option<u64>,
    pub(super) is_bodiless: bool,
}

/// Why the exchange broke off, for the log.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The client's side of an exchange.
pub(super) trait Channel: Send {
    /// The next piece of the request's body; none at its end.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, Broken>> + Send;

    /// Asks the client to send the body (RFC 9110, 10.1.1).
    fn send_continue(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Whether the body has been read to its end.
    fn is_body_done(&mut self) -> bool;

    /// The response is the connection's last.
    fn close(&mut self);

    /// Sends the head of the response.
    fn begin(&mut self, start: Start) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Sends a piece of the response.
    fn write(&mut self, data: Bytes) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Sends the end of the response.
    fn finish(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Returns once the client has left.
    fn gone(&mut self) -> impl Future<Output = Broken> + Send;
}
