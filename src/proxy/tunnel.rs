//! An exchange after its 101: bytes of another protocol, both ways, until either side has enough.
//!
//! What the request needed is gone by then; an idle tunnel is its two sockets and a few hundred bytes. What
//! is read passes through the thread's buffer, as in `pump`. What the other side does not take at once is
//! kept, and nothing more is read for it until it has.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use log::info;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::in_flight::InFlight;
use super::policy::Policy;
use super::pump::{TURN, with_buffer};
use super::record::{End, Record};
use super::rules::failure::{Failure, Fault, Reason};
use super::rules::timeouts::{Phase, PhaseTimers};
use super::upstream::{PIECE, Socket};
use crate::front::{After, Connection, DownstreamError, Now, ReusableTimer};

/// A client and an upstream that have agreed to another protocol.
pub(super) struct Tunnel<'c> {
    client: &'c mut Connection,
    upstream: Socket,
    timer: &'c mut ReusableTimer,
    policy: Arc<Policy>,
    record: Record,
    progress: Progress,
}

/// The bytes that are on their way.
#[derive(Debug, Default)]
struct Progress {
    to_upstream: Direction,
    to_client: Direction,
    timers: PhaseTimers,
}

impl<'c> Tunnel<'c> {
    pub(super) fn new(
        client: &'c mut Connection,
        upstream: Socket,
        timer: &'c mut ReusableTimer,
        policy: Arc<Policy>,
        record: Record,
    ) -> Self {
        Self {
            client,
            upstream,
            timer,
            policy,
            record,
            progress: Progress::default(),
        }
    }

    /// Moves bytes until either side has enough.
    pub(super) async fn run(mut self: Box<Self>) -> After {
        let abort = self.client.abort_handle();
        let moved = abort
            .run_until_aborted(std::future::poll_fn(|context| self.poll(context)))
            .await;
        if let Some(reason) = self.client.refused_websocket() {
            info!("{}: {reason}", self.record);
        }
        match moved.unwrap_or_else(|| Err(Failure::drained())) {
            Ok(()) => {
                self.record.end = End::Complete;
                After::Close
            }
            Err(failure) => {
                self.fail(&failure);
                After::Abort
            }
        }
    }

    /// Goes on until either side has ended, and the other has what was said before.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let (mut up, mut down) = (true, true);
        let begin = self.record.moved();
        // In turns, so that neither direction waits for the end of the other.
        while up || down {
            if up {
                up = self.move_up(context)?;
            }
            if down {
                down = self.move_down(context)?;
            }
            if self.progress.to_upstream.is_done() || self.progress.to_client.is_done() {
                return Poll::Ready(Ok(()));
            }
            if self.record.moved() - begin >= TURN {
                // The others of the thread are served in between.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            // What the front says at the end, when it reads, waits for the end of a frame that it writes.
            up |= down && self.client.abort().is_aborted();
        }
        self.poll_timers(context).map(Err)
    }

    /// Moves a piece from the client to the upstream; whether anything has moved.
    fn move_up(&mut self, context: &mut Context<'_>) -> Result<bool, Failure> {
        let Progress {
            to_upstream,
            timers,
            ..
        } = &mut self.progress;
        let record = &mut self.record;
        let moved = to_upstream.advance(context, self.client, &mut self.upstream, |count| {
            record.receive(count);
        });
        match moved {
            Ok(moved) => {
                if moved {
                    timers.restart(Phase::Sending);
                    timers.restart(Phase::Silence);
                }
                Ok(moved)
            }
            Err(CopyError::Reading(error)) => Err(DownstreamError::from(error).into()),
            Err(CopyError::Writing(_)) => {
                // The end of what it says, or an error, comes next.
                to_upstream.refuse();
                Ok(true)
            }
        }
    }

    /// Moves a piece from the upstream to the client; whether anything has moved.
    fn move_down(&mut self, context: &mut Context<'_>) -> Result<bool, Failure> {
        let Progress {
            to_client, timers, ..
        } = &mut self.progress;
        let record = &mut self.record;
        let moved = to_client.advance(context, &mut self.upstream, self.client, |count| {
            record.send(count);
        });
        let moved = moved.map_err(|halt| match halt {
            CopyError::Reading(error) => Failure::broken(Reason::Io(error)),
            CopyError::Writing(error) => DownstreamError::from(error).into(),
        })?;
        if moved {
            timers.restart(Phase::Client);
            timers.restart(Phase::Silence);
        }
        Ok(moved)
    }

    /// Ready once somebody has been waited for for too long.
    fn poll_timers(&mut self, context: &mut Context<'_>) -> Poll<Failure> {
        let timeouts = &self.policy.options.timeouts;
        let progress = &mut self.progress;
        let mut now = Now::default();
        let on = [
            (Phase::Sending, progress.to_upstream.is_waiting()),
            (Phase::Client, progress.to_client.is_waiting()),
            (Phase::Silence, timeouts.websocket_idle.is_some()),
        ];
        for (waiting, is_on) in on {
            progress.timers.set(waiting, is_on, &mut now);
        }
        progress.timers.poll(timeouts, self.timer, context)
    }

    /// Tells everybody that it broke off; the client sees it.
    #[cold]
    fn fail(mut self, failure: &Failure) {
        failure.log(&self.record);
        self.record.end = End::ClientGone;
        if let Fault::Upstream(error) = failure.fault {
            self.record.end = End::Reply(error.code());
            let route = self.record.in_flight.as_ref().map(InFlight::route);
            drop(
                self.policy
                    .fail(route, self.record.summary(), error, failure.limit),
            );
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    /// The bytes that have been read and wait to be taken, and how many of them have been.
    rest: Vec<u8>,
    taken: usize,
    /// Whether the transport may still hold bytes.
    is_unflushed: bool,
    /// Whether the end of what goes this way has come.
    is_over: bool,
    /// Whether the side that it leads to takes nothing more.
    is_refused: bool,
}

/// Why a direction does not go on.
#[derive(Debug)]
enum CopyError {
    Reading(io::Error),
    Writing(io::Error),
}

impl Direction {
    /// Whether everything that goes this way has gone.
    fn is_done(&self) -> bool {
        self.is_over && !self.is_waiting()
    }

    /// Whether something waits for the side that it leads to.
    fn is_waiting(&self) -> bool {
        self.is_unflushed || !self.rest.is_empty()
    }

    /// Lets nothing more pass.
    fn refuse(&mut self) {
        *self = Self {
            is_refused: true,
            ..Self::default()
        };
    }

    /// Moves what waits, and a piece behind it; whether anything has moved.
    fn advance(
        &mut self,
        context: &mut Context<'_>,
        from: &mut impl Side,
        to: &mut impl Side,
        note: impl FnOnce(usize),
    ) -> Result<bool, CopyError> {
        let (has_waited, before) = (self.is_waiting(), self.taken);
        match self.poll_taken(context, to) {
            Poll::Ready(taken) => taken.map_err(CopyError::Writing)?,
            Poll::Pending => return Ok(self.taken != before),
        }
        if self.is_over || self.is_refused {
            return Ok(has_waited);
        }
        with_buffer(|buffer| {
            let room = buffer.get_mut(..PIECE).unwrap_or_default();
            let Poll::Ready(read) = from.poll_read(context, room) else {
                return Ok(has_waited);
            };
            let count = read.map_err(CopyError::Reading)?;
            if count == 0 {
                self.is_over = true;
                return Ok(true);
            }
            note(count);
            let piece = room.get(..count).unwrap_or_default();
            self.put(context, to, piece).map_err(CopyError::Writing)?;
            Ok(true)
        })
    }

    /// Writes a piece from where it is, as far as it is taken.
    fn put(
        &mut self,
        context: &mut Context<'_>,
        to: &mut impl Side,
        mut piece: &[u8],
    ) -> io::Result<()> {
        self.is_unflushed = true;
        while !piece.is_empty() {
            let Poll::Ready(count) = to.poll_write(context, piece) else {
                self.rest.extend_from_slice(piece);
                return Ok(());
            };
            piece = piece.get(some(count?)?..).unwrap_or_default();
        }
        match self.poll_taken(context, to) {
            Poll::Ready(taken) => taken,
            Poll::Pending => Ok(()),
        }
    }

    /// Ready once nothing waits.
    fn poll_taken(
        &mut self,
        context: &mut Context<'_>,
        to: &mut impl Side,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.rest.get(self.taken..)
            && !rest.is_empty()
        {
            self.taken += some(ready!(to.poll_write(context, rest))?)?;
        }
        if !self.rest.is_empty() {
            // Its room, too: most of the time nothing waits.
            self.rest = Vec::new();
            self.taken = 0;
        }
        if self.is_unflushed {
            ready!(to.poll_flush(context))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Turns a write of 0 bytes into `WriteZero`.
fn some(count: usize) -> io::Result<usize> {
    match count {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// One end of a tunnel.
trait Side {
    /// Reads into `room`; 0 at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `bytes`.
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Ready once everything that was written is on its way.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Side for Connection {
    fn poll_read(&mut self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(room);
        ready!(AsyncRead::poll_read(Pin::new(self), context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(self), context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), context)
    }
}

impl Side for Socket {
    fn poll_read(&mut self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        Self::poll_read(self, context, room)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self, context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside this, an idle one holds what an idle connection does (`front`), and tokio's I/O registration
    /// of its other socket.
    #[test]
    fn an_idle_tunnel_is_small() {
        let size = size_of::<Tunnel<'_>>();
        assert!(size <= 512, "{size} bytes");
    }
}
