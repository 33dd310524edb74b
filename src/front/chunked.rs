//! Where a chunked body ends (RFC 9112, 7.1), so that what a client sends behind it can wait.

/// The body is not valid chunked coding (RFC 9112, 7.1), or nearly all of it is something else than data.
#[derive(Debug, thiserror::Error)]
#[error("the chunked body is malformed")]
pub(crate) struct BadChunk;

/// How many bytes of extensions, trailers, blanks and leading zeros a body may have beyond as many as it
/// has data: a body of these alone has no end, and costs nobody but its reader anything.
const MOST_SPARE: u32 = 16 * 1024;

/// Follows a chunked body, piece by piece, to its end. What is not a chunked body has no end, and is
/// refused: Pingora 0.9.1 would take a bare LF in a chunk's extension for a part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkScan {
    state: State,
    /// How many bytes may come that are neither data nor needed.
    spare: u32,
}

impl Default for ChunkScan {
    fn default() -> Self {
        Self {
            state: State::Start,
            spare: MOST_SPARE,
        }
    }
}

/// The next bytes of a body, split into framing and the data behind it. Either may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkPiece {
    /// How many bytes of sizes, extensions, line ends and trailers; none but in chunks.
    pub(crate) framing: usize,
    /// How many bytes of data behind those.
    pub(crate) data: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the first digit of a chunk's size.
    Start,
    /// Behind a digit of the size.
    Size(u64),
    /// In the blanks behind the size.
    Blank(u64),
    /// In the extensions of a chunk.
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
        self.state == State::Odd
    }

    /// Whether the body has ended.
    pub(crate) fn is_over(self) -> bool {
        self.state == State::End
    }

    /// Looks at the next bytes, up to the end of a run of data, of the body, or of the bytes.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> ChunkPiece {
        let mut framing = 0;
        while let Some(byte) = bytes.get(framing) {
            match self.state {
                State::Data(left) => {
                    let here = bytes.len() - framing;
                    let data = usize::try_from(left).map_or(here, |left| left.min(here));
                    self.state = match left - data as u64 {
                        0 => State::DataEnd,
                        left => State::Data(left),
                    };
                    let earned = u32::try_from(data).unwrap_or(MOST_SPARE);
                    self.spare = self.spare.saturating_add(earned).min(MOST_SPARE);
                    return ChunkPiece { framing, data };
                }
                State::End | State::Odd => break,
                state => self.step(state, *byte),
            }
            framing += 1;
        }
        ChunkPiece { framing, data: 0 }
    }

    fn step(&mut self, state: State, byte: u8) {
        if state.is_spare(byte) {
            match self.spare.checked_sub(1) {
                Some(spare) => self.spare = spare,
                None => return self.state = State::Odd,
            }
        }
        self.state = state.next(byte);
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
            (Self::Size(size) | Self::Blank(size) | Self::Extension(size), b'\r') => {
                Self::SizeEnd(size)
            }
            (Self::Size(size) | Self::Blank(size), b';') => Self::Extension(size),
            (Self::Size(size) | Self::Blank(size), b' ' | b'\t') => Self::Blank(size),
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

    /// Whether a body could do without this byte.
    fn is_spare(self, byte: u8) -> bool {
        match self {
            Self::Size(size) => size == 0 && byte == b'0',
            Self::Blank(_) | Self::Extension(_) | Self::Trailer => true,
            _ => false,
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
            "2 erf\r\nab\r\n0\r\n\r\n",
            "2\tx\r\nab\r\n0\r\n\r\n",
            "0x2\r\nab\r\n0\r\n\r\n",
        ];
        for body in bodies {
            let mut scan = ChunkScan::default();
            assert_eq!(scan.end(body.as_bytes()), None, "{body:?}");
            assert_eq!(scan.end(b"0\r\n\r\n0\r\n\r\n"), None, "{body:?}");
        }
    }

    #[test]
    fn what_is_hardly_any_data_is_refused_and_data_pays_for_the_rest() {
        let extended = format!("1;{}\r\nx\r\n", "e".repeat(60));
        for (start, piece) in [
            ("1;", "extension"),
            ("0\r\n", "Name: value\r\n"),
            ("0", "0000"),
            ("1", "    "),
            ("", &*extended),
        ] {
            let mut scan = ChunkScan::default();
            assert_eq!(scan.end(start.as_bytes()), None);
            let mut count = 0;
            while !scan.is_odd() {
                assert_eq!(scan.end(piece.as_bytes()), None, "{start:?} {piece:?}");
                count += piece.len();
                assert!(count <= 32 * 1024, "{start:?} {piece:?}");
            }
        }
        let large = format!("400;{}\r\n{}\r\n", "e".repeat(200), "x".repeat(0x400));
        let mut scan = ChunkScan::default();
        for _ in 0..1000 {
            assert_eq!(scan.end(large.as_bytes()), None);
            assert!(!scan.is_odd());
        }
        assert_eq!(scan.end(b"0\r\n\r\n"), Some(5));
    }
}
