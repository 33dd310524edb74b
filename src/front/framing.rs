//! Where the body of a message ends, and its chunks.

use super::chunked::{BadChunk, ChunkPiece, ChunkScan};

/// How the end of a body is told (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// The end of the connection.
    UntilClose,
    /// The end of the connection, in another protocol: of a request that asks for one, and of the 101
    /// that agrees.
    Upgrade,
}

/// A body on its way in: how far it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// So many bytes are left.
    Length(u64),
    Chunked(ChunkScan),
    UntilClose,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            // Of another protocol's bytes, none come before it is agreed to.
            Framing::None | Framing::Upgrade => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(ChunkScan::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether all of it has come. One that ends with its connection never says so.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(scan) => scan.is_over(),
            Self::UntilClose => false,
        }
    }

    /// Moves over the next bytes, up to the end of a run of data.
    ///
    /// # Errors
    /// The body is not valid chunked coding.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<ChunkPiece, BadChunk> {
        let data = match self {
            Self::Length(left) => {
                let data = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= data as u64;
                data
            }
            Self::Chunked(scan) => {
                let piece = scan.advance(bytes);
                return if scan.is_odd() {
                    Err(BadChunk)
                } else {
                    Ok(piece)
                };
            }
            Self::UntilClose => bytes.len(),
        };
        Ok(ChunkPiece { framing: 0, data })
    }

    /// Moves over bytes and leaves only the data of them, at the front; how much that is.
    ///
    /// # Errors
    /// The body is not valid chunked coding.
    pub(crate) fn extract(&mut self, bytes: &mut [u8]) -> Result<usize, BadChunk> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && !self.is_over() {
            let piece = self.advance(bytes.get(at..).unwrap_or_default())?;
            let data = at + piece.framing;
            at = data + piece.data;
            if data != kept {
                bytes.copy_within(data..at, kept);
            }
            kept += piece.data;
        }
        Ok(kept)
    }
}

/// The longest line that begins a chunk: 16 digits and CRLF.
pub(crate) const CHUNK_HEAD: usize = 18;

/// The end of a chunk.
pub(crate) const CHUNK_END: &[u8] = b"\r\n";

/// The end of a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The line that begins a chunk of this size, right-aligned, and where in the array it begins.
pub(crate) fn chunk_head(size: usize) -> ([u8; CHUNK_HEAD], usize) {
    let mut line = [0; CHUNK_HEAD];
    let (mut left, mut start) = (size, CHUNK_HEAD);
    for (byte, end) in line.iter_mut().rev().zip([b'\n', b'\r']) {
        *byte = end;
        start -= 1;
    }
    for byte in line.iter_mut().rev().skip(2) {
        // Less than 16.
        let digit = u8::try_from(left % 16).unwrap_or(0);
        *byte = if digit < 10 {
            b'0' + digit
        } else {
            b'a' - 10 + digit
        };
        start -= 1;
        left /= 16;
        if left == 0 {
            break;
        }
    }
    (line, start)
}

/// Appends one chunk.
pub(crate) fn put_chunk(out: &mut Vec<u8>, data: &[u8]) {
    let (line, start) = chunk_head(data.len());
    out.extend_from_slice(line.get(start..).unwrap_or_default());
    out.extend_from_slice(data);
    out.extend_from_slice(CHUNK_END);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunk_begins_with_its_size() {
        for size in [1, 9, 10, 15, 16, 255, 4096, 65_535, usize::MAX] {
            let (line, start) = chunk_head(size);
            assert_eq!(line[start..], *format!("{size:x}\r\n").as_bytes());
        }
    }

    proptest! {
        /// Data that was put into chunks is read back, wherever the reads cut.
        #[test]
        fn chunks_are_read_as_they_were_written(
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut wire = Vec::new();
            for piece in &data {
                put_chunk(&mut wire, piece);
            }
            wire.extend_from_slice(LAST_CHUNK);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let mut body = Body::new(Framing::Chunked);
            let mut out = Vec::new();
            for pair in cuts.windows(2) {
                let mut read = wire[pair[0]..pair[1]].to_vec();
                let kept = body.extract(&mut read).unwrap();
                out.extend_from_slice(&read[..kept]);
            }
            prop_assert!(body.is_over());
            prop_assert_eq!(out, data.concat());
        }
    }
}
