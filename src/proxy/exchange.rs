//! A request from the decision to its end: connections that are tried, requests that are sent again,
//! failures.

use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, Version};
use log::{debug, log};
use pingora_timeout::tokio_timeout as timeout;

use super::admission::{Admission, OwnReply};
use super::decide::Outcome;
use super::direct::{Connected, Direct};
use super::grpc;
use super::in_flight::InFlight;
use super::options::Timeouts;
use super::peer;
use super::pump::Pump;
use super::record::{End, Record};
use super::request_body::RequestBody;
use super::responder::{self, Responder};
use super::rules::failure::{self, Expected, Failure, Fault, Limit};
use super::rules::request::{Hop, UpstreamRequest};
use super::rules::response::Asked;
use super::rules::retry::{Attempted, Loss};
use super::tunnel::Tunnel;
use super::upstream::http1::Http1;
use super::upstream::http2::Http2;
use super::upstream::socket::Share;
use super::upstream::{H2Connection, KeyRef, Leftover, Question, Socket, Upstream};
use crate::front::{
    AbortHandle, After, DRAIN, Downstream, Framing, Outcome as Left, Reply, ReusableTimer, drain,
};
use crate::registry::ProxyError;
use crate::reply::Refusal;
use crate::reply::grpc::Status;

/// A request on its way.
pub(super) struct Exchange<'x, D> {
    pub(super) direct: &'x Direct,
    pub(super) downstream: D,
    pub(super) record: Record,
    pub(super) abort: Arc<AbortHandle>,
    pub(super) is_trusted: bool,
    pub(super) has_certificate: bool,
    pub(super) body: RequestBody,
    /// Set once the request has been sent again, over a new connection.
    pub(super) is_resent: bool,
    /// The connection to the upstream, once it has agreed to another protocol.
    pub(super) switched: Option<Socket>,
}

impl<D: Downstream> Exchange<'_, D> {
    /// Answers with a reply of the proxy's own.
    pub(super) async fn reply(&mut self, own: OwnReply) {
        log!(own.level, "{}: {}", self.record, own.reason);
        self.send_reply(own.reply, own.code).await;
        if self.downstream.wants_drain() {
            drain(&mut self.downstream, &self.record.id).await;
        }
    }

    /// Forwards the request, and answers with what comes back.
    pub(super) async fn forward(&mut self, timer: &mut ReusableTimer) {
        self.answer(timer).await;
        if self.downstream.wants_drain() {
            Box::pin(drain(&mut self.downstream, &self.record.id)).await;
        }
    }

    /// Returns the rest of the exchange once the response is complete, or has failed: the state of the
    /// connection, or the tunnel that follows.
    pub(super) fn into_left<'c>(mut self, timer: &'c mut ReusableTimer) -> Left<'c>
    where
        D: 'c,
    {
        let ended = self.downstream.after();
        let Some(upstream) = self.switched.take() else {
            return Left::After(ended);
        };
        self.record.forget_request();
        match self.downstream.into_switched() {
            None => Left::After(After::Abort),
            Some(client) => {
                let policy = Arc::clone(&self.direct.policy);
                let tunnel = Tunnel::new(client, upstream, timer, policy, self.record);
                Left::Switched(Box::pin(Box::new(tunnel).run()))
            }
        }
    }

    async fn answer(&mut self, timer: &mut ReusableTimer) {
        loop {
            let Err(failure) = self.attempt(timer).await else {
                self.record.end = End::Complete;
                return;
            };
            let may_resend =
                self.attempted(&failure).may_resend() && self.record.tries < self.direct.most_tries;
            if !may_resend || !self.body.rewind() {
                return Box::pin(self.fail(failure)).await;
            }
            debug!("{}: sent again: {}", self.record, failure.reason);
            self.is_resent = true;
            if let Err(own) = Box::pin(self.decide_again()).await {
                return Box::pin(self.replace(*own)).await;
            }
        }
    }

    fn attempted(&self, failure: &Failure) -> Attempted {
        Attempted {
            loss: failure.loss,
            is_idempotent: self.is_idempotent(),
            has_begun: self.downstream.has_begun(),
            is_resent: self.is_resent,
        }
    }

    /// Whether the request may be made twice (RFC 9110, 9.2.2): not if it asks for another protocol.
    fn is_idempotent(&self) -> bool {
        let request = self.record.request();
        request.is_some_and(|request| {
            request.method().is_idempotent() && request.framing() != Framing::Upgrade
        })
    }

    /// Sends the request over one connection, and moves its response.
    async fn attempt(&mut self, timer: &mut ReusableTimer) -> Result<(), Failure> {
        match self.connect().await? {
            Connected::Http1(socket, is_reused) => {
                if is_reused && self.is_idempotent() {
                    self.body.keep();
                }
                let upstream = self.http1(socket, is_reused)?;
                self.move_over(upstream, timer).await
            }
            Connected::Http2(connection, is_reused) => {
                self.body.keep();
                let upstream = self.http2(connection, is_reused)?;
                self.move_over(upstream, timer).await
            }
        }
    }

    /// Moves the request to this upstream, and what comes back to the client.
    async fn move_over<U: Upstream>(
        &mut self,
        upstream: U,
        timer: &mut ReusableTimer,
    ) -> Result<(), Failure> {
        let mut pump = self.pump(upstream);
        let done = std::future::poll_fn(|context| pump.poll(context, timer)).await;
        let left = pump.upstream.leave(done.as_ref().err());
        self.take_left(left);
        done
    }

    fn pump<U: Upstream>(&mut self, upstream: U) -> Pump<'_, D, U> {
        let (timeouts, _has_deadline) = self.timeouts();
        let responder = Responder {
            downstream: &mut self.downstream,
            record: &mut self.record,
            policy: &self.direct.policy,
        };
        Pump::new(responder, &mut self.body, upstream, timeouts, &self.abort)
    }

    /// The times that this exchange may take, and whether they follow from the deadline of a call of gRPC.
    fn timeouts(&self) -> (Timeouts, bool) {
        let route = self.record.in_flight.as_ref().map(InFlight::route);
        let timeouts = self.direct.policy.timeouts(route.map(|route| &**route));
        grpc::timeouts(&self.record, timeouts)
    }

    /// The failure with the word on whose limit has passed: the route's, or the configuration's.
    fn attributed(&self, failure: Failure) -> Failure {
        let (_, has_deadline) = self.timeouts();
        let route = self.record.in_flight.as_ref().map(InFlight::route);
        failure.on(route.map(|route| &**route).filter(|_| !has_deadline))
    }

    /// Takes what a try has left behind.
    fn take_left(&mut self, left: Leftover) {
        match left {
            Leftover::Switched(socket) => self.switched = Some(socket),
            Leftover::Nothing => {}
            left => self.keep(left),
        }
    }

    /// Keeps a connection for the next request, unless there is none to come.
    fn keep(&self, left: Leftover) {
        let Some(in_flight) = &self.record.in_flight else {
            return;
        };
        if in_flight.instance().drain_ends().is_some() {
            return;
        }
        match left {
            Leftover::Http1(socket) => self.direct.http1.keep(socket),
            Leftover::Http2(connection) => self.direct.http2.keep(connection),
            Leftover::Switched(_) | Leftover::Nothing => {}
        }
    }

    /// A connection to the chosen instance, or to one behind it.
    async fn connect(&mut self) -> Result<Connected, Failure> {
        let mut failure = Failure::no_route();
        let limit = self.timeouts().0.connect;
        let record = &mut self.record;
        let request = record.request();
        let share = request.map_or(Share::Usual, |request| Share::of(request.caller()));
        let Some(in_flight) = &mut record.in_flight else {
            return Err(failure);
        };
        let chosen = in_flight.index();
        let mut attempt = 0;
        while let Some((index, address)) = peer::aim(in_flight.route(), chosen, attempt)
            && record.tries < self.direct.most_tries
        {
            record.tries += 1;
            let instance = in_flight.route().instance(index);
            self.abort.bind(instance.serial);
            if instance.is_over() {
                // Before that call nobody could have cut it.
                return Err(Failure::drained());
            }
            let key = KeyRef::new(&instance.target, address);
            if !self.is_resent
                && let Some(connected) =
                    self.direct
                        .take_idle(&instance.target, key, instance.serial)
            {
                in_flight.go_to(index);
                return Ok(connected);
            }
            let connecting = self
                .direct
                .connect(&instance.target, (address, share), limit);
            match unless_aborted(&self.abort, connecting).await {
                None => return Err(Failure::drained()),
                Some(Ok(socket)) => {
                    let protocol = instance.target.protocol;
                    in_flight.go_to(index);
                    return Connected::begin(socket, protocol).await;
                }
                // Of several, the one that says more: at the others nobody may listen.
                Some(Err(error)) if failure.is_refusal() => failure = Failure::unreachable(error),
                Some(Err(error)) => debug!(
                    "{address:?} cannot be connected to: {error} [{}]",
                    record.id
                ),
            }
            attempt += 1;
        }
        Err(failure)
    }

    /// The request as an upstream gets it.
    fn upstream_request(&self) -> Result<UpstreamRequest<'_>, Failure> {
        let request = self.record.request();
        let request = request.ok_or_else(|| Failure::internal("the request is forgotten"))?;
        Ok(UpstreamRequest {
            request,
            is_trusted: self.is_trusted,
            is_encrypted: self.record.is_encrypted,
            id_field: self.direct.policy.id_field,
            id: self.record.id.as_bytes(),
        })
    }

    fn question(&self, asked: Asked) -> Question {
        Question {
            asked,
            id_field: self.direct.policy.id_field,
        }
    }

    fn http1(&self, socket: Socket, is_reused: bool) -> Result<Http1, Failure> {
        let upstream = self.upstream_request()?;
        let request = upstream.request;
        let asked = match request.framing() {
            Framing::Upgrade => Asked::Upgrade,
            _ if *request.method() == Method::HEAD => Asked::Head,
            _ => Asked::Body,
        };
        let (head, question) = (upstream.write_http1(), self.question(asked));
        Ok(Http1::new(
            socket,
            is_reused,
            head,
            request.framing(),
            question,
        ))
    }

    fn http2(&self, connection: H2Connection, is_reused: bool) -> Result<Http2, Failure> {
        let upstream = self.upstream_request()?;
        let request = upstream.request;
        let asked = if *request.method() == Method::HEAD {
            Asked::Head
        } else {
            Asked::Body
        };
        // No other protocol is agreed to within HTTP/2: such a request is one without a body.
        let is_whole = matches!(request.framing(), Framing::None | Framing::Upgrade);
        let head = http2_head(&upstream)?;
        let sent = connection.send(head, is_whole).map_err(|error| Failure {
            // The connection has ended meanwhile.
            loss: Loss::Untouched,
            ..Failure::http2(error, Expected::Head)
        })?;
        let question = self.question(asked);
        Ok(Http2::new(connection, is_reused, sent, is_whole, question))
    }

    /// Decides once more about a request that is to be sent again.
    async fn decide_again(&mut self) -> Result<(), Box<OwnReply>> {
        let in_flight = self.record.in_flight.take();
        let Some(request) = self.record.request() else {
            return Ok(());
        };
        let mut admission = Admission {
            request,
            id: self.record.id.clone(),
            host: request.host(),
            path: request.path(),
            is_trusted: self.is_trusted,
            is_encrypted: self.record.is_encrypted,
            has_certificate: self.has_certificate,
            in_flight,
        };
        let outcome = self.direct.policy.decide_again(&mut admission).await;
        let in_flight = admission.in_flight;
        self.record.in_flight = in_flight;
        match outcome {
            Outcome::Forward | Outcome::Control => Ok(()),
            Outcome::Reply(own) => Err(own),
        }
    }

    /// Answers a request that was sent in vain with a reply of the proxy's own.
    async fn replace(&mut self, own: OwnReply) {
        log!(own.level, "{}: {}", self.record, own.reason);
        self.abort.release();
        self.send_reply(own.reply, own.code).await;
    }

    /// Ends a failed exchange: tells everybody, and the client if it has no response yet.
    #[cold]
    async fn fail(&mut self, failure: Failure) {
        let failure = self.attributed(failure);
        failure.log(&self.record);
        let (refusal, own) = match failure.fault {
            Fault::ClientGone | Fault::ClientStuck => {
                self.record.end = End::ClientGone;
                return self.downstream.abandon();
            }
            Fault::Upstream(error) => self.tell(error, failure.limit),
            Fault::Client(refusal) => (refusal, None),
            Fault::Proxy => (failure::internal(), None),
        };
        // What follows is the proxy's own, which no instance can be taken down under.
        self.abort.release();
        let status = failure.reset.map(Status::of_reset);
        if self.downstream.has_begun() {
            self.record.end = End::Reply(refusal.code);
            return self.break_off(&refusal, status).await;
        }
        let reply = match (own, self.record.request()) {
            (Some(own), _) => own.into(),
            (None, Some(request)) => Reply::refusal(&refusal, request, status),
            (None, None) => Reply::with_body(&refusal, refusal.json()),
        };
        self.downstream.close();
        self.send_reply(reply, refusal.code).await;
    }

    /// Ends a response that has begun: the client has what has come of it, and its end is not one. A call
    /// of gRPC gets its status.
    async fn break_off(&mut self, refusal: &Refusal, status: Option<Status>) {
        let is_grpc = self.record.is_grpc;
        let downstream = &mut self.downstream;
        if is_grpc {
            let status = status.unwrap_or_else(|| Status::of(refusal));
            let fields = status.fields(&refusal.message);
            let fields = fields.map(|(name, value)| (HeaderName::from_static(name), value));
            if let Err(error) = downstream.end_with(HeaderMap::from_iter(fields)) {
                debug!("{}: the client has gone: {error}", self.record);
            }
        }
        let sent = std::future::poll_fn(|context| downstream.poll_flush(context));
        if let Ok(Err(error)) = timeout(DRAIN, sent).await {
            debug!("{}: the client has gone: {error}", self.record);
        }
        if !is_grpc {
            downstream.abandon();
        }
    }

    /// Emits the event, and makes the reply.
    fn tell(
        &self,
        error: ProxyError,
        limit: Option<Limit>,
    ) -> (Refusal, Option<Response<bytes::Bytes>>) {
        let route = self.record.in_flight.as_ref().map(InFlight::route);
        let summary = self.record.summary();
        self.direct.policy.fail(route, summary, error, limit)
    }

    async fn send_reply(&mut self, mut reply: Reply, code: &'static str) {
        let policy = &self.direct.policy;
        responder::complete(&mut reply, policy, &self.record);
        self.record.end = End::Reply(code);
        self.record.respond(reply.status());
        let method = self
            .record
            .request()
            .map_or(Method::GET, |request| request.method().clone());
        let limit = policy.options.timeouts.send;
        if let Err(error) = reply.send(&mut self.downstream, &method, limit).await {
            Failure::from(error).log(&self.record);
            self.downstream.abandon();
        }
    }
}

/// The head of a request of HTTP/2.
fn http2_head(upstream: &UpstreamRequest<'_>) -> Result<Request<()>, Failure> {
    let request = upstream.request;
    let mut fields = HeaderMap::with_capacity(24);
    upstream.write_fields(Hop::Http2, &mut fields);
    if let Some(id) = fields.get_mut(upstream.id_field) {
        // No other request has it: it would only push what comes again out of a connection's table of
        // fields (RFC 7541, 2.3.2).
        id.set_sensitive(true);
    }
    let mut head = Request::new(());
    // RFC 9113, 8.3.1: without a host there is no `:authority`. h2 takes that of HTTP/1 alone.
    *head.version_mut() = if upstream.host().is_some() {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = uri(upstream).ok_or_else(|| {
        let reason = "the request target cannot be sent over HTTP/2; send it in escapes (%22, ...)";
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "BAD_TARGET", reason);
        Failure::refused(refusal, reason)
    })?;
    *head.headers_mut() = fields;
    Ok(head)
}

/// Returns the URI of an upstream request: with scheme and authority, which HTTP/2 has beside the path.
fn uri(upstream: &UpstreamRequest<'_>) -> Option<Uri> {
    let request = upstream.request;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(PathAndQuery::try_from(&*request.forwarded_target()).ok()?);
    if let Some(host) = upstream.host() {
        parts.authority = Some(Authority::try_from(host).ok()?);
        // By the connection, or by a trusted proxy's word; not by the client's.
        parts.scheme = Some(if upstream.is_encrypted {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
    }
    Uri::from_parts(parts).ok()
}

/// Waits for what is no read or write of the client's, unless the exchange is aborted meanwhile.
async fn unless_aborted<T>(abort: &AbortHandle, wait: impl Future<Output = T>) -> Option<T> {
    let mut wait = std::pin::pin!(wait);
    std::future::poll_fn(|context| match wait.as_mut().poll(context) {
        std::task::Poll::Pending if abort.is_aborted() => std::task::Poll::Ready(None),
        waited => waited.map(Some),
    })
    .await
}
