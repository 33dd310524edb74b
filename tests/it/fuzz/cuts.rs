//! Where reads cut bytes.

/// The bytes of an input, cut into reads in three ways: in one piece, in single bytes, and in pieces as the data says.
pub(super) struct Cuts<'d> {
    pub(super) bytes: &'d [u8],
    lengths: &'d [u8],
}

impl<'d> Cuts<'d> {
    /// Data begins with how many lengths of pieces there are, at most 7, and those.
    pub(super) fn of(data: &'d [u8]) -> Option<Self> {
        let (count, rest) = data.split_first()?;
        let (lengths, bytes) = rest.split_at_checked(usize::from(count % 8))?;
        Some(Self { bytes, lengths })
    }

    pub(super) fn whole(&self) -> Vec<&'d [u8]> {
        vec![self.bytes]
    }

    pub(super) fn single(&self) -> Vec<&'d [u8]> {
        self.bytes.chunks(1).collect()
    }

    /// Piece by piece as long as the data says, and the rest in one.
    pub(super) fn chosen(&self) -> Vec<&'d [u8]> {
        cut(self.bytes, self.lengths)
    }
}

/// The bytes in pieces of these lengths, and what is left in one piece.
pub(super) fn cut<'b>(bytes: &'b [u8], lengths: &[u8]) -> Vec<&'b [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for length in lengths {
        let (piece, behind) = rest.split_at(usize::from(*length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}
