//! Where a chunked body ends (RFC 9112, 7.1), so that what a client sends behind it can wait.

/// A chunked body that is none.
#[derive(Debug, thiserror::Error)]
#[error("the chunked body is malformed")]
pub(crate) struct BadChunk;

/// Follows a chunked body, piece by piece, to its end. What is not a chunked body has no end, and is
/// refused: Pingora 0.9.1 would take a bare LF in a chunk's extension for a part of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChunkScan(State);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At the first digit of a chunk's size.
    #[default]
    Start,
    /// Behind a digit of the size.
    Size(u64),
    /// In the rest of the size's line.
    Extension(u64),
    /// At the LF of the size's line.
    SizeEnd(u64),
    /// In a chunk's data, or its CRLF: so many bytes are left.
    Data(u64),
    /// At the first byte of a trailer's line, or of the last CRLF.
    Line,
    /// In a trailer.
    Trailer,
    /// At the LF of a trailer's line.
    TrailerEnd,
    /// At the last LF.
    LastEnd,
    /// Behind the body.
    End,
    /// In something else.
    Odd,
}

impl ChunkScan {
    /// Whether it has met what is not a chunked body.
    pub(super) fn is_odd(self) -> bool {
        self.0 == State::Odd
    }

    /// Looks at the next bytes; how many of them belong to the body, if it ends within them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let State::Data(left) = self.0 {
                let here = bytes.len() - at;
                let taken = usize::try_from(left).map_or(here, |left| left.min(here));
                self.0 = match left - taken as u64 {
                    0 => State::Start,
                    left => State::Data(left),
                };
                at += taken;
                continue;
            }
            self.0 = self.0.next(*byte);
            at += 1;
            match self.0 {
                State::End => return Some(at),
                State::Odd => return None,
                _ => {}
            }
        }
        None
    }
}

impl State {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start, _) => Self::digit(0, byte).unwrap_or(Self::Odd),
            (Self::Size(size) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(size), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Size(size), _) => Self::digit(size, byte).unwrap_or(Self::Odd),
            (Self::SizeEnd(0) | Self::TrailerEnd, b'\n') => Self::Line,
            (Self::SizeEnd(size), b'\n') => size.checked_add(2).map_or(Self::Odd, Self::Data),
            (Self::Line, b'\r') => Self::LastEnd,
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::Extension(_) | Self::Line | Self::Trailer, b'\n') => Self::Odd,
            (Self::Extension(size), _) => Self::Extension(size),
            (Self::Line | Self::Trailer, _) => Self::Trailer,
            (Self::LastEnd, b'\n') => Self::End,
            _ => Self::Odd,
        }
    }

    fn digit(size: u64, byte: u8) -> Option<Self> {
        let digit = char::from(byte).to_digit(16)?;
        let size = size.checked_mul(16)?.checked_add(digit.into())?;
        Some(Self::Size(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_the_reads_cut() {
        let bodies = [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;name=\"va;lue\"\r\nhello\r\n00\r\n\r\n",
            "1 \r\n\n\r\nA\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
            "0\r\nName: value\r\nOther:\r\n\r\n",
        ];
        for body in bodies {
            let text = format!("{body}0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
            let whole = ChunkScan::default().end(text.as_bytes());
            assert_eq!(whole, Some(body.len()), "{body:?}");
            for cut in 0..body.len() {
                let (first, second) = text.as_bytes().split_at(cut);
                let mut scan = ChunkScan::default();
                assert_eq!(scan.end(first), None, "{body:?} {cut}");
                assert_eq!(scan.end(second), Some(body.len() - cut), "{body:?} {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_chunked_body_has_no_end() {
        let bodies = [
            "\r\n0\r\n\r\n",
            "zz\r\n0\r\n\r\n",
            "-0\r\n\r\n",
            "0\n\r\n\r\n",
            "0\r\r\n\r\n",
            "0\r\n\n\r\n\r\n",
            "0;a\nb\r\n\r\n",
            "0\r\nName: value\n\r\n\r\n",
            "FFFFFFFFFFFFFFFF\r\n0\r\n\r\n",
            "10000000000000000\r\n0\r\n\r\n",
        ];
        for body in bodies {
            let mut scan = ChunkScan::default();
            assert_eq!(scan.end(body.as_bytes()), None, "{body:?}");
            assert_eq!(scan.end(b"0\r\n\r\n0\r\n\r\n"), None, "{body:?}");
        }
    }
}
