//! One request on one connection to its target: both directions, polled by one task.
//!
//! Whatever is read passes through one buffer of the thread, and is written from there. What the other
//! side does not take at once is kept, and nothing more is read for it until it has.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use super::answer::{Head, LONGEST_HEAD, MOST_FIELDS};
use super::answering::Answering;
use super::body::{Body, CHUNK_END, CHUNK_HEAD, Framing, LAST_CHUNK, chunk_head};
use super::client::Client;
use super::clock::{Standing, Waiting, Waits};
use super::failure::{Failure, Reason};
use super::socket::Socket;
use crate::front::{Deadline, Leash};
use crate::proxy::options::Timeouts;
use crate::registry::ProxyError;

/// One read from either side.
pub(super) const PIECE: usize = 64 * 1024;

/// How much of a request's body is kept to be sent again: 64 KiB, and what makes them chunks.
const LONGEST_REPLAY: usize = 66 * 1024;

thread_local! {
    pub(super) static BUFFER: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; CHUNK_HEAD + PIECE + CHUNK_END.len()].into_boxed_slice());
}

/// What goes to the target.
#[derive(Debug)]
pub(super) struct Upload {
    /// What is on its way, in order: head and body, or what waits of the body.
    wire: Vec<u8>,
    /// How much of it is sent.
    sent: usize,
    /// How much of it is the head.
    head: usize,
    framing: Framing,
    /// Whether all of it is kept, to be sent again.
    is_kept: bool,
    /// Whether the end of the body is in `wire`, or sent.
    is_ended: bool,
    /// Whether the target takes nothing more; it may have answered all the same.
    is_refused: bool,
}

impl Upload {
    /// A request with this head.
    pub(super) fn new(head: Vec<u8>, framing: Framing) -> Self {
        Self {
            head: head.len(),
            wire: head,
            sent: 0,
            framing,
            is_kept: false,
            is_ended: matches!(framing, Framing::None | Framing::Upgrade),
            is_refused: false,
        }
    }

    /// Has everything that is sent from now on kept.
    pub(super) fn keep(&mut self) {
        self.is_kept = self.sent == 0;
    }

    /// Begins from the front again; whether it can.
    pub(super) fn rewind(&mut self) -> bool {
        let can = self.is_kept;
        if can {
            self.sent = 0;
            self.is_refused = false;
            self.is_kept = false;
        }
        can
    }

    fn is_sent(&self) -> bool {
        self.is_refused || (self.is_ended && self.waiting().is_empty())
    }

    /// Whether the target has been sent the whole request. An answer may come before that; of the next
    /// request on the connection, the target would take the beginning for the rest of this one.
    fn is_whole(&self) -> bool {
        self.is_sent() && !self.is_refused
    }

    fn waiting(&self) -> &[u8] {
        self.wire.get(self.sent..).unwrap_or_default()
    }

    /// Sends what waits, and `data` behind it.
    fn poll_send(&mut self, context: &mut Context<'_>, socket: &mut Socket) -> Poll<()> {
        while let Some(waiting) = self.wire.get(self.sent..)
            && !waiting.is_empty()
            && !self.is_refused
        {
            match ready!(socket.poll_write(context, waiting)) {
                Ok(count @ 1..) => self.sent += count,
                // Its answer, or the lack of one, says more.
                Ok(0) | Err(_) => self.is_refused = true,
            }
        }
        // What is refused may have to be sent again, over another connection.
        if !self.is_kept {
            self.wire.clear();
            self.sent = 0;
        }
        Poll::Ready(())
    }

    /// Puts a piece of the body on its way: sent from where it is, as far as the target takes it.
    fn put(&mut self, context: &mut Context<'_>, socket: &mut Socket, mut data: &[u8]) {
        if self.is_kept && self.wire.len() + data.len() > self.head + LONGEST_REPLAY {
            self.is_kept = false;
        }
        while !self.is_kept && self.waiting().is_empty() && !data.is_empty() {
            match socket.poll_write(context, data) {
                Poll::Ready(Ok(count @ 1..)) => data = data.get(count..).unwrap_or_default(),
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.is_refused = true;
                    return;
                }
                Poll::Pending => break,
            }
        }
        self.wire.extend_from_slice(data);
    }

    fn end(&mut self) {
        self.is_ended = true;
        if self.framing == Framing::Chunked {
            self.wire.extend_from_slice(LAST_CHUNK);
        }
    }
}

/// How far the answer is.
#[derive(Debug)]
enum Stage {
    /// Its head comes, or an interim one.
    Head,
    Body(Body),
    Over,
    /// The target speaks another protocol from here on.
    Switched,
}

/// What becomes of the connection to the target when the answer is on its way.
#[derive(Debug)]
pub(super) enum Left {
    /// It can be used again.
    Idle(Socket),
    /// It speaks the next protocol.
    Switched(Socket),
    /// It is closed.
    Nothing,
}

/// One request on one connection.
pub(super) struct Pump<'x, C> {
    pub(super) client: &'x mut C,
    pub(super) upload: &'x mut Upload,
    pub(super) answering: &'x mut Answering,
    pub(super) socket: Socket,
    pub(super) timeouts: Timeouts,
    stage: Stage,
    /// What has come of a head that is not complete.
    partial: Vec<u8>,
    /// Whether the connection can be used again, as far as its target says.
    keeps: bool,
    /// Whether anything has been sent.
    has_begun: bool,
    /// Whether anything has come from the target.
    has_heard: bool,
    waits: Waits,
    taken: u64,
}

/// What a side is waiting for when it does not go on.
type Wait = Poll<()>;

impl<'x, C: Client> Pump<'x, C> {
    pub(super) fn new(
        client: &'x mut C,
        upload: &'x mut Upload,
        answering: &'x mut Answering,
        socket: Socket,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            client,
            upload,
            answering,
            socket,
            timeouts,
            stage: Stage::Head,
            partial: Vec::new(),
            keeps: false,
            has_begun: false,
            has_heard: false,
            waits: Waits::default(),
            taken: 0,
        }
    }

    /// Whether anything has come from the target.
    pub(super) fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// The connection, once the answer is on its way.
    pub(super) fn into_left(self) -> Left {
        match self.stage {
            Stage::Over if self.upload.is_whole() && self.keeps => Left::Idle(self.socket),
            Stage::Switched => Left::Switched(self.socket),
            Stage::Head | Stage::Body(_) | Stage::Over => Left::Nothing,
        }
    }

    /// Goes on until the answer is complete and on its way.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        leash: &Leash,
        timer: &mut Deadline,
    ) -> Poll<Result<(), Failure>> {
        if leash.is_cut() {
            return Poll::Ready(Err(Failure::drained()));
        }
        let body = self.poll_upload(context)?;
        let answer = self.poll_answer(context)?;
        if answer.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if self.client.is_body_over()
            && let Poll::Ready(gone) = self.client.poll_gone(context)
        {
            return Poll::Ready(Err(gone));
        }
        self.note_waits(body);
        match self.waits.poll(&self.timeouts, timer, context) {
            Poll::Ready(failure) => Poll::Ready(Err(failure)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Notes who is waited for now.
    fn note_waits(&mut self, body: Wait) {
        let taken = self.client.taken();
        if taken != self.taken {
            self.taken = taken;
            self.waits.restart(Waiting::Client);
        }
        self.waits.note(&Standing {
            is_body_due: body.is_pending(),
            is_sending: !self.upload.is_refused && !self.upload.waiting().is_empty(),
            is_sent: self.upload.is_sent(),
            is_answered: self.client.has_begun(),
            is_taking: self.client.is_waiting(),
        });
    }

    /// Moves the request's body.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<Wait, Failure> {
        loop {
            if !std::mem::replace(&mut self.has_begun, true) && !self.upload.is_ended {
                // A short body goes with its head.
                let read = BUFFER.with_borrow_mut(|buffer| self.poll_piece(context, buffer));
                if let Poll::Ready(read) = read {
                    read?;
                }
            }
            let before = self.upload.sent;
            let sent = self.upload.poll_send(context, &mut self.socket);
            if sent.is_ready() || self.upload.sent != before {
                self.waits.restart(Waiting::Sending);
            }
            if sent.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.upload.is_ended || self.upload.is_refused {
                return Ok(Poll::Ready(()));
            }
            let read = BUFFER.with_borrow_mut(|buffer| self.poll_piece(context, buffer));
            match read {
                Poll::Ready(read) => read?,
                Poll::Pending => return Ok(Poll::Pending),
            }
            self.waits.restart(Waiting::Body);
        }
    }

    /// Moves one piece of the request's body, or its end.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(), Failure>> {
        let room = buffer
            .get_mut(CHUNK_HEAD..CHUNK_HEAD + PIECE)
            .unwrap_or_default();
        let count = ready!(self.client.poll_body(context, room))?;
        if count == 0 {
            self.upload.end();
            return Poll::Ready(Ok(()));
        }
        self.answering.received(count);
        let (mut start, mut end) = (CHUNK_HEAD, CHUNK_HEAD + count);
        if self.upload.framing == Framing::Chunked {
            // Around the data there is room for what makes it a chunk.
            let (line, begin) = chunk_head(count);
            let head = line.get(begin..).unwrap_or_default();
            start -= head.len();
            if let Some(room) = buffer.get_mut(start..CHUNK_HEAD) {
                room.copy_from_slice(head);
            }
            if let Some(room) = buffer.get_mut(end..end + CHUNK_END.len()) {
                room.copy_from_slice(CHUNK_END);
            }
            end += CHUNK_END.len();
        }
        let piece = buffer.get(start..end).unwrap_or_default();
        self.upload.put(context, &mut self.socket, piece);
        if self.client.is_body_over() {
            // One write for a short body and its end.
            self.upload.end();
        }
        Poll::Ready(Ok(()))
    }

    /// Moves the answer; ready when it is complete and on its way, or its head is that agrees to another
    /// protocol.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Result<Wait, Failure> {
        loop {
            if matches!(self.stage, Stage::Over | Stage::Switched) {
                return match self.client.poll_flush(context) {
                    Poll::Ready(flushed) => flushed.map(Poll::Ready),
                    Poll::Pending => Ok(Poll::Pending),
                };
            }
            match self.client.poll_taken(context) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => return Ok(Poll::Pending),
            }
            let read = BUFFER.with_borrow_mut(|buffer| self.poll_read(context, buffer));
            match read {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    // Nothing more for now: the client is to have what there is.
                    if let Poll::Ready(flushed) = self.client.poll_flush(context) {
                        flushed?;
                    }
                    return Ok(Poll::Pending);
                }
            }
        }
    }

    /// Moves one piece of the answer.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(), Failure>> {
        let room = buffer.get_mut(..PIECE).unwrap_or_default();
        let count = match ready!(self.socket.poll_read(context, room)) {
            Ok(count) => count,
            Err(error) => return Poll::Ready(Err(Failure::death(Reason::Io(error)))),
        };
        self.waits.restart(Waiting::Answer);
        if count == 0 {
            return Poll::Ready(self.close());
        }
        self.has_heard = true;
        let read = room.get(..count).unwrap_or_default();
        Poll::Ready(self.hear(context, read))
    }

    /// The target has closed the connection.
    fn close(&mut self) -> Result<(), Failure> {
        match self.stage {
            Stage::Body(Body::UntilClose) => self.finish(),
            _ => Err(Failure::death(Reason::Said(
                "the target closed the connection",
            ))),
        }
    }

    fn hear(&mut self, context: &mut Context<'_>, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let count = match &mut self.stage {
                Stage::Head => self.hear_head(bytes)?,
                Stage::Body(body) => {
                    let piece = body.advance(bytes).map_err(|_bad| {
                        Failure::of_origin(ProxyError::Broken, "the answer's chunks are none")
                    })?;
                    let (is_over, end) = (body.is_over(), piece.framing + piece.data);
                    let data = bytes.get(piece.framing..end).unwrap_or_default();
                    self.answering.sent(data.len());
                    self.client.write(context, data)?;
                    if is_over {
                        self.finish()?;
                    }
                    end
                }
                Stage::Switched => {
                    self.answering.sent(bytes.len());
                    return self.client.write(context, bytes);
                }
                Stage::Over => {
                    // Of a message that nobody has asked for.
                    self.keeps = false;
                    return Ok(());
                }
            };
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// How many of the bytes belong to the head.
    fn hear_head(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        if self.partial.is_empty() {
            let length = self.read_head(bytes)?;
            if length.is_none() {
                self.partial.extend_from_slice(bytes);
            }
            return Ok(length.unwrap_or(bytes.len()));
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        // A head ends with a line.
        if memchr::memchr(b'\n', bytes).is_none() && self.partial.len() < LONGEST_HEAD {
            return Ok(bytes.len());
        }
        let partial = std::mem::take(&mut self.partial);
        if let Some(length) = self.read_head(&partial)? {
            return Ok(length - before);
        }
        self.partial = partial;
        Ok(bytes.len())
    }

    /// Reads a head; its length, if it is complete.
    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let asked = self.answering.asked;
        let head = Head::parse(bytes, &mut room, asked).map_err(Failure::invalid)?;
        let Some(head) = head else {
            return Ok(None);
        };
        let is_switch = head.framing == Framing::Upgrade;
        if head.status.is_informational() && !is_switch {
            self.answering.inform(self.client, &head);
            return Ok(Some(head.length));
        }
        self.keeps = head.keeps;
        self.answering.begin(self.client, &head)?;
        let body = Body::new(head.framing);
        if is_switch {
            self.stage = Stage::Switched;
        } else if body.is_over() {
            self.finish()?;
        } else {
            self.stage = Stage::Body(body);
        }
        Ok(Some(head.length))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.stage = Stage::Over;
        self.client.end()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn what_a_dead_connection_refuses_is_sent_again_as_a_whole() {
        let (own, other) = UnixStream::pair().unwrap();
        drop(other);
        let mut socket = Socket::unix(own, "/app", 0);
        let mut upload = Upload::new(b"PUT / HTTP/1.1\r\n\r\n".to_vec(), Framing::Length(4));
        upload.keep();
        std::future::poll_fn(|context| {
            upload.put(context, &mut socket, b"body");
            upload.poll_send(context, &mut socket)
        })
        .await;
        assert!(upload.is_refused && upload.rewind());
        assert_eq!(upload.waiting(), b"PUT / HTTP/1.1\r\n\r\nbody");
    }

    #[tokio::test]
    async fn a_request_is_whole_when_its_end_is_sent_not_when_it_is_known() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let mut socket = Socket::unix(own, "/app", 0);
        let mut upload = Upload::new(b"PUT / HTTP/1.1\r\n\r\n".to_vec(), Framing::Chunked);
        std::future::poll_fn(|context| upload.poll_send(context, &mut socket)).await;
        let body = vec![b'x'; PIECE];
        // As much as a target takes that does not read.
        while upload.waiting().is_empty() {
            std::future::poll_fn(|context| {
                upload.put(context, &mut socket, &body);
                Poll::Ready(())
            })
            .await;
        }
        upload.end();
        assert!(!upload.is_whole());
        drop(socket);
        let mut taken = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut other, &mut taken)
            .await
            .unwrap();
        assert!(!taken.ends_with(LAST_CHUNK));
    }
}
