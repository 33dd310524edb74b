//! Where a chunked body ends (RFC 9112, 7.1).
//!
//! Nothing is decoded here: Pingora does that, and judges. The front only has to know which bytes
//! are still the body's, so that the next request waits for its turn and the origin's time begins.

/// How far a chunked body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// Within the size of a chunk; whether a digit of it has come.
    Size(u64, bool),
    /// Behind the size, within what RFC 9112 calls extensions.
    Extension(u64),
    /// Before the LF that ends the size's line.
    SizeEnd(u64),
    /// So many bytes before the end of a chunk's data.
    Data(u64),
    /// Before the CR behind the data.
    DataEnd,
    /// Before the LF behind the data.
    DataLineFeed,
    /// At the start of a line behind the last chunk.
    TrailerStart,
    /// Within a trailer field.
    Trailer,
    /// Before the last LF.
    LastLineFeed,
    /// Complete.
    Done,
    /// Not a chunked body: whatever comes is Pingora's, which refuses it.
    Lost,
}

impl Chunks {
    /// Before the first byte.
    pub(super) const START: Self = Self::Size(0, false);

    /// How many of these bytes, the next ones, belong to the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let (Some(byte), false) = (bytes.get(taken), *self == Self::Done) {
            if let Self::Data(left) = *self {
                let rest = bytes.len() - taken;
                let step = usize::try_from(left).unwrap_or(usize::MAX).min(rest);
                taken += step;
                *self = match left - step as u64 {
                    0 => Self::DataEnd,
                    left => Self::Data(left),
                };
            } else {
                taken += 1;
                *self = self.after(*byte);
            }
        }
        taken
    }

    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Size(size, true), b'\r') | (Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(size, true), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Size(size, _), digit) => match char::from(digit).to_digit(16) {
                Some(digit) if size >> 60 == 0 => Self::Size(size << 4 | u64::from(digit), true),
                _ => Self::Lost,
            },
            (Self::Extension(size), _) => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') => Self::TrailerStart,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => Self::START,
            (Self::TrailerStart, b'\r') => Self::LastLineFeed,
            (Self::Trailer, b'\n') => Self::TrailerStart,
            (Self::TrailerStart | Self::Trailer, _) => Self::Trailer,
            (Self::LastLineFeed, b'\n') => Self::Done,
            _ => Self::Lost,
        }
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
            "5;a=\"b;c\"\r\nhello\r\nA \r\n0123456789\r\n000\r\n\r\n",
            "1\r\n\r\r\n2\r\n\r\n\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
        ];
        for body in bodies {
            let text = format!("{body}GET / HTTP/1.1\r\n");
            for cut in 0..body.len() {
                let mut chunks = Chunks::START;
                assert_eq!(chunks.take(&text.as_bytes()[..cut]), cut, "{body:?}");
                assert_ne!(chunks, Chunks::Done, "{body:?} at {cut}");
                let rest = chunks.take(&text.as_bytes()[cut..]);
                assert_eq!(cut + rest, body.len(), "{body:?} at {cut}");
                assert_eq!(chunks, Chunks::Done);
            }
        }
    }

    #[test]
    fn what_is_not_chunked_is_taken_whole() {
        for body in [
            "\r\n",
            "x\r\n",
            "5\nhello",
            "3\r\nhello\r\n",
            "11112222333344445\r\n",
        ] {
            let mut chunks = Chunks::START;
            assert_eq!(chunks.take(body.as_bytes()), body.len(), "{body:?}");
            assert_eq!(chunks, Chunks::Lost, "{body:?}");
        }
    }
}
