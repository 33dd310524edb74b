//! One request after the other over a connection of HTTP/1, until either side has enough.

use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use log::debug;
use pingora_core::protocols::Shutdown;
use pingora_core::server::ShutdownWatch;

use super::Front;
use super::chunked::BadChunk;
use super::clients::Ticket;
use super::connection::Connection;
use super::downstream::http1::Http1;
use super::engine::Engine;
use super::head::{self, HeadScan};
use super::idle::{self, ReusableTimer};
use super::lingering_close::{dismiss, head_too_slow};
use super::listener;
use super::request::Request;
use super::service::{ControlService, Decision, Outcome, Service};
use super::sniff::{self, Sniffed};
use crate::reply::Refusal;

/// The outcome of the wait for a request.
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
pub(super) struct Http2Client {
    pub(super) connection: Box<Connection>,
    pub(super) read: BytesMut,
}

impl<P, C> Front<P, C>
where
    P: Service,
    C: ControlService,
{
    /// Serves one request after the other until either side has enough, or the client turns out to
    /// speak HTTP/2.
    pub(super) async fn converse(
        &self,
        mut connection: Box<Connection>,
        shutdown: ShutdownWatch,
        ticket: &mut Ticket,
    ) -> Option<Http2Client> {
        let mut timer = ReusableTimer::default();
        loop {
            match self.next_head(&mut connection, &mut timer, ticket).await {
                Next::Request(mut request, early) => {
                    if let Some(refusal) = self.refusal_of(&request, ticket) {
                        Box::pin(self.refuse(&mut connection, &refusal)).await;
                        return None;
                    }
                    connection.is_last = ticket.is_at_limit();
                    connection.takes_much = ticket.takes_much();
                    request.set_takes_much(connection.takes_much);
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
                    let peer = listener::peer(&connection.transport);
                    self.failures.note(peer, &"TLS on a port in cleartext");
                    Box::pin(dismiss(&mut connection, sniff::ALERT)).await;
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
        timer: &mut ReusableTimer,
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
        timer: &mut ReusableTimer,
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

    /// The consequence of the bytes that have come; none if more have to.
    fn complete(
        &self,
        connection: &Connection,
        scan: &mut HeadScan,
        buffer: &mut BytesMut,
    ) -> Option<Next> {
        match connection.sniff.sniff(buffer) {
            Sniffed::Http1 => match head::take(scan, buffer, &self.options.limits) {
                Ok(None) => None,
                Ok(Some((length, head))) => {
                    let mut bytes = std::mem::take(buffer);
                    let early = bytes.split_off(length);
                    let request = Request::http1(bytes, head, connection.caller());
                    Some(Next::Request(Box::new(request), early))
                }
                Err(error) => Some(Next::Refuse(error.refusal())),
            },
            Sniffed::Http2 => Some(Next::Http2(std::mem::take(buffer))),
            Sniffed::Tls => Some(Next::Alert),
            Sniffed::Open => None,
        }
    }

    /// Hands one request to the service that it is for; the connection comes back if another
    /// request may follow.
    async fn serve(
        &self,
        mut connection: Box<Connection>,
        request: Box<Request>,
        early: BytesMut,
        timer: &mut ReusableTimer,
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
        // A pipelined request has waited for the response before it, and not for its turn.
        let is_pipelined = std::mem::take(&mut connection.is_pipelined);
        if !is_pipelined && self.sheds(&request, rested) {
            return Box::pin(self.shed_http1(connection, &request, early, timer)).await;
        }
        let mut connection = self
            .answer(connection, request, early, timer, shutdown)
            .await?;
        connection.is_pipelined = !connection.ahead.is_empty();
        Some(connection)
    }

    /// Answers one request with the engine that there is.
    async fn answer(
        &self,
        mut connection: Box<Connection>,
        request: Box<Request>,
        early: BytesMut,
        timer: &mut ReusableTimer,
        shutdown: &ShutdownWatch,
    ) -> Option<Box<Connection>> {
        if self.options.engine == Engine::Pingora {
            let session = self.serve_session(connection, request, early, shutdown);
            return Box::pin(session).await;
        }
        // Boxed: what a request needs is no part of the future of an idle connection, nor of a tunnel.
        let exchange = Box::pin(self.exchange(&mut connection, request, early, timer, shutdown));
        let ended = match exchange.await {
            Outcome::After(ended) => ended,
            Outcome::Switched(tunnel) => tunnel.await,
        };
        ended.keep(connection).await
    }

    /// Answers one request over HTTP/1.
    async fn exchange<'c>(
        &'c self,
        connection: &'c mut Connection,
        request: Box<Request>,
        early: BytesMut,
        timer: &'c mut ReusableTimer,
        shutdown: &'c ShutdownWatch,
    ) -> Outcome<'c> {
        let abort = connection.abort_handle();
        let downstream = Http1::new(connection, &request, early, &self.is_stopping);
        match self.proxy.decide(&request).await {
            Decision::Proxy(plan) => {
                self.proxy
                    .serve(plan, request, downstream, abort, timer)
                    .await
            }
            Decision::Control => {
                let answered = Box::pin(self.control.answer(request, downstream, shutdown));
                Outcome::After(answered.await)
            }
        }
    }
}
