//! Where one WebSocket frame ends and the next begins (RFC 6455, 5.2), in one direction of a
//! connection: between two frames a Close frame of the proxy's own may stand, within one it may not.
//!
//! Only the heads are looked at; payloads are skipped by their length.

/// The longest head: two bytes, eight of length, four of mask.
const LONGEST_HEAD: usize = 14;

/// The longest payload of a control frame (RFC 6455, 5.5).
const LONGEST_CONTROL: u64 = 125;

/// Who sends the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Its frames are masked (RFC 6455, 5.1).
    Client,
    /// Its frames are not.
    Server,
}

/// Follows the frames of one direction, piece by piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameScan {
    sender: Sender,
    state: State,
    /// The head of a frame as far as it has come.
    head: [u8; LONGEST_HEAD],
    length: usize,
    /// The longest payload of a frame, and of a message.
    most: [u64; 2],
    /// How long the message in progress is so far.
    message: u64,
}

/// The unit that a limit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Frame,
    Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two frames, or within a head.
    Head,
    /// Within a frame: so many bytes of its payload are left.
    Payload { left: u64, is_close: bool },
    /// Behind a Close frame, after which nothing counts.
    Closed,
    /// Behind the head of a frame that is too long, or makes its message so.
    TooLong(Unit),
    /// Behind a malformed frame head (RFC 6455, 5.2), or behind a Close frame, while frames or messages are
    /// limited.
    Malformed,
    /// In something that is no WebSocket.
    Odd,
}

impl FrameScan {
    pub(super) fn new(sender: Sender) -> Self {
        Self {
            sender,
            state: State::Head,
            head: [0; LONGEST_HEAD],
            length: 0,
            most: [u64::MAX; 2],
            message: 0,
        }
    }

    /// A scan that ends at a frame with a payload of more than `frame` bytes, and at a message of more than
    /// `message`.
    pub(super) fn bounded(sender: Sender, frame: u64, message: u64) -> Self {
        Self {
            most: [frame, message],
            ..Self::new(sender)
        }
    }

    /// Returns the unit that is too long, once a frame has come that is, or makes its message so.
    pub(super) fn too_long(&self) -> Option<Unit> {
        match self.state {
            State::TooLong(unit) => Some(unit),
            _ => None,
        }
    }

    /// Whether a frame has come that is malformed, so that no limit could hold behind it.
    pub(super) fn is_malformed(&self) -> bool {
        self.state == State::Malformed
    }

    /// Whether frames and messages have a limit.
    fn is_bounded(&self) -> bool {
        self.most != [u64::MAX; 2]
    }

    /// Whether a part of a head has come.
    pub(super) fn is_within_head(&self) -> bool {
        self.state == State::Head && self.length > 0
    }

    /// Gives up: frames have passed unseen.
    pub(super) fn lose(&mut self) {
        self.state = State::Odd;
    }

    /// Whether nothing is known any more.
    pub(super) fn is_lost(&self) -> bool {
        self.state == State::Odd
    }

    /// Whether a whole Close frame has passed.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.state == State::Head && self.length == 0
    }

    /// Where the frame in progress ends, at most behind the bytes; nothing moves.
    pub(super) fn end_within(mut self, bytes: &[u8]) -> usize {
        self.frame_end(bytes).unwrap_or(bytes.len())
    }

    /// Moves over all of the bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(end) = self.frame_end(bytes) {
            bytes = bytes.get(end..).unwrap_or_default();
        }
    }

    /// Moves to the end of the frame that is in progress or begins; how many bytes that were.
    /// `None` if the bytes end before the frame does, or no more frames are to come.
    pub(super) fn frame_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.state == State::Closed && self.is_bounded() && !bytes.is_empty() {
            self.state = State::Malformed;
        }
        if self.state == State::Head {
            at = self.take_head(bytes)?;
        }
        let State::Payload { left, is_close } = self.state else {
            return None;
        };
        let here = bytes.len() - at;
        let taken = usize::try_from(left).map_or(here, |left| left.min(here));
        let left = left - taken as u64;
        self.state = match (left, is_close) {
            (1.., _) => State::Payload { left, is_close },
            (0, true) => State::Closed,
            (0, false) => State::Head,
        };
        (left == 0).then_some(at + taken)
    }

    /// Takes the rest of a head; how many bytes that were. `None` if it is not complete.
    fn take_head(&mut self, bytes: &[u8]) -> Option<usize> {
        let before = self.length;
        let room = self.head.get_mut(before..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length += count;
        let head = Head::parse(self.head.get(..self.length).unwrap_or_default())?;
        if !head.is_allowed(self.sender) {
            if self.is_bounded() {
                self.state = State::Malformed;
            } else {
                self.lose();
            }
            return None;
        }
        self.length = 0;
        if let Some(unit) = self.over_limit(&head) {
            self.state = State::TooLong(unit);
            return None;
        }
        self.state = State::Payload {
            left: head.payload,
            is_close: head.opcode == CLOSE,
        };
        // What was taken beyond the head is the payload's, or the next frame's.
        Some(head.length.saturating_sub(before))
    }
}

impl FrameScan {
    /// Counts a frame in; whether it is too long, or its message (RFC 6455, 5.4).
    fn over_limit(&mut self, head: &Head) -> Option<Unit> {
        if head.opcode >= CLOSE {
            return None;
        }
        if head.opcode != CONTINUATION {
            self.message = 0;
        }
        self.message = self.message.saturating_add(head.payload);
        let [frame, message] = self.most;
        if head.payload > frame {
            return Some(Unit::Frame);
        }
        (self.message > message).then_some(Unit::Message)
    }
}

/// The opcode of a frame that goes on with a message.
const CONTINUATION: u8 = 0;

/// The opcode of a Close frame.
const CLOSE: u8 = 8;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Its own length.
    length: usize,
    /// The length of what follows it.
    payload: u64,
    opcode: u8,
    is_final: bool,
    is_masked: bool,
}

impl Head {
    /// Reads a head at the front of `bytes`; none if it is not complete.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = bytes else {
            return None;
        };
        let (is_masked, short) = (second & 0x80 != 0, second & 0x7F);
        let width = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let length = 2 + width + if is_masked { 4 } else { 0 };
        if bytes.len() < length {
            return None;
        }
        let long = rest.iter().take(width);
        Some(Self {
            length,
            payload: match width {
                0 => short.into(),
                _ => long.fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
            },
            opcode: first & 0x0F,
            is_final: first & 0x80 != 0,
            is_masked,
        })
    }

    fn is_allowed(&self, sender: Sender) -> bool {
        let is_control = match self.opcode {
            0..=2 => false,
            CLOSE..=10 => true,
            _ => return false,
        };
        self.is_masked == (sender == Sender::Client)
            && (!is_control || (self.is_final && self.payload <= LONGEST_CONTROL))
            && self.payload >> 63 == 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

    use super::*;

    proptest! {
        /// Another parser reads the same.
        #[test]
        fn heads_are_what_they_are_elsewhere(
            first in any::<u8>(),
            second in any::<u8>(),
            rest in prop::collection::vec(any::<u8>(), 0..14),
        ) {
            let bytes = [&[first, second][..], &rest].concat();
            let mut cursor = Cursor::new(&bytes);
            match FrameHeader::parse(&mut cursor) {
                Ok(None) => prop_assert_eq!(Head::parse(&bytes), None),
                Ok(Some((header, payload))) => {
                    let head = Head::parse(&bytes).unwrap();
                    prop_assert_eq!(head.length as u64, cursor.position());
                    prop_assert_eq!(head.payload, payload);
                    prop_assert_eq!(OpCode::from(head.opcode), header.opcode);
                    prop_assert_eq!(head.is_final, header.is_final);
                    prop_assert_eq!(head.is_masked, header.mask.is_some());
                }
                Err(_opcode) => {
                    let head = Head::parse(&bytes).unwrap();
                    let senders = [Sender::Client, Sender::Server];
                    prop_assert!(!senders.iter().any(|sender| head.is_allowed(*sender)));
                }
            }
        }
    }

    fn frame(first: u8, length: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(mask | u8::try_from(length).unwrap()),
            126..65_536 => {
                bytes.push(mask | 0x7E);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(mask | 0x7F);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if is_masked {
            bytes.extend([1, 2, 3, 4]);
        }
        bytes.resize(bytes.len() + length, 0x88);
        bytes
    }

    #[test]
    fn a_frame_or_message_that_is_too_long_is_found_at_its_head() {
        let long = |frames: &[Vec<u8>]| {
            let mut scan = FrameScan::bounded(Sender::Client, 100, 150);
            scan.pass(&frames.concat());
            scan.too_long()
        };
        let (text, more, last, ping) = (0x01, 0x00, 0x80, 0x89);
        assert_eq!(
            long(&[frame(0x81, 100, true), frame(0x82, 100, true)]),
            None
        );
        assert_eq!(long(&[frame(0x81, 101, true)]), Some(Unit::Frame));
        let begin = frame(text, 100, true);
        let pinged = [begin.clone(), frame(ping, 125, true), frame(last, 50, true)];
        assert_eq!(long(&pinged), None);
        let one_more = [begin, frame(more, 50, true), frame(last, 1, true)];
        assert_eq!(long(&one_more), Some(Unit::Message));
        // The head is enough.
        let head = frame(0x81, 70_000, true)[..14].to_vec();
        assert_eq!(long(&[head]), Some(Unit::Frame));
    }

    #[test]
    fn the_ends_are_found_wherever_the_pieces_cut() {
        for (sender, is_masked) in [(Sender::Client, true), (Sender::Server, false)] {
            let frames = [
                frame(0x81, 0, is_masked),
                frame(0x01, 5, is_masked),
                frame(0x89, 0, is_masked),
                frame(0x80, 125, is_masked),
                frame(0xC2, 126, is_masked),
                frame(0x82, 70_000, is_masked),
                frame(0x8A, 3, is_masked),
            ];
            let text = frames.concat();
            let mut ends = vec![0];
            for frame in &frames {
                ends.push(ends.last().unwrap() + frame.len());
            }
            for piece in [1, 2, 3, 7, 13, 14, 15, 1000, text.len()] {
                let mut scan = FrameScan::new(sender);
                let mut at = 0;
                for bytes in text.chunks(piece) {
                    scan.pass(bytes);
                    at += bytes.len();
                    assert_eq!(scan.is_between(), ends.contains(&at), "{piece} {at}");
                }
                assert!(!scan.is_lost() && !scan.is_closed());
            }
            let mut scan = FrameScan::new(sender);
            let mut at = 0;
            for end in &ends[1..] {
                at += scan.frame_end(&text[at..]).unwrap();
                assert_eq!(at, *end);
            }
        }
    }

    #[test]
    fn nothing_counts_behind_a_close() {
        let mut scan = FrameScan::new(Sender::Server);
        scan.pass(&[0x88, 2, 3]);
        assert!(!scan.is_closed());
        scan.pass(&[0xE8, 0xFF, 0xFF]);
        assert!(scan.is_closed() && !scan.is_lost() && !scan.is_between());
    }

    #[test]
    fn what_is_no_websocket_is_told_apart() {
        let odd: [(&[u8], Sender); 7] = [
            (b"hi", Sender::Server),
            (b"ping", Sender::Client),
            (&[0x83, 0], Sender::Server),
            (&[0x82, 0x80, 0, 0, 0, 0], Sender::Server),
            (&[0x82, 0], Sender::Client),
            (&[0x89, 126, 0, 126], Sender::Server),
            (&[0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0], Sender::Server),
        ];
        for (bytes, sender) in odd {
            let mut scan = FrameScan::new(sender);
            scan.pass(bytes);
            scan.pass(&frame(0x82, 1, sender == Sender::Client));
            assert!(scan.is_lost(), "{bytes:?}");
        }
    }
}
