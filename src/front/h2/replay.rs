//! What was read of a request's body, for another try of the request.

use bytes::{Bytes, BytesMut};

/// How much is kept, as Pingora has it for HTTP/1.
const MOST: usize = 64 * 1024;

/// The body so far, as long as it is short.
#[derive(Debug, Default)]
pub(super) struct Replay {
    kept: BytesMut,
    is_truncated: bool,
}

impl Replay {
    /// Remembers the next piece; one that is too much has all of them forgotten.
    pub(super) fn note(&mut self, piece: &[u8]) {
        if self.is_truncated {
            return;
        }
        if self.kept.len() + piece.len() > MOST {
            self.kept = BytesMut::new();
            self.is_truncated = true;
        } else {
            self.kept.extend_from_slice(piece);
        }
    }

    /// Whether the body was too long.
    pub(super) fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// The body so far; none if there is none, or it was too long.
    pub(super) fn body(&self) -> Option<Bytes> {
        (!self.kept.is_empty()).then(|| self.kept.clone().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_body_is_kept_and_a_long_one_is_not() {
        let mut replay = Replay::default();
        assert_eq!(replay.body(), None);
        replay.note(b"some");
        replay.note(b"thing");
        assert_eq!(replay.body().as_deref(), Some(&b"something"[..]));
        replay.note(&vec![0; MOST - 9]);
        assert_eq!(replay.body().map(|body| body.len()), Some(MOST));
        replay.note(b"!");
        assert!(replay.is_truncated());
        replay.note(b"short");
        assert_eq!(replay.body(), None);
    }
}
