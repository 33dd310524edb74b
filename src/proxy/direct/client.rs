//! What an exchange asks of its client's side, whatever HTTP is spoken there.

use std::task::{Context, Poll};

use http::{Method, StatusCode};

use super::body::Framing;
use super::failure::Failure;
use crate::proxy::context::View;

/// A field of an answer: its name in any case, and its value.
pub(super) type Field<'f> = (&'f [u8], &'f [u8]);

/// The beginning of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning<'a> {
    pub(super) status: StatusCode,
    /// The reason phrase as the target has it; may be empty.
    pub(super) reason: &'a str,
    /// How the body comes; the client's side may frame it otherwise.
    pub(super) framing: Framing,
    /// Whether the answer is to `HEAD`, or has no body for another reason: its framing is only said.
    pub(super) is_bodiless: bool,
}

/// The client's side of an exchange. What is written is kept until the client takes it: whoever writes
/// asks [`Client::poll_taken`] before it writes more.
pub(super) trait Client: Send {
    /// Reads on in the request's body, into `room`; 0 at its end.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, Failure>>;

    /// Whether the body has been read to its end.
    fn is_body_over(&self) -> bool;

    /// Whether the rest of the body is to be read after the answer.
    fn wants_drain(&self) -> bool;

    /// Ready once the client has gone; asked when the body is over.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Failure>;

    /// Writes an interim answer, if the client can take one.
    fn inform<'f>(
        &mut self,
        status: StatusCode,
        reason: &str,
        fields: impl Iterator<Item = Field<'f>>,
    );

    /// The answer that comes is the connection's last, where answers come one after another.
    fn close(&mut self);

    /// Writes the head of the answer. The fields are those that are meant for the client, without those
    /// of the framing.
    ///
    /// # Errors
    /// The client cannot be told that.
    fn begin<'f>(
        &mut self,
        beginning: Beginning<'_>,
        fields: impl Iterator<Item = Field<'f>>,
    ) -> Result<(), Failure>;

    /// Writes a piece of the answer's body.
    ///
    /// # Errors
    /// The client has gone.
    fn write(&mut self, context: &mut Context<'_>, data: &[u8]) -> Result<(), Failure>;

    /// Writes the end of the answer.
    ///
    /// # Errors
    /// The client has gone.
    fn end(&mut self) -> Result<(), Failure>;

    /// Ready once everything that was written is on its way, or in a buffer of the transport's.
    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>>;

    /// Ready once everything that was written is on its way.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>>;

    /// Whether something that was written waits for the client.
    fn is_waiting(&self) -> bool;

    /// How many bytes are on their way so far.
    fn taken(&self) -> u64;

    /// Whether the answer, not only an interim one, has begun.
    fn has_begun(&self) -> bool;

    /// The request as it is matched; none if it cannot be.
    fn view(&self) -> Option<View<'_>>;

    /// The request's method.
    fn method(&self) -> Method;

    /// The request's target as it came.
    fn target(&self) -> &[u8];

    /// The request's `Accept` field.
    fn accept(&self) -> Option<&[u8]>;

    /// No answer, or no more of it, can be written: the client is not to take what it has for all.
    fn abandon(&mut self);
}
