//! The body of a request on its way to an upstream, from the beginning once more if need be.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};

use crate::front::{Downstream, DownstreamError};

/// How many bytes of a body are kept to be sent again.
const LONGEST_REPLAY: usize = 64 * 1024;

/// The body of a request.
#[derive(Debug, Default)]
pub(super) struct RequestBody {
    /// The bytes that have been read of it, as long as that is short and may have to be sent again.
    kept: BytesMut,
    is_kept: bool,
    /// Whether anything was read that is not kept.
    is_lost: bool,
    /// The bytes that are to be sent again before the rest.
    again: Bytes,
}

/// One piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) length: usize,
    /// How many bytes of it have come from the client now, rather than for an earlier try.
    pub(super) fresh: usize,
    /// Whether the body ends behind it.
    pub(super) is_last: bool,
}

impl RequestBody {
    /// Has everything that is read from now on kept, if nothing is lost yet.
    pub(super) fn keep(&mut self) {
        self.is_kept = !self.is_lost;
    }

    /// The request will not be sent again.
    pub(super) fn settle(&mut self) {
        self.is_kept = false;
        self.is_lost = true;
        self.kept = BytesMut::new();
    }

    /// Begins from the front again; whether it can.
    pub(super) fn rewind(&mut self) -> bool {
        let can = !self.is_lost;
        self.again = std::mem::take(&mut self.kept).freeze();
        self.is_kept = false;
        can
    }

    /// The next piece, into `room`; an empty one is the last.
    pub(super) fn poll_piece<D: Downstream>(
        &mut self,
        downstream: &mut D,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<Piece, DownstreamError>> {
        if !self.again.is_empty() {
            return Poll::Ready(Ok(self.repeat(downstream, room)));
        }
        let length = ready!(downstream.poll_body(context, room))?;
        self.note(room.get(..length).unwrap_or_default());
        Poll::Ready(Ok(Piece {
            length,
            fresh: length,
            is_last: length == 0 || downstream.is_body_over(),
        }))
    }

    fn repeat<D: Downstream>(&mut self, downstream: &D, room: &mut [u8]) -> Piece {
        let length = self.again.len().min(room.len());
        self.again
            .copy_to_slice(room.get_mut(..length).unwrap_or_default());
        // It is sent for the last time.
        self.is_lost = true;
        Piece {
            length,
            fresh: 0,
            is_last: self.again.is_empty() && downstream.is_body_over(),
        }
    }

    fn note(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        if self.is_kept && self.kept.len() + piece.len() <= LONGEST_REPLAY {
            self.kept.extend_from_slice(piece);
        } else {
            self.settle();
        }
    }
}
