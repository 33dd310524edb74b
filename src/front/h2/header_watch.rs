//! Whether a client of HTTP/2 is in the middle of a head.
//!
//! h2 says when a head is whole, and nothing before, so a client could take all the time in the world for
//! one. The boundaries of frames are read here as the bytes pass by (RFC 9113, 4.1 and 4.3): a head is in
//! the making from the first byte of its frame's header to the last byte of its block.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::protocols::{Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The client's preface, in front of the first frame (RFC 9113, 3.4).
const PREFACE_LENGTH: usize = 24;
const FRAME_HEADER_LENGTH: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The frames of a connection, as far as they have come.
#[derive(Debug)]
struct Frames {
    /// How many bytes of the preface, or of a frame's payload, are still to come.
    rest: usize,
    /// The header of the next frame, as far as it has come in pieces.
    header: [u8; FRAME_HEADER_LENGTH],
    filled: usize,
    /// Whether a block of fields has begun, and whether the present frame ends it.
    is_open: bool,
    ends: bool,
}

impl Frames {
    fn new() -> Self {
        Self {
            rest: PREFACE_LENGTH,
            header: [0; FRAME_HEADER_LENGTH],
            filled: 0,
            is_open: false,
            ends: false,
        }
    }

    /// Follows the bytes that have come.
    fn follow(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.rest == 0 && self.ends {
                (self.is_open, self.ends) = (false, false);
            }
            if bytes.is_empty() {
                return;
            }
            if self.filled == 0
                && let Some((header, later)) = bytes.split_first_chunk()
            {
                self.begin(*header);
                bytes = later;
                continue;
            }
            let (into, wanted) = self.header.split_at_mut(self.filled);
            let count = wanted.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            if let Some(wanted) = wanted.get_mut(..count) {
                wanted.copy_from_slice(now);
            }
            self.filled = into.len() + count;
            bytes = later;
            if self.filled == FRAME_HEADER_LENGTH {
                self.filled = 0;
                self.begin(self.header);
            }
        }
    }

    /// Begins the frame whose header has come.
    fn begin(&mut self, header: [u8; FRAME_HEADER_LENGTH]) {
        let [high, middle, low, kind, flags, ..] = header;
        self.rest = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.is_open = true;
            self.ends = flags & END_HEADERS != 0;
        }
    }

    fn is_in_head(&self) -> bool {
        self.is_open || self.filled > 0
    }
}

/// Whether a head is in the making, for the task of the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct InHead(Arc<AtomicBool>);

impl InHead {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The transport of a connection, whose frames are followed.
#[derive(Debug)]
pub(in crate::front) struct Watched {
    pub(in crate::front) transport: Stream,
    frames: Frames,
    in_head: InHead,
}

/// A transport whose frames are followed, and what is seen of them.
pub(super) fn watch(transport: Stream) -> (Stream, InHead) {
    let in_head = InHead::default();
    let watched = Watched {
        transport,
        frames: Frames::new(),
        in_head: in_head.clone(),
    };
    (Box::new(watched), in_head)
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.transport).poll_read(context, buffer);
        if read.is_ready() {
            let was_in_head = this.frames.is_in_head();
            this.frames
                .follow(buffer.filled().get(before..).unwrap_or_default());
            let is_in_head = this.frames.is_in_head();
            if was_in_head != is_in_head {
                this.in_head.0.store(is_in_head, Ordering::Relaxed);
            }
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().transport).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().transport).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.transport.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(FRAME_HEADER_LENGTH + payload, 7);
        frame
    }

    /// Whether a head is in the making behind each byte, but those of the headers of frames.
    #[test]
    fn a_head_is_in_the_making_from_its_frame_to_the_end_of_its_block() {
        let preface = vec![0; PREFACE_LENGTH];
        let pieces = [
            (preface, false),
            (frame(4, 0, 6), false),
            (frame(HEADERS, END_HEADERS | 1, 5), true),
            (frame(6, 0, 8), false),
            (frame(HEADERS, 0, 3), true),
            (frame(CONTINUATION, 0, 0), true),
            (frame(CONTINUATION, END_HEADERS, 4), true),
            // DATA with the bit that is END_HEADERS elsewhere.
            (frame(0, END_HEADERS, 70_000), false),
            (frame(HEADERS, END_HEADERS, 0), true),
            (frame(8, 0, 4), false),
        ];
        let mut frames = Frames::new();
        let mut is_open = false;
        for (number, (piece, is_head)) in pieces.iter().enumerate() {
            let begins_open = is_open;
            for (place, byte) in piece.iter().enumerate() {
                frames.follow(&[*byte]);
                let is_last = place + 1 == piece.len();
                let has_flag = piece.get(4).is_some_and(|flags| flags & END_HEADERS != 0);
                is_open = if is_last && *is_head {
                    !has_flag
                } else {
                    *is_head || begins_open
                };
                let is_in_header = number > 0 && place + 1 < FRAME_HEADER_LENGTH;
                let expected = is_in_header || is_open;
                assert_eq!(
                    frames.is_in_head(),
                    expected,
                    "piece {number}, byte {place}"
                );
            }
        }
    }

    #[test]
    fn the_pieces_in_which_the_bytes_come_make_no_difference() {
        let bytes = [
            vec![0; PREFACE_LENGTH],
            frame(HEADERS, 0, 300),
            frame(CONTINUATION, END_HEADERS, 20),
            frame(0, 1, 1000),
            frame(HEADERS, 0, 10),
        ]
        .concat();
        for length in [1, 2, 7, 9, 10, 33, 1000, bytes.len()] {
            let mut frames = Frames::new();
            for piece in bytes.chunks(length) {
                frames.follow(piece);
            }
            assert!(frames.is_in_head(), "pieces of {length}");
            frames.follow(&frame(CONTINUATION, END_HEADERS, 0));
            assert!(!frames.is_in_head(), "pieces of {length}");
        }
    }
}
