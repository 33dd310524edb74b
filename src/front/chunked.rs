//! Where a chunked body ends (RFC 9112, 7.1), so that what a client sends behind it can wait.

/// A chunked body that is none.
#[derive(Debug, thiserror::Error)]
#[error("the chunked body is malformed")]
pub(crate) struct BadChunk;

/// Follows a chunked body, piece by piece, to its end. What is not a chunked body has no end, and is
/// refused: Pingora 0.9.1 would take a bare LF in a chunk's extension for a part of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChunkScan(State);

/// What the next bytes of a body are: first what only frames it, then data. Either may be none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkPiece {
    /// How many bytes of sizes, extensions, line ends and trailers; none but in chunks.
    pub(crate) framing: usize,
    /// How many bytes of data behind those.
    pub(crate) data: usize,
}

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
    /// In a chunk's data: so many bytes are left.
    Data(u64),
    /// At the CR behind a chunk's data.
    DataEnd,
    /// At the LF behind it.
    DataLine,
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
    pub(crate) fn is_odd(self) -> bool {
        self.0 == State::Odd
    }

    /// Whether the body has ended.
    pub(crate) fn is_over(self) -> bool {
        self.0 == State::End
    }

    /// Looks at the next bytes, up to the end of a run of data, of the body, or of the bytes.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> ChunkPiece {
        let mut framing = 0;
        while let Some(byte) = bytes.get(framing) {
            match self.0 {
                State::Data(left) => {
                    let here = bytes.len() - framing;
                    let data = usize::try_from(left).map_or(here, |left| left.min(here));
                    self.0 = match left - data as u64 {
                        0 => State::DataEnd,
                        left => State::Data(left),
                    };
                    return ChunkPiece { framing, data };
                }
                State::End | State::Odd => break,
                state => self.0 = state.next(*byte),
            }
            framing += 1;
        }
        ChunkPiece { framing, data: 0 }
    }

    /// Looks at the next bytes; how many of them belong to the body, if it ends within them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let piece = self.advance(bytes.get(at..).unwrap_or_default());
            at += piece.framing + piece.data;
            if self.is_over() {
                return Some(at);
            }
            if self.is_odd() || at == bytes.len() {
                return None;
            }
        }
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
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataLine,
            (Self::DataLine, b'\n') => Self::Start,
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
