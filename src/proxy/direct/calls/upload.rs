//! What a call sends: its body, from the beginning once more if need be.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use crate::front::RequestBody;

/// How much of a body is kept to be sent again.
const LONGEST_REPLAY: usize = 64 * 1024;

/// The body of a call.
pub(super) struct Upload {
    body: RequestBody,
    /// What has been taken of it, as long as that is short and may have to be sent again. A copy: a piece
    /// itself would keep all that was read with it.
    kept: BytesMut,
    is_kept: bool,
    /// What is to be sent again before the rest.
    again: Bytes,
}

/// One piece of a body.
pub(super) enum Piece {
    /// It comes from the client now.
    New(Bytes),
    /// It was sent before, to somebody who has not looked at it.
    Again(Bytes),
}

impl Upload {
    pub(super) fn new(body: RequestBody) -> Self {
        Self {
            body,
            kept: BytesMut::new(),
            is_kept: true,
            again: Bytes::new(),
        }
    }

    /// The next piece, never an empty one; none at the end.
    pub(super) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, h2::Error>>> {
        if !self.again.is_empty() {
            let again = std::mem::take(&mut self.again);
            return Poll::Ready(Some(Ok(Piece::Again(again))));
        }
        let piece = ready!(self.body.poll_piece(context));
        if let Some(Ok(piece)) = &piece {
            self.note(piece);
        }
        Poll::Ready(piece.map(|piece| piece.map(Piece::New)))
    }

    fn note(&mut self, piece: &[u8]) {
        if !self.is_kept {
            return;
        }
        if self.kept.len() + piece.len() > LONGEST_REPLAY {
            self.settle();
        } else {
            self.kept.extend_from_slice(piece);
        }
    }

    /// Whether nothing is to come.
    pub(super) fn is_over(&self) -> bool {
        self.again.is_empty() && self.body.is_over()
    }

    /// The call will not be made again.
    pub(super) fn settle(&mut self) {
        self.is_kept = false;
        self.kept = BytesMut::new();
    }

    /// Begins from the front again, for the last time; whether it can.
    pub(super) fn rewind(&mut self) -> bool {
        let can = std::mem::take(&mut self.is_kept);
        self.again = std::mem::take(&mut self.kept).freeze();
        can
    }
}
