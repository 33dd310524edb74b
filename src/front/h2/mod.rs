//! A connection of HTTP/2: each of its streams is a request, handed to the proxy or to the control
//! service by its path, as those of HTTP/1 are.
//!
//! h2 bounds what one stream or frame may cost. Here are the bounds on a connection: the time for its
//! preface, how long it may be idle, how often it may be wrong or change its mind.

mod body;
mod client;
mod guarded;
mod header_watch;
mod incoming;
mod malformed;
mod pingora;
mod quiet;
mod reply;
mod request;
mod resets;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use h2::Reason;
use http::header::{ACCEPT, CONTENT_LENGTH, HeaderValue};
use log::debug;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;

use super::clients::{ClientLimit, Ticket};
use super::conversation::Http2Client;
use super::downstream::http2::Http2;
use super::fields::decimal;
use super::framing::Framing;
use super::idle::ReusableTimer;
use super::listener::{AcceptError, ListenerMode};
use super::reply::Reply as OwnReply;
use super::request::Request;
use super::service::{ControlService, Decision, Service};
use super::{Engine, Front, LINGER, abort, listener, stopping};
use crate::reply::Refusal;
pub(crate) use body::RequestBody;
pub(super) use client::Client;
use client::InUse;
use header_watch::InHead;
pub(super) use header_watch::Watched;
pub(super) use incoming::Incoming;
use quiet::{Quiet, QuietLimits, TooQuiet};
use reply::SEND_BUFFER;
pub(crate) use reply::{Reply, poll_room};
use streams::{Connection, End, Streams};

/// How many streams of a connection h2 may reset for what the client does wrong.
const MOST_ERRORS: usize = 100;

/// How many times the limit of a head h2 reads of one.
const HEAD_MARGIN: usize = 4;

/// The flow-control windows of a stream and of a connection, in bytes (RFC 9113, 5.2). One upload that is not
/// read leaves the other streams their share.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The budget for the overhead of small frames beside their payload, in bytes: enough for a stream's window full
/// of the shortest messages of gRPC (6 bytes). h2's own, half of the connection's window, ends a connection over
/// 2,000 of them that have come at once.
const FRAME_BUDGET: usize = 4 * 1024 * 1024;

impl<P, C> Front<P, C>
where
    P: Service,
    C: ControlService,
{
    /// Serves the streams of a connection until either side has enough.
    pub(super) async fn serve_http2(
        self: &Arc<Self>,
        stream: Stream,
        mode: ListenerMode,
        mut shutdown: ShutdownWatch,
        mut ticket: Ticket,
    ) {
        let digest = client::digest(&stream);
        let own = (self.options.engine == Engine::Pingora).then(|| client::digest(&stream));
        let peer = listener::peer(&stream);
        let (stream, in_head) = header_watch::watch(stream);
        let handshake = self.http2_options().handshake(stream);
        let limit = self.options.handshake_timeout;
        let handshake = tokio::select! {
            biased;
            handshake = pingora_timeout::tokio_timeout(limit, handshake) => handshake,
            () = stopping(&mut shutdown) => return,
            () = ticket.evicted() => return,
        };
        match handshake {
            Ok(Ok(connection)) => {
                ticket.speak();
                let waker = abort::task_waker().await;
                let client = Client::new(digest, mode, shutdown, waker, ticket);
                let client = Arc::new(client);
                match own {
                    Some(digest) => {
                        self.serve_sessions(connection, client, digest, in_head)
                            .await;
                    }
                    None => self.accept_streams(connection, client, in_head).await,
                }
            }
            Ok(Err(error)) => self.failures.note(peer, &error),
            Err(_elapsed) => self.failures.note(peer, &AcceptError::TooSlow(limit)),
        }
    }

    /// Serves a client of HTTP/2 in cleartext, whose first bytes are already read.
    pub(super) async fn serve_http2_after(
        self: &Arc<Self>,
        client: Http2Client,
        shutdown: ShutdownWatch,
        ticket: Ticket,
    ) {
        let mode = client.connection.mode;
        let transport = client.connection.into_transport();
        let Some(mut socket) = listener::socket(transport) else {
            debug!("HTTP/2 on a connection that is no socket is not spoken");
            return;
        };
        socket.rewind(&client.read);
        self.serve_http2(socket, mode, shutdown, ticket).await;
    }

    fn http2_options(&self) -> h2::server::Builder {
        // h2 refuses what is longer with a bare 431, so most of that is left to `request::check`, which says why.
        let head = self.options.limits.head.saturating_mul(HEAD_MARGIN);
        let head = u32::try_from(head).unwrap_or(u32::MAX);
        let mut options = h2::server::Builder::new();
        options
            .max_concurrent_streams(self.options.http2_streams)
            .max_header_list_size(head)
            .max_local_error_reset_streams(Some(MOST_ERRORS))
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .data_frame_budget(FRAME_BUDGET)
            .max_send_buffer_size(SEND_BUFFER);
        options
    }

    /// The limits on a client that keeps the proxy waiting.
    fn quiet(&self) -> Quiet {
        Quiet::new(QuietLimits {
            first: self.options.handshake_timeout,
            head: self.options.head_timeout,
            idle: self.options.idle_timeout,
        })
    }

    /// Notes why a connection is closed.
    fn note_quiet(&self, client: &Client, why: TooQuiet) {
        if let TooQuiet::SlowHead(limit) = why {
            let reason = AcceptError::SlowHead(limit);
            self.failures.note(client.caller.peer(), &reason);
        }
    }

    /// Takes one stream after the other; each is answered on a task of its own.
    async fn accept_streams(
        self: &Arc<Self>,
        connection: Connection,
        client: Arc<Client>,
        in_head: InHead,
    ) {
        let mut streams = Streams::new(connection, Arc::clone(&client), self.quiet(), in_head);
        loop {
            match streams.next(&self.is_stopping).await {
                Ok(incoming) => {
                    let (in_use, counted) = client.begin();
                    let stream = self.read_stream(incoming, &client, counted);
                    let answered = Arc::clone(self).answer_stream(stream, in_use);
                    // Boxed, and so moved once: a task's future is moved again on each step of its spawn.
                    tokio::spawn(Box::pin(answered));
                }
                Err(End::Enough(reason)) => return streams.close(reason).await,
                Err(End::Quiet(why)) => {
                    self.note_quiet(&client, why);
                    return streams.close(Reason::NO_ERROR).await;
                }
                Err(End::Gone) => return,
            }
        }
    }

    /// Reads and checks the request of a stream, which may be one too many for its client.
    fn read_stream(
        &self,
        incoming: Incoming,
        client: &Client,
        counted: Result<(), ClientLimit>,
    ) -> RequestStream {
        let checked = request::check(&incoming.head, &self.options.limits);
        let framing = framing(&incoming);
        let caller = client.caller.clone();
        let request = Box::new(Request::http2(incoming.head, framing, caller));
        let refusal = match (incoming.malformed, checked) {
            (Some(malformed), _) => Some(malformed.refusal()),
            (None, Err(fault)) => Some(fault.refusal()),
            (None, Ok(())) => self
                .refusal_of(&request, &client.ticket)
                .or_else(|| self.refusal_of_stream(&request, counted)),
        };
        RequestStream {
            request,
            downstream: Http2::new(incoming.body, incoming.reply, self.proxy.id_field()),
            refusal,
            read: Instant::now(),
        }
    }

    /// Answers the request of one stream.
    async fn answer_stream(self: Arc<Self>, stream: RequestStream, in_use: InUse) {
        if stream.refusal.is_some() {
            return Box::pin(self.refuse_stream(stream)).await;
        }
        if self.sheds_stream(&stream.request, stream.read) {
            return Box::pin(self.shed_stream(stream)).await;
        }
        let RequestStream {
            request,
            downstream,
            ..
        } = stream;
        match self.proxy.decide(&request).await {
            Decision::Proxy(plan) => {
                let abort = self.connections.abort(abort::task_waker().await);
                let (mut timer, held) = (ReusableTimer::default(), Arc::clone(&abort));
                // A stream is over with its exchange, and speaks no other protocol.
                drop(
                    self.proxy
                        .serve(plan, request, downstream, held, &mut timer)
                        .await,
                );
            }
            Decision::Control => {
                // Boxed: most streams do not need the room.
                let shutdown = &in_use.client().shutdown;
                Box::pin(self.control.answer(request, downstream, shutdown)).await;
            }
        }
    }

    /// Answers a request that is shed, when the time is over that its client would have to wait otherwise.
    async fn shed_stream(&self, mut stream: RequestStream) {
        tokio::time::sleep(self.rest_of_shed()).await;
        self.shed(&stream.request, &mut stream.downstream).await;
    }

    /// Refuses a request whose head is not one to serve.
    async fn refuse_stream(&self, stream: RequestStream) {
        let RequestStream {
            request,
            mut downstream,
            refusal: Some(refusal),
            ..
        } = stream
        else {
            return;
        };
        let reply = if request.is_grpc() {
            OwnReply::refusal(&refusal, &request, None)
        } else {
            let accept = request.fields().get(&ACCEPT);
            OwnReply::with_body(&refusal, (self.body)(&refusal, accept))
        };
        let (reply, id) = self.named(reply, &refusal, request.caller().peer());
        let sent = reply.send(&mut downstream, request.method(), Some(LINGER));
        if let Err(error) = sent.await {
            debug!("a refused client left before it read why: {error} [{id}]");
        }
    }
}

/// A request that a stream has brought, read.
struct RequestStream {
    request: Box<Request>,
    downstream: Http2,
    /// Why it is refused, if it is.
    refusal: Option<Refusal>,
    /// When it was read.
    read: Instant,
}

/// Where the body of a request ends: with the stream, of which the length may be known.
fn framing(incoming: &Incoming) -> Framing {
    if incoming.body.is_over() {
        return Framing::None;
    }
    let length = incoming.head.headers.get(CONTENT_LENGTH);
    length
        .map(HeaderValue::as_bytes)
        .and_then(decimal)
        .map_or(Framing::Chunked, Framing::Length)
}
