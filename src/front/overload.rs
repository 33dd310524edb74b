//! Load shedding: a request that has waited too long for its turn is answered with 503 at once, so that the
//! thread has time for those that have not.
//!
//! How long a request has waited is asked of the kernel: the time since the connection's last bytes came
//! in (`TCP_INFO`) covers the queue of connections to be accepted, the sockets that nobody has read yet and the
//! tasks of the thread, and the time for which the process was not allowed to run. A stream of HTTP/2 has
//! also waited since its connection's task has read it, and for as long as tasks wait for their turn: a timer
//! that comes late tells how long that is.
//!
//! The rule is that of `CoDel` (RFC 8289): some waiting is no overload, only waiting that lasts. While nothing is shed,
//! one request in 10 ms is looked at. Once requests have waited for longer than the target throughout
//! an interval, each is looked at, and those above the target are shed, until none has been for a while.
//! There is a timer only meanwhile.
//!
//! To shed a request costs about half of what it costs to serve it, so clients that ask again at once could
//! take all of the thread's time. Therefore a connection of HTTP/1 is left alone after that for the time that
//! `Retry-After` says, or longer if there are too many of them.

mod new_connection;
mod replies;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use log::{debug, info, warn};
use parking_lot::Mutex;
use pingora_core::protocols::SocketDigest;

use super::connection::Connection;
use super::downstream::Downstream;
use super::downstream::http1::Http1;
use super::idle::ReusableTimer;
use super::reply::LINGER;
use super::reply::{Reply, drain};
use super::request::Request;
use super::{Front, Service};
pub(super) use new_connection::NewConnection;
use replies::Replies;

/// How often a request is looked at while nothing is shed.
const EVERY: Duration = Duration::from_millis(10);

/// A longer time without a request that was looked at interrupts an interval.
const GAP: Duration = Duration::from_millis(100);

/// How long no request has waited for longer than the target when an overload is over, beside the time for
/// which connections are left alone. Meanwhile those that have not waited are served as ever; after it, it takes
/// an interval again until the first is shed, and those that come meanwhile are served late.
const CALM: Duration = Duration::from_secs(5);

/// How often it is looked whether an overload is over, and how long a task waits for its turn.
const WATCH: Duration = Duration::from_millis(50);

/// How many turns a stream of HTTP/2 needs beside the one in which it is looked at.
const TURNS_OF_A_STREAM: u32 = 2;

/// The shortest time for which a connection is left alone, which is what `Retry-After` says, and the longest.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// The longest time for which the reply to a stream of HTTP/2 is held back: a stop of the server waits for it.
const LONGEST_HOLD: Duration = Duration::from_secs(2);

/// How many pieces of 4 KiB of a body are read before its request is shed.
const SKIPPED: usize = 16;

/// When requests are shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverloadLimits {
    /// How long a request may wait for its turn.
    pub(crate) target: Duration,
    /// For how long requests have waited for longer when the first is shed.
    pub(crate) interval: Duration,
}

/// The requests that a proxy has shed, on all of its threads.
#[derive(Debug, Default)]
pub(crate) struct Shed {
    requests: AtomicU64,
    handshakes: AtomicU64,
    overload: Mutex<Overloaded>,
}

/// The overload that there is.
#[derive(Debug, Default)]
struct Overloaded {
    /// How many services shed.
    services: usize,
    since: Option<Instant>,
    /// How many requests and handshakes were shed before.
    before: (u64, u64),
}

impl Shed {
    /// How many requests have been shed since the start.
    #[must_use]
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many connections have been closed since the start in place of a handshake of TLS.
    #[must_use]
    pub(crate) fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// A service begins to shed. The first has a line in the log.
    fn begin(&self, waited: Duration, target: Duration) {
        let mut overload = self.overload.lock();
        overload.services += 1;
        if overload.services == 1 {
            overload.since = Some(Instant::now());
            overload.before = (self.requests(), self.handshakes());
            warn!(
                "overload: a request has waited {waited:?} for its turn, longer than \
                 overload.target ({target:?}); such requests are answered with 503 until it is over, and \
                 connections that begin with TLS are closed"
            );
        }
    }

    /// A service sheds no more. The last has a line in the log.
    fn end(&self) {
        let mut overload = self.overload.lock();
        overload.services = overload.services.saturating_sub(1);
        if overload.services == 0 {
            let since = overload.since.take();
            let after = since.map(|since| since.elapsed()).unwrap_or_default();
            let (requests, handshakes) = overload.before;
            let (requests, handshakes) =
                (self.requests() - requests, self.handshakes() - handshakes);
            info!(
                "the overload is over after {:.1} s: {handshakes} connections were closed before TLS, \
                 {requests} requests were answered with 503",
                after.as_secs_f64()
            );
        }
    }
}

/// Decides which requests of a service are shed.
#[derive(Debug)]
pub(super) struct Overload {
    limits: Option<OverloadLimits>,
    shed: Arc<Shed>,
    replies: Replies,
    state: Arc<State>,
}

/// The waits that have been measured, and whether requests are shed. Times are microseconds since `epoch`.
#[derive(Debug)]
struct State {
    epoch: Instant,
    /// When the next request is looked at; 0 while requests are shed.
    next_look: AtomicU64,
    /// Since when every request that was looked at had waited for too long.
    above_since: AtomicU64,
    /// When the last one had.
    last_above: AtomicU64,
    /// For how long it had.
    last_wait: AtomicU64,
    is_shedding: AtomicBool,
    /// When `watch` is to be woken next, while requests are shed.
    watch_due: AtomicU64,
    /// How long a task waited for its turn when `watch` was woken last.
    last_turn: AtomicU64,
}

/// In place of a time: never.
const NEVER: u64 = u64::MAX;

impl Overload {
    pub(super) fn new(limits: Option<OverloadLimits>, shed: Arc<Shed>) -> Self {
        Self {
            limits,
            shed,
            replies: Replies::new(),
            state: Arc::new(State::new()),
        }
    }

    /// Whether the request that begins now is to be shed; one in 10 ms is looked at unless this one is to be.
    fn sheds(&self, is_looked_at: bool, wait: impl FnOnce(Instant) -> Wait) -> bool {
        let Some(limits) = self.limits else {
            return false;
        };
        let now = Instant::now();
        let next_look = self.state.next_look.load(Ordering::Relaxed);
        if !is_looked_at && self.state.micros(now) < next_look {
            return false;
        }
        let wait = wait(now);
        match self.state.look(now, wait, limits) {
            Look::Serve => false,
            Look::Shed => true,
            Look::Begin => {
                self.shed.begin(wait.for_us, limits.target);
                tokio::spawn(watch(Arc::clone(&self.state), Arc::clone(&self.shed)));
                true
            }
        }
    }

    fn is_shedding(&self) -> bool {
        self.state.is_shedding.load(Ordering::Relaxed)
    }

    /// The reply to a request that is shed, which is counted.
    pub(super) fn reply(&self, request: &Request) -> &Reply {
        self.shed.requests.fetch_add(1, Ordering::Relaxed);
        self.replies.of(request)
    }
}

/// How long a request has waited.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// Since it came in.
    in_all: Duration,
    /// The part of it for which the thread had others to serve: not that for which its connection was left
    /// alone.
    for_us: Duration,
}

impl Wait {
    /// The wait of a request whose connection was not left alone.
    fn of(in_all: Duration) -> Self {
        Self {
            in_all,
            for_us: in_all,
        }
    }
}

/// The consequence of how long a request has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Serve,
    Shed,
    /// It is the first that is shed.
    Begin,
}

impl State {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            next_look: AtomicU64::new(0),
            above_since: AtomicU64::new(NEVER),
            last_above: AtomicU64::new(0),
            last_wait: AtomicU64::new(0),
            is_shedding: AtomicBool::new(false),
            watch_due: AtomicU64::new(NEVER),
            last_turn: AtomicU64::new(0),
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.epoch))
    }

    #[cold]
    fn look(&self, now: Instant, wait: Wait, limits: OverloadLimits) -> Look {
        let now = self.micros(now);
        let is_shedding = self.is_shedding.load(Ordering::Relaxed);
        if !is_shedding {
            let next = now.saturating_add(micros(EVERY));
            self.next_look.store(next, Ordering::Relaxed);
        }
        if wait.for_us <= limits.target {
            self.above_since.store(NEVER, Ordering::Relaxed);
            // It was sent before the time was over that its client was asked to wait.
            let is_late = wait.in_all > limits.target;
            return if is_late { Look::Shed } else { Look::Serve };
        }
        let last = self.last_above.swap(now, Ordering::Relaxed);
        let last_wait = micros(wait.for_us);
        self.last_wait.store(last_wait, Ordering::Relaxed);
        if is_shedding {
            return Look::Shed;
        }
        let mut since = self.above_since.load(Ordering::Relaxed);
        if since == NEVER || now.saturating_sub(last) > micros(GAP) {
            self.above_since.store(now, Ordering::Relaxed);
            since = now;
        }
        if now.saturating_sub(since) < micros(limits.interval) {
            return Look::Serve;
        }
        if self.is_shedding.swap(true, Ordering::Relaxed) {
            return Look::Shed;
        }
        self.next_look.store(0, Ordering::Relaxed);
        Look::Begin
    }

    /// `watch` is to have its turn then.
    fn expect_turn(&self, due: Instant) {
        self.watch_due.store(self.micros(due), Ordering::Relaxed);
    }

    /// `watch` has its turn.
    fn note_turn(&self, now: Instant) {
        let due = self.watch_due.swap(NEVER, Ordering::Relaxed);
        let turn = self.micros(now).saturating_sub(due);
        self.last_turn.store(turn, Ordering::Relaxed);
    }

    /// How long a task waits for its turn now, as far as `watch` has seen; zero while nothing is shed.
    fn turn(&self, now: Instant) -> Duration {
        let due = self.watch_due.load(Ordering::Relaxed);
        let overdue = self.micros(now).saturating_sub(due);
        let last = self.last_turn.load(Ordering::Relaxed);
        Duration::from_micros(overdue.max(last))
    }

    /// For how long the connection of a request that is shed is left alone. All clients together are looked at
    /// once in this time, which takes as long as the last request has waited: a quarter of the thread's time.
    fn rest(&self) -> Duration {
        let last_wait = Duration::from_micros(self.last_wait.load(Ordering::Relaxed));
        (4 * last_wait).clamp(SHORTEST_REST, LONGEST_REST)
    }

    /// Sheds no more if no request has waited for too long for [`CALM`], nor since those came back whose
    /// connections were left alone; whether that is so.
    fn calm_down(&self, now: Instant) -> bool {
        let now = self.micros(now);
        let last = self.last_above.load(Ordering::Relaxed);
        let is_calm = now.saturating_sub(last) >= micros(CALM + self.rest());
        if is_calm {
            self.above_since.store(NEVER, Ordering::Relaxed);
            self.last_turn.store(0, Ordering::Relaxed);
            self.is_shedding.store(false, Ordering::Relaxed);
        }
        is_calm
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(NEVER)
}

/// Waits for the end of an overload.
async fn watch(state: Arc<State>, shed: Arc<Shed>) {
    loop {
        let due = Instant::now() + WATCH;
        state.expect_turn(due);
        tokio::time::sleep_until(due.into()).await;
        let now = Instant::now();
        state.note_turn(now);
        if state.calm_down(now) {
            return shed.end();
        }
    }
}

/// How long ago the client's last bytes came in; zero where the kernel does not say.
fn age(socket: Option<&SocketDigest>) -> Duration {
    let info = socket.and_then(SocketDigest::tcp_info);
    info.map_or(Duration::ZERO, |info| {
        Duration::from_millis(info.tcpi_last_data_recv.into())
    })
}

/// How long a stream of HTTP/2 will have waited: the kernel's word on its connection, the time since it was read,
/// how long a turn takes now.
fn wait_of_stream(age: Duration, since_read: Duration, turn: Duration) -> Duration {
    // Before it was read it has waited too, which the kernel does not say if later bytes have come over the
    // connection. And it has to wait for its turn again: for the app's response, and with it for the
    // connection's.
    let turns = TURNS_OF_A_STREAM * turn;
    age.max(2 * since_read).max(since_read + turns)
}

/// Reads what has come of a body, as far as that is not much: behind the whole of it another request may
/// follow.
async fn skip_body<D: Downstream>(downstream: &mut D) {
    let mut room = [0; 4096];
    std::future::poll_fn(|context| {
        for _ in 0..SKIPPED {
            match downstream.poll_body(context, &mut room) {
                Poll::Ready(Ok(1..)) => {}
                _ => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Leaves a connection alone for a while; none if the client leaves meanwhile. Whoever asks again at once has
/// no more of the thread's time than one who waits.
async fn leave_alone(
    mut connection: Box<Connection>,
    time: Duration,
    timer: &mut ReusableTimer,
) -> Option<Box<Connection>> {
    let end = tokio::time::Instant::now() + time;
    let stays = std::future::poll_fn(|context| {
        if connection.poll_ahead(context).is_ready() && connection.ahead.is_empty() {
            return Poll::Ready(false);
        }
        timer.poll(end, context).map(|()| true)
    });
    if !stays.await {
        return None;
    }
    connection.rested = Some(end);
    Some(connection)
}

impl<P: Service, C> Front<P, C> {
    /// Whether a request of HTTP/1 is shed, on a connection that was left alone until `rested`. What is for
    /// the control service never is, nor is a health probe.
    pub(super) fn sheds(&self, request: &Request, rested: Option<tokio::time::Instant>) -> bool {
        let wait = |now: Instant| {
            let in_all = age(request.caller().socket.as_deref());
            let rested = rested.map(|rested| now.saturating_duration_since(rested.into_std()));
            Wait {
                in_all,
                for_us: rested.map_or(in_all, |rested| rested.min(in_all)),
            }
        };
        self.overload.sheds(rested.is_some(), wait) && !self.proxy.is_exempt(request)
    }

    /// Whether a request of HTTP/2 is shed that its connection's task has read at `read`.
    pub(super) fn sheds_stream(&self, request: &Request, read: Instant) -> bool {
        let wait = |now: Instant| {
            let age = age(request.caller().socket.as_deref());
            let since_read = now.saturating_duration_since(read);
            Wait::of(wait_of_stream(
                age,
                since_read,
                self.overload.state.turn(now),
            ))
        };
        self.overload.sheds(false, wait) && !self.proxy.is_exempt(request)
    }

    /// How long the reply to a request of HTTP/2 that is shed is held back. Its connection cannot be left alone,
    /// as one of HTTP/1 is, without its other streams; but a client has only so many of them. Whoever asks
    /// again at once would take the thread's time from those who do not, since to shed a stream costs nearly
    /// what it costs to serve it.
    pub(super) fn rest_of_shed(&self) -> Duration {
        self.overload.state.rest().min(LONGEST_HOLD)
    }

    /// Answers a request that is shed.
    pub(super) async fn shed<D: Downstream>(&self, request: &Request, downstream: &mut D) {
        let id = self.options.request_ids.of(request);
        let field = self.options.request_ids.field.as_str();
        let reply = self.overload.reply(request);
        let named = Some((field.as_bytes(), id.as_bytes()));
        if !downstream.is_body_over() {
            Box::pin(skip_body(downstream)).await;
        }
        let sent = reply.send_named(named, downstream, request.method(), Some(LINGER));
        if let Err(error) = sent.await {
            debug!("a client left before it read that its request is shed: {error} [{id}]");
            return downstream.abandon();
        }
        if downstream.wants_drain() {
            drain(downstream, &id).await;
        }
    }

    /// Answers a request of HTTP/1 that is shed, and leaves its connection alone for a while.
    pub(super) async fn shed_http1(
        &self,
        mut connection: Box<Connection>,
        request: &Request,
        early: BytesMut,
        timer: &mut ReusableTimer,
    ) -> Option<Box<Connection>> {
        let mut downstream = Http1::new(&mut connection, request, early, &self.is_stopping);
        self.shed(request, &mut downstream).await;
        let ended = downstream.after();
        let connection = ended.keep(connection).await?;
        if self.overload.is_shedding() {
            leave_alone(connection, self.overload.state.rest(), timer).await
        } else {
            Some(connection)
        }
    }
}

#[cfg(test)]
mod tests;
