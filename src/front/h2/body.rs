//! The body of a request, as one stream brings it.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use log::debug;

/// The body of a request. What is taken of it opens the client's window again.
#[derive(Debug)]
pub(crate) struct RequestBody {
    stream: RecvStream,
    /// Whether its end was met.
    is_over: bool,
}

impl RequestBody {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            is_over: false,
        }
    }

    /// The next piece, never an empty one; none at the end.
    ///
    /// An error means that the stream, or the connection, is broken: the client has reset it, or does
    /// not keep to the length that it has announced.
    pub(crate) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        while !self.is_over {
            let piece = match ready!(self.stream.poll_data(context)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.is_over = true;
                    break;
                }
            };
            self.release(piece.len());
            // An empty frame may end a stream; as a chunk of HTTP/1 it would end the body.
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(piece)));
            }
        }
        Poll::Ready(None)
    }

    /// Whether nothing is to come; known before [`RequestBody::poll_piece`] says so, if there is no
    /// body or its last frame was the end of the stream.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over || self.stream.is_end_stream()
    }

    fn release(&mut self, count: usize) {
        if let Err(error) = self.stream.flow_control().release_capacity(count) {
            debug!("the window of a stream stays as it is: {error}");
        }
    }
}
