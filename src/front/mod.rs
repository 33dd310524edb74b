//! The front of a connection: Pingora hands every accepted connection to [`Front`], and the front reads
//! single requests from it, each into one [`Request`], for the proxy or the control service behind the same
//! socket. Both answer through a [`Downstream`].
//!
//! While a connection is idle only the small future of `Front::next_head` waits for it; what an exchange
//! needs exists only during a request. The front also gives the head of a request a total deadline and a
//! strict check (`head`), which Pingora 0.9.1 does not.
//!
//! Pingora takes every connection for plain TCP: what comes before HTTP (`intake`: the PROXY
//! protocol, TLS), and the choice between HTTP/1 and HTTP/2 (`greeting`, `h2`), is made here.

mod accept;
mod accepted;
mod balance;
mod caller;
mod chunked;
mod clients;
mod connection;
mod connections;
mod control_only;
mod downstream;
mod duplicate;
mod engine;
mod failures;
mod farewell;
mod fields;
mod frames;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod greeting;
mod h2;
mod head;
mod hello;
mod hold;
mod idle;
mod intake;
mod leash;
mod overload;
mod pace;
mod patience;
mod pingora;
mod pingora_io;
mod proxy_protocol;
mod reply;
mod request;
mod request_id;
mod reset;
mod service;
mod tls_client;
mod upload_watch;
mod wait;
mod websocket;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use log::debug;
use pingora_core::protocols::Shutdown;
use pingora_core::server::ShutdownWatch;

use crate::answer::{Body, Refusal};

pub(crate) use balance::{Balance, Seat};
pub use caller::Caller;
pub(crate) use chunked::BadChunk;
pub(crate) use clients::ClientMeter;
use clients::Ticket;
#[cfg(test)]
use clients::test_ticket;
pub use clients::{ClientLimit, ClientLimits, Clients, LimitCounts};
pub use connection::Connection;
pub use connections::Connections;
pub use control_only::ControlOnly;
use downstream::http1::Http1;
pub use downstream::{Downstream, DownstreamError, Ended, ResponseStart};
pub(crate) use duplicate::duplicate;
pub use engine::Engine;
use failures::Failures;
use farewell::{LINGER, dismiss, head_too_slow};
pub(crate) use fields::{Field, Fields, decimal, list};
pub(crate) use framing::{
    Body as BodyScan, CHUNK_END, CHUNK_HEAD, Framing, LAST_CHUNK, chunk_head,
};
use greeting::Speech;
pub(crate) use h2::poll_room;
pub(crate) use head::HeadLimits;
use head::HeadScan;
pub(crate) use hold::Hold;
pub use idle::Deadline;
pub(crate) use intake::Intakes;
pub use intake::{HttpsRedirect, Intake};
pub use leash::Leash;
pub(crate) use leash::{Drained, FAREWELL};
use overload::Overload;
pub(crate) use overload::OverloadLimits;
pub use overload::Shed;
pub(crate) use pace::{Now, Pace, TooSlow};
pub(crate) use patience::OriginSilent;
pub(crate) use reply::{DRAIN, Reply, drain};
pub use request::Request;
#[cfg(test)]
pub(crate) use request::tests::request as test_request;
pub use request_id::{RequestId, RequestIds};
pub use service::{ControlService, Decision, Outcome, Service};
pub use tls_client::TlsClient;
pub(crate) use websocket::FrameLimits;

/// What the front needs to know of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct FrontOptions {
    pub(crate) limits: HeadLimits,
    /// Total time for a head, from its first byte on.
    pub(crate) head_timeout: Duration,
    /// Total time for what comes before the first request: PROXY protocol, TLS, HTTP/2's preface.
    pub(crate) handshake_timeout: Duration,
    /// Time without a request after which a connection is closed.
    pub(crate) idle_timeout: Option<Duration>,
    /// How listeners take connections in.
    pub(crate) intakes: Intakes,
    /// How many streams of one connection a client may have open at a time.
    pub(crate) http2_streams: u32,
    /// What carries the requests.
    pub(crate) engine: Engine,
    /// How requests get their ids.
    pub(crate) request_ids: RequestIds,
    /// What a client may send over a WebSocket at a time.
    pub(crate) frames: Option<Arc<FrameLimits>>,
    /// When requests are shed; `None` for never.
    pub(crate) overload: Option<OverloadLimits>,
}

/// The body of a refusal, as the clients of the services know it; by the request's `Accept` field,
/// where that is known.
type BodyOf = fn(&Refusal, Option<&[u8]>) -> Body;

/// The application that Pingora's listeners feed: one socket, two services behind it.
///
/// Mount it as `pingora_core::services::listening::Service<Front<_, _>>`; `DynamicProxy::service`
/// does so.
pub struct Front<P, C> {
    proxy: Arc<P>,
    control: Arc<C>,
    options: FrontOptions,
    connections: Arc<Connections>,
    clients: Arc<Clients>,
    overload: Overload,
    failures: Failures,
    refused: Failures,
    body: BodyOf,
    /// Done once somebody waits for the server's stop, on behalf of all connections.
    stop_watch: Once,
    /// Whether the server has begun to stop: read by all connections, and written once.
    is_stopping: AtomicBool,
    /// The place among other workers, if there are any.
    seat: Option<Seat<Self>>,
}

impl<P, C> Front<P, C> {
    pub(crate) fn new(
        proxy: P,
        control: C,
        options: FrontOptions,
        connections: Arc<Connections>,
        (clients, shed): (Arc<Clients>, Arc<Shed>),
    ) -> Self {
        Self {
            proxy: Arc::new(proxy),
            control: Arc::new(control),
            overload: Overload::new(options.overload, shed),
            options,
            connections,
            clients,
            failures: Failures::new("no connection"),
            refused: Failures::new("refused"),
            body: Refusal::body,
            stop_watch: Once::new(),
            is_stopping: AtomicBool::new(false),
            seat: None,
        }
    }

    /// This front as one of several workers.
    pub(crate) fn seated(mut self, seat: Seat<Self>) -> Self {
        self.seat = Some(seat);
        self
    }

    /// Takes connections from the other workers too, from now on and in this runtime.
    pub(crate) fn settle(self: &Arc<Self>, shutdown: ShutdownWatch) {
        if let Some(seat) = &self.seat {
            seat.settle(self, shutdown);
        }
    }
}

impl<C> Front<ControlOnly, C> {
    /// A front with the control API behind it, for every path.
    pub(crate) fn of_control(
        control: C,
        options: FrontOptions,
        connections: Arc<Connections>,
        clients: Arc<Clients>,
    ) -> Self {
        Self {
            body: |refusal, _accept| refusal.problem(),
            ..Self::new(
                ControlOnly,
                control,
                options,
                connections,
                (clients, Arc::default()),
            )
        }
    }
}

/// What became of the wait for a request.
enum Next {
    /// A request, and what came behind its head.
    Request(Box<Request>, BytesMut),
    /// The client speaks HTTP/2; these are its first bytes.
    Http2(BytesMut),
    Refuse(Refusal),
    /// The client speaks TLS where there is none.
    Alert,
    Close,
}

/// A client that turned out to speak HTTP/2.
struct Http2Client {
    connection: Box<Connection>,
    read: BytesMut,
}

impl<P, C> Front<P, C>
where
    P: Service,
    C: ControlService,
{
    /// Serves one request after the other until either side has enough, or the client turns out to
    /// speak HTTP/2.
    async fn converse(
        &self,
        mut connection: Box<Connection>,
        shutdown: ShutdownWatch,
        ticket: &mut Ticket,
    ) -> Option<Http2Client> {
        let mut timer = Deadline::default();
        loop {
            match self.next_head(&mut connection, &mut timer, ticket).await {
                Next::Request(request, early) => {
                    if let Some(refusal) = self.refusal_of(&request, ticket) {
                        Box::pin(self.refuse(&mut connection, &refusal)).await;
                        return None;
                    }
                    connection.is_last = ticket.is_at_limit();
                    connection = self
                        .serve(connection, request, early, &mut timer, &shutdown)
                        .await?;
                }
                Next::Http2(read) => return Some(Http2Client { connection, read }),
                // Rare, and larger than the rest: not a part of the idle future.
                Next::Refuse(refusal) => {
                    Box::pin(self.refuse(&mut connection, &refusal)).await;
                    return None;
                }
                Next::Alert => {
                    let peer = intake::peer(&connection.transport);
                    self.failures.note(peer, &"TLS on a port in cleartext");
                    Box::pin(dismiss(&mut connection, greeting::ALERT)).await;
                    return None;
                }
                Next::Close => {
                    Shutdown::shutdown(&mut *connection).await;
                    return None;
                }
            }
        }
    }

    /// Waits for the next request's head: the first one for no longer than for what comes before it, and
    /// unless another connection needs the place.
    async fn next_head(
        &self,
        connection: &mut Connection,
        timer: &mut Deadline,
        ticket: &mut Ticket,
    ) -> Next {
        if !ticket.is_silent() {
            return self
                .head_within(connection, timer, self.options.idle_timeout)
                .await;
        }
        // Boxed: once in a connection's life.
        let limit = Some(self.options.handshake_timeout);
        let mut head = Box::pin(self.head_within(connection, timer, limit));
        let next = tokio::select! {
            biased;
            next = &mut head => next,
            () = ticket.evicted() => Next::Close,
        };
        drop(head);
        ticket.speak();
        next
    }

    /// Waits for a head: without a buffer until its first byte, for which there is this time, then for at
    /// most the head's deadline.
    async fn head_within(
        &self,
        connection: &mut Connection,
        timer: &mut Deadline,
        idle: Option<Duration>,
    ) -> Next {
        let mut buffer = BytesMut::new();
        let stop = &self.is_stopping;
        if !idle::first_bytes(connection, timer, idle, stop, &mut buffer).await {
            return Next::Close;
        }
        let mut scan = HeadScan::default();
        // The usual case has the whole head in the first read, and no timer.
        if let Some(next) = self.complete(connection, &mut scan, &mut buffer) {
            return next;
        }
        let rest = self.rest_of_head(connection, &mut scan, &mut buffer);
        match pingora_timeout::tokio_timeout(self.options.head_timeout, rest).await {
            Ok(next) => next,
            Err(_elapsed) => Next::Refuse(head_too_slow(self.options.head_timeout)),
        }
    }

    /// Reads on until the head is complete, or the client leaves.
    async fn rest_of_head(
        &self,
        connection: &mut Connection,
        scan: &mut HeadScan,
        buffer: &mut BytesMut,
    ) -> Next {
        loop {
            match connection.fill(buffer).await {
                Ok(0) => return Next::Close,
                Ok(_) => {}
                Err(error) => {
                    debug!("a client left within the head of a request: {error}");
                    return Next::Close;
                }
            }
            if let Some(next) = self.complete(connection, scan, buffer) {
                return next;
            }
        }
    }

    /// What follows from the bytes that have come; none if more have to.
    fn complete(
        &self,
        connection: &Connection,
        scan: &mut HeadScan,
        buffer: &mut BytesMut,
    ) -> Option<Next> {
        match connection.greeting.heard(buffer) {
            Speech::Http1 => match head::take(scan, buffer, &self.options.limits) {
                Ok(None) => None,
                Ok(Some((length, head))) => {
                    let mut bytes = std::mem::take(buffer);
                    let early = bytes.split_off(length);
                    let request = Request::http1(bytes, head, connection.caller());
                    Some(Next::Request(Box::new(request), early))
                }
                Err(error) => Some(Next::Refuse(error.refusal())),
            },
            Speech::Http2 => Some(Next::Http2(std::mem::take(buffer))),
            Speech::Tls => Some(Next::Alert),
            Speech::Open => None,
        }
    }

    /// Hands one request to the service that it is for; the connection comes back if another
    /// request may follow.
    async fn serve(
        &self,
        mut connection: Box<Connection>,
        request: Box<Request>,
        early: BytesMut,
        timer: &mut Deadline,
        shutdown: &ShutdownWatch,
    ) -> Option<Box<Connection>> {
        let early = connection.open(request.framing(), early);
        if connection.is_malformed() {
            let status = StatusCode::BAD_REQUEST;
            let refusal = Refusal::new(status, "BAD_REQUEST", BadChunk.to_string());
            Box::pin(self.refuse(&mut connection, &refusal)).await;
            return None;
        }
        let rested = connection.rested.take();
        if self.sheds(&request, rested) {
            return Box::pin(self.shed_http1(connection, &request, early, timer)).await;
        }
        if self.options.engine == Engine::Pingora {
            let session = self.serve_session(connection, request, early, shutdown);
            return Box::pin(session).await;
        }
        // Boxed: what a request needs is no part of the future of an idle connection, nor of a tunnel.
        let exchange = Box::pin(self.exchange(&mut connection, request, early, timer, shutdown));
        let ended = match exchange.await {
            Outcome::Ended(ended) => ended,
            Outcome::Switched(tunnel) => tunnel.await,
        };
        keep(connection, ended).await
    }

    /// Answers one request over HTTP/1.
    async fn exchange<'c>(
        &'c self,
        connection: &'c mut Connection,
        request: Box<Request>,
        early: BytesMut,
        timer: &'c mut Deadline,
        shutdown: &'c ShutdownWatch,
    ) -> Outcome<'c> {
        let abort = connection.held();
        let downstream = Http1::new(connection, &request, early, &self.is_stopping);
        match self.proxy.decide(&request).await {
            Decision::Proxy(plan) => {
                self.proxy
                    .serve(plan, request, downstream, abort, timer)
                    .await
            }
            Decision::Control => {
                let answered = Box::pin(self.control.answer(request, downstream, shutdown));
                Outcome::Ended(answered.await)
            }
        }
    }
}

/// The connection, if another request may follow; else it is closed.
async fn keep(mut connection: Box<Connection>, ended: Ended) -> Option<Box<Connection>> {
    match ended {
        Ended::Kept => {
            connection.close();
            Some(connection)
        }
        Ended::Closed => {
            Shutdown::shutdown(&mut *connection).await;
            None
        }
        Ended::Broken => None,
    }
}

/// Returns when the server begins to stop.
async fn stopping(shutdown: &mut ShutdownWatch) {
    // An error means that the server is gone, which is a stop as well.
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        debug!("the server's shutdown watch is gone");
    }
}

#[cfg(test)]
mod tests;
