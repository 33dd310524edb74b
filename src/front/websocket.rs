//! A WebSocket on its way through the front, and how it ends when its instance is taken down: with
//! a Close frame to either side (RFC 6455, 7.4.1), between two frames of what goes there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::abort::{CLOSE_TIMEOUT, Drained, poll_timer};
use super::clients::{ClientLimit, LimitCounts};
use super::frames::{FrameScan, Sender, Unit};

/// Why the proxy closes a WebSocket: a status of RFC 6455, 7.4.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reason {
    /// 1001: the app, or the proxy, is taken down.
    #[default]
    GoingAway,
    /// 1009: the client has sent more at a time than it may.
    TooLong(Unit),
    /// 1002: the client has sent a frame that is malformed, behind which no limit could hold.
    Malformed,
}

/// The length of a Close frame for the client, and of one for the app, which is masked.
const CLOSE: usize = 4;
const MASKED_CLOSE: usize = 8;

/// One read of what a client still sends.
const PIECE: usize = 2048;

/// The frames of both directions.
#[derive(Debug)]
pub(super) struct WebSocket {
    head: SwitchScan,
    to_client: FrameScan,
    to_origin: FrameScan,
    closing: Option<ClosingHandshake>,
    limits: Option<Arc<FrameLimits>>,
}

/// The limits on the WebSocket frames and messages that a client sends.
#[derive(Debug)]
pub(crate) struct FrameLimits {
    /// The longest payload of a frame, in bytes.
    pub(crate) frame: u64,
    /// The longest payload of a message, in bytes.
    pub(crate) message: u64,
    /// Where it is counted that a client has sent more.
    pub(crate) counts: Arc<LimitCounts>,
}

impl FrameLimits {
    /// The limit that closes a WebSocket: of a frame that is malformed, the one that could not be kept to.
    fn met(&self, reason: Reason) -> ClientLimit {
        match reason {
            Reason::TooLong(Unit::Frame) => ClientLimit::WebSocketFrame,
            Reason::TooLong(Unit::Message) => ClientLimit::WebSocketMessage,
            _ if self.frame < u64::MAX => ClientLimit::WebSocketFrame,
            _ => ClientLimit::WebSocketMessage,
        }
    }
}

/// The end of a WebSocket, once it is cut.
#[derive(Debug, Default)]
struct ClosingHandshake {
    timer: Option<Pin<Box<Sleep>>>,
    /// The progress of the Close frame that goes to the client.
    client: Word,
    /// The progress of the Close frame that goes to the upstream, as if it came from the client.
    origin: OriginsWord,
    /// Whether the client's end of the stream has come, or what it says no longer counts.
    is_client_gone: bool,
    reason: Reason,
}

/// How far the Close frame for the client is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Word {
    /// A frame of the origin's comes first.
    #[default]
    Due,
    /// So many bytes are written.
    Begun(usize),
    /// It is written; the transport may still hold it.
    Written,
    /// The client has it, or one of the origin's own.
    Said,
}

/// How far the Close frame for the origin is.
#[derive(Debug, Default)]
enum OriginsWord {
    /// A frame of the client's comes first.
    #[default]
    Due,
    /// The frame, and how much of it is handed out.
    Begun([u8; MASKED_CLOSE], usize),
    /// The origin has it, or one of the client's own.
    Said,
}

impl WebSocket {
    /// A WebSocket whose handshake is about to be answered.
    pub(super) fn new(limits: Option<Arc<FrameLimits>>) -> Self {
        Self {
            head: SwitchScan::default(),
            to_client: FrameScan::new(Sender::Server),
            to_origin: match limits.as_deref() {
                Some(limits) => FrameScan::bounded(Sender::Client, limits.frame, limits.message),
                None => FrameScan::new(Sender::Client),
            },
            closing: None,
            limits,
        }
    }

    /// Notes what has gone to the client.
    pub(super) fn note_write(&mut self, bytes: &[u8]) {
        let frames = self.head.rest(bytes);
        self.to_client.pass(frames);
    }

    /// Notes what is about to be handed out to the app; how much of it, if not all may be.
    pub(super) fn note_read(&mut self, bytes: &[u8]) -> Option<usize> {
        let (is_begun, mut at) = (self.to_origin.is_within_head(), 0);
        while let Some(end) = self
            .to_origin
            .frame_end(bytes.get(at..).unwrap_or_default())
        {
            at += end;
        }
        let reason = if let Some(unit) = self.to_origin.too_long() {
            Reason::TooLong(unit)
        } else if self.to_origin.is_malformed() {
            Reason::Malformed
        } else {
            return None;
        };
        let has_part = is_begun && at == 0;
        self.close_for(reason, has_part);
        Some(at)
    }

    /// Closes it for a frame of the client's; `has_part` if the app has a part of its head, behind which no other
    /// frame can stand.
    fn close_for(&mut self, reason: Reason, has_part: bool) {
        if let Some(limits) = &self.limits {
            limits.counts.count(limits.met(reason));
        }
        let closing = self.closing.get_or_insert_default();
        closing.reason = reason;
        closing.is_client_gone = true;
        if has_part {
            closing.origin = OriginsWord::Said;
        }
    }

    /// Why it is closed, if the client has sent what it may not.
    pub(super) fn refused(&self) -> Option<&'static str> {
        match self.closing.as_ref()?.reason {
            Reason::GoingAway => None,
            Reason::TooLong(Unit::Frame) => Some(
                "the client has sent a frame that is too long (limits.websocket_frame); its WebSocket is closed \
                 with 1009",
            ),
            Reason::TooLong(Unit::Message) => Some(
                "the client has sent a message that is too long (limits.websocket_message); its WebSocket is \
                 closed with 1009",
            ),
            Reason::Malformed => Some(
                "the client has sent a malformed frame, behind which its limits cannot hold \
                 (limits.websocket_frame, limits.websocket_message); its WebSocket is closed with 1002",
            ),
        }
    }

    /// Whether there is a way to close: the handshake is through, and both sides speak in
    /// frames.
    pub(super) fn can_part(&self) -> bool {
        self.head.is_over() && !self.to_client.is_lost() && !self.to_origin.is_lost()
    }

    /// Whether the closing handshake has begun.
    pub(super) fn is_parting(&self) -> bool {
        self.closing.is_some()
    }

    /// Takes what the origin still sends: the rest of a frame goes to the client, nothing else.
    pub(super) fn poll_write(
        &mut self,
        transport: &mut Stream,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let closing = self.closing.get_or_insert_default();
        if closing.poll_over(context).is_ready() || self.to_client.is_lost() {
            return Poll::Ready(Err(Drained.into()));
        }
        if closing.client == Word::Due && !is_at_end(&self.to_client) {
            let end = self.to_client.end_within(bytes);
            let own = bytes.get(..end).unwrap_or(bytes);
            let written = ready!(Pin::new(transport).poll_write(context, own))?;
            self.to_client.pass(own.get(..written).unwrap_or_default());
            return Poll::Ready(Ok(written));
        }
        ready!(closing.poll_client(&self.to_client, transport, context))?;
        self.to_client.pass(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Hands out what still goes to the origin: the rest of a frame and a Close frame. Then waits
    /// for the Close frames of both sides; ready without a byte when all is said.
    pub(super) fn poll_read(
        &mut self,
        transport: &mut Stream,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let closing = self.closing.get_or_insert_default();
        let told = closing.poll_client(&self.to_client, transport, context)?;
        let before = buffer.filled().len();
        while matches!(closing.origin, OriginsWord::Due) {
            if is_at_end(&self.to_origin) {
                closing.origin = OriginsWord::after(&self.to_origin, closing.reason);
                break;
            }
            match Pin::new(&mut *transport).poll_read(context, buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending => return closing.poll_end(told.is_ready(), context),
            }
            let read = buffer.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let end = self.to_origin.end_within(read);
            let (own, rest) = read.split_at_checked(end).unwrap_or((read, &[]));
            self.to_origin.pass(own);
            if is_at_end(&self.to_origin) {
                closing.origin = OriginsWord::after(&self.to_origin, closing.reason);
            }
            self.to_origin.pass(rest);
            buffer.set_filled(before + own.len());
            if self.to_origin.is_lost() {
                return Poll::Ready(Err(Drained.into()));
            }
            if end > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if closing.origin.hand_out(buffer) {
            return Poll::Ready(Ok(()));
        }
        let heard = closing.poll_hear(&mut self.to_origin, transport, context)?;
        if told.is_ready() && heard.is_ready() && self.to_client.is_closed() {
            return Poll::Ready(Ok(()));
        }
        closing.poll_end(told.is_ready(), context)
    }

    /// Waits for the client's Close frame when the origin has closed already.
    pub(super) fn poll_last_words(
        &mut self,
        transport: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(closing) = &mut self.closing else {
            return Poll::Ready(Ok(()));
        };
        let told = closing.poll_client(&self.to_client, transport, context)?;
        let heard = closing.poll_hear(&mut self.to_origin, transport, context)?;
        if told.is_ready() && heard.is_ready() {
            return Poll::Ready(Ok(()));
        }
        closing.poll_over(context).map(Ok)
    }
}

impl ClosingHandshake {
    /// Ready when the time is up.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        poll_timer(&mut self.timer, CLOSE_TIMEOUT, context)
    }

    /// Ready when the time is up: a clean end for who has been told, a hard one else.
    fn poll_end(&mut self, is_told: bool, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_over(context));
        if is_told {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(Drained.into()))
    }

    /// Sends the client its Close frame, once the origin's frames allow it; pending without a waker
    /// until then, since the rest of the frame comes by a write.
    fn poll_client(
        &mut self,
        frames: &FrameScan,
        transport: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.client = match self.client {
                // A Close frame of the origin's own may still be in the transport's buffer.
                Word::Due if frames.is_closed() => Word::Written,
                Word::Due if frames.is_between() => Word::Begun(0),
                Word::Due => return Poll::Pending,
                Word::Begun(count) => {
                    let frame = self.reason.frame();
                    let left = frame.get(count..).unwrap_or_default();
                    let written = ready!(Pin::new(&mut *transport).poll_write(context, left))?;
                    match count + written {
                        CLOSE.. => Word::Written,
                        _ if written == 0 => return Poll::Ready(Err(Drained.into())),
                        count => Word::Begun(count),
                    }
                }
                Word::Written => {
                    ready!(Pin::new(&mut *transport).poll_flush(context))?;
                    Word::Said
                }
                Word::Said => return Poll::Ready(Ok(())),
            };
        }
    }

    /// Reads what the client still sends, up to its Close frame or its end.
    fn poll_hear(
        &mut self,
        frames: &mut FrameScan,
        transport: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        while !frames.is_closed() && !self.is_client_gone {
            let mut read = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *transport).poll_read(context, &mut read))?;
            self.is_client_gone = read.filled().is_empty();
            frames.pass(read.filled());
            if frames.is_lost() {
                return Poll::Ready(Err(Drained.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Reason {
    /// The Close frame for the client.
    fn frame(self) -> [u8; CLOSE] {
        match self {
            Self::GoingAway => [0x88, 0x02, 0x03, 0xE9],
            Self::TooLong(_) => [0x88, 0x02, 0x03, 0xF1],
            Self::Malformed => [0x88, 0x02, 0x03, 0xEA],
        }
    }
}

/// Whether nothing of the sender's frames stands in the way of a Close frame.
fn is_at_end(frames: &FrameScan) -> bool {
    frames.is_between()
        || frames.is_closed()
        || frames.too_long().is_some()
        || frames.is_malformed()
}

impl OriginsWord {
    fn after(frames: &FrameScan, reason: Reason) -> Self {
        if frames.is_closed() {
            return Self::Said;
        }
        // The mask protects nothing here: what it covers is known to everybody.
        let mask = fastrand::u32(..).to_be_bytes();
        let [first, second, high, low] = reason.frame();
        let [a, b, c, d] = mask;
        let frame = [first, second | 0x80, a, b, c, d, high ^ a, low ^ b];
        Self::Begun(frame, 0)
    }

    /// Whether bytes were put into the buffer.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Self::Begun(frame, count) = self else {
            return false;
        };
        let left = frame.get(*count..).unwrap_or_default();
        let own = left.get(..buffer.remaining()).unwrap_or(left);
        buffer.put_slice(own);
        *count += own.len();
        if *count == MASKED_CLOSE {
            *self = Self::Said;
        }
        true
    }
}

/// Looks for the end of the answer that switches the protocol, behind interim ones.
#[derive(Clone, Copy, Debug, Default)]
struct SwitchScan {
    /// How much of the head's first bytes has been seen, up to the status.
    line: usize,
    /// Whether they are those of a 101.
    is_other: bool,
    /// How much of the head's end has been seen.
    end: usize,
    is_over: bool,
}

impl SwitchScan {
    fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns the part of the next bytes that comes behind the head of the 101 response.
    fn rest<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        const LINE: &[u8] = b"HTTP/1.1 101";
        const END: &[u8] = b"\r\n\r\n";
        if self.is_over {
            return bytes;
        }
        for (index, byte) in bytes.iter().enumerate() {
            if let Some(expected) = LINE.get(self.line) {
                self.line += 1;
                self.is_other |= byte != expected;
            }
            self.end = match END.get(self.end) {
                Some(expected) if byte == expected => self.end + 1,
                _ => usize::from(*byte == b'\r'),
            };
            if self.end < END.len() {
                continue;
            }
            if !self.is_other {
                self.is_over = true;
                return bytes.get(index + 1..).unwrap_or_default();
            }
            *self = Self::default();
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_found_wherever_the_pieces_cut() {
        let heads = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
            HTTP/1.1 101 Switching Protocols\r\nA: \r\r\nUpgrade: websocket\r\n\r\n";
        let text = format!("{heads}frames\r\n\r\n");
        for piece in 1..text.len() {
            let mut scan = SwitchScan::default();
            let rest: Vec<u8> = text
                .as_bytes()
                .chunks(piece)
                .flat_map(|bytes| scan.rest(bytes).to_vec())
                .collect();
            assert!(scan.is_over());
            assert_eq!(rest, b"frames\r\n\r\n", "{piece}");
        }
    }
}
