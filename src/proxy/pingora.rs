//! The data path over Pingora's `ProxyHttp`, for `engine: pingora` and for programs that mount it in a
//! Pingora server of their own: thin phases over the rules.

mod chunks;
mod context;
mod decision;
mod error;
mod heads;
mod holds;
mod pools;
mod replies;
mod session;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, StatusCode, Version};
use log::{Level, info, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session, http_proxy};

use super::grpc;
use super::guard::Guard;
use super::in_flight::InFlight;
use super::options::{GatewayOptions, Timeouts};
use super::peer::{self, Kind};
use super::policy::{Policy, ProxyErrorHandler};
use super::record::{End, Record};
use super::rules::failure::{Failure, Fault};
use super::rules::request::UpstreamRequest;
use super::rules::retry::Attempted;
use super::target_tls::Profiles;
use super::upstream::socket::{Share, leaves_enough};
use chunks::NoChunks;
pub use context::Exchange;
use pools::Pools;

use crate::front::{ClientLimit, DownstreamHandle};
use crate::registry::Registry;
use crate::route::PathPrefix;

/// The proxy itself, as Pingora's `ProxyHttp`: wrap it by `DynamicProxy::request_handler`.
pub struct Gateway {
    policy: Arc<Policy>,
    profiles: Profiles,
    pools: Pools,
    guard: Guard,
}

impl Gateway {
    pub(crate) fn new(
        registry: Arc<Registry>,
        options: GatewayOptions,
        registration: Vec<PathPrefix>,
        on_proxy_error: Option<ProxyErrorHandler>,
    ) -> Self {
        Self {
            profiles: Profiles::new(&options.target_tls),
            pools: Pools::default(),
            guard: Guard::new(Arc::clone(&registry)),
            policy: Arc::new(Policy::new(registry, options, registration, on_proxy_error)),
        }
    }

    /// The proxy with the settings of a server.
    pub(crate) fn into_http_proxy(mut self, conf: &Arc<ServerConf>) -> HttpProxy<Self> {
        if conf.upstream_keepalive_pool_size > 0 {
            return http_proxy(conf, self);
        }
        // A pool of Pingora 0.9.1 without room keeps connections open that nobody uses. One with room has
        // none for longer than a moment.
        self.pools.keep_none();
        match ServerConf::from_yaml(&conf.to_yaml()) {
            Ok(mut roomy) => {
                roomy.upstream_keepalive_pool_size = 64;
                http_proxy(&Arc::new(roomy), self)
            }
            Err(error) => {
                warn!("the settings cannot be copied, so the pool has no room: {error}");
                http_proxy(conf, self)
            }
        }
    }

    /// Returns the policy, which the other engine shares.
    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// Sets the limits of an exchange.
    fn limit(&self, session: &mut Session, exchange: &mut Exchange) {
        (exchange.timeouts, exchange.has_deadline) = match &exchange.record {
            Some(record) => {
                let route = record.in_flight.as_ref().map(InFlight::route);
                grpc::timeouts(record, self.policy.timeouts(route.map(|route| &**route)))
            }
            None => (self.policy.timeouts(None), false),
        };
        // Pingora's read timeout covers the bytes of an upgraded connection, too; its silence is
        // the front's to judge.
        session.set_read_timeout(match exchange.kind {
            Kind::Upgrade => None,
            Kind::Plain | Kind::Upload => exchange.timeouts.client_body,
        });
        session.set_write_timeout(exchange.timeouts.send);
        session.set_total_drain_timeout(Some(session::DRAIN));
        // Pingora would close for an interim response as well, before which no body has come.
        session.set_close_on_response_before_downstream_finish(false);
        session::spare_interim(session);
        peer::set_upstream_timeouts(session, &exchange.timeouts, exchange.kind);
        holds::set_rates(session, exchange, &self.policy.options.limits);
    }

    /// The peer to try next.
    fn peer(&self, session: &Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
        let record = exchange.record.as_mut().ok_or_else(error::no_address)?;
        let in_flight = record.in_flight.as_ref().ok_or_else(error::no_address)?;
        let (index, address) = peer::aim(in_flight.route(), in_flight.index(), exchange.attempt)
            .ok_or_else(error::no_address)?;
        let instance = in_flight.route().instance(index);
        record.tries += 1;
        exchange.aimed = index;
        holds::serve(session, instance)?;
        let timeouts = Timeouts {
            upstream_idle: self.upstream_idle(),
            ..exchange.timeouts
        };
        let group = self.pools.group(instance, exchange.is_resent);
        let peer = peer::peer(
            instance,
            address,
            &self.profiles,
            &timeouts,
            exchange.kind,
            group,
            &self.guard,
        );
        peer.map(Box::new).ok_or_else(error::no_address)
    }

    fn upstream_idle(&self) -> Option<Duration> {
        if self.pools.keeps() {
            self.policy.options.timeouts.upstream_idle
        } else {
            // At once; Pingora's clock takes no zero.
            Some(Duration::from_millis(1))
        }
    }

    /// Adds what the proxy says in a response.
    fn complete(&self, response: &mut ResponseHeader, record: &Record, has_id: bool) -> Result<()> {
        let hsts = response.headers.get(STRICT_TRANSPORT_SECURITY);
        match self.policy.hsts(record, hsts) {
            Some(hsts) => response.insert_header(STRICT_TRANSPORT_SECURITY, hsts)?,
            None => drop(response.remove_header(&STRICT_TRANSPORT_SECURITY)),
        }
        if let Some(in_flight) = record.in_flight.as_ref()
            && self.policy.options.debug
        {
            let prefix = &in_flight.route().prefix;
            let served_by = format!("http://{}{prefix}", in_flight.instance().target);
            response.insert_header("x-served-by", served_by)?;
        }
        if has_id {
            return Ok(());
        }
        response.insert_header(self.policy.id_field, record.id.as_bytes())
    }
}

/// Checks before Pingora connects that there are descriptors left for a client that takes much: the check of the
/// connection itself comes when it is made, and hundreds may be made at a time.
fn check_room(exchange: &Exchange) -> Result<()> {
    let request = exchange.record.as_ref().and_then(Record::request);
    if !request.is_some_and(|request| request.caller().takes_much) {
        return Ok(());
    }
    let next = File::open("/dev/null").map_err(error::unreachable)?;
    leaves_enough(next.as_raw_fd(), Share::Half).map_err(error::unreachable)
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::default()
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(NoChunks));
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let own = self.decide(session, exchange).await;
        self.limit(session, exchange);
        let Some(own) = own else {
            return session::await_end(session).await.map(|()| false);
        };
        exchange.log(own.level, &own.reason);
        self.reply(session, exchange, (own.reply, own.code)).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        if exchange.is_stale {
            self.decide_again(exchange).await?;
            self.limit(session, exchange);
        }
        check_room(exchange)?;
        self.peer(session, exchange)
    }

    /// Lets the upstream's half take what is on its way before the body ends. If its queue is full at
    /// that moment, Pingora 0.9.1 no longer polls the client, until a response comes: no limit of the
    /// front would pass, and nobody would notice that the client has gone.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        is_end: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if is_end && body.as_ref().is_some_and(Bytes::is_empty) {
            // Pingora would write it as a chunk, which is the last one, and another last one behind it: the
            // upstream would take that for its next request.
            *body = None;
        }
        let is_bare = body.is_none();
        if let (Some(record), Some(body)) = (&mut exchange.record, body) {
            record.receive(body.len());
            let limit = self.policy.options.limits.body;
            if let Some(most) = limit.filter(|most| record.received() > *most) {
                self.policy.options.limit_counts.count(ClientLimit::Body);
                return Err(error::body_too_large(most));
            }
        }
        if is_end && !session.as_downstream_mut().is_body_empty() {
            holds::note_body_end(session, exchange, is_bare);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let record = exchange.record.as_ref().ok_or_else(error::no_address)?;
        let in_flight = record.in_flight.as_ref().ok_or_else(error::no_address)?;
        let target = &in_flight.instance().target;
        if peer::speaks_only_http2(target.protocol) && request.version != Version::HTTP_2 {
            // Pingora goes on with what the app has chosen instead.
            return Err(error::no_http2());
        }
        let upstream = UpstreamRequest {
            request: record.request().ok_or_else(error::no_address)?,
            is_trusted: exchange.is_trusted,
            is_encrypted: record.is_encrypted,
            id_field: self.policy.id_field,
            id: record.id.as_bytes(),
        };
        let name = target.to_string();
        heads::to_upstream(request, upstream, &name)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        upstream: std::os::unix::io::RawFd,
        _digest: Option<&pingora_core::protocols::Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if !reused {
            let record = exchange.record.as_ref();
            let request = record.and_then(Record::request);
            let share = request.map_or(Share::Usual, |request| Share::of(request.caller()));
            leaves_enough(upstream, share).map_err(error::unreachable)?;
        }
        let record = exchange.record.as_mut();
        let Some(in_flight) = record.and_then(|record| record.in_flight.as_mut()) else {
            return Ok(());
        };
        in_flight.go_to(exchange.aimed);
        let target = &in_flight.instance().target;
        if let (Kind::Upload | Kind::Upgrade, Some(limit)) = (exchange.kind, exchange.timeouts.send)
        {
            holds::watch_upload(session, limit, upstream);
        }
        if let (false, SocketAddr::Inet(address)) = (reused, &peer._address) {
            target.prefer(*address);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let passed = heads::to_client(session, response, self.policy.id_field)?;
        let is_switch = response.status == StatusCode::SWITCHING_PROTOCOLS;
        if response.status.is_informational() && !is_switch {
            return exchange.count_interim();
        }
        holds::begin_response(session, exchange, is_switch);
        exchange.is_bodiless = passed.is_bodiless;
        session::settle(session, response, passed.is_unbounded);
        let record = exchange.record.as_mut().ok_or_else(error::no_address)?;
        if let Some(in_flight) = record.in_flight.as_ref()
            && passed.gives_up
        {
            self.pools.give_up(in_flight.instance());
        }
        record.respond(response.status);
        self.complete(response, record, passed.has_id)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _is_end: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<Duration>> {
        if exchange.is_bodiless {
            // RFC 9110, 6.4.1: whatever an upstream of HTTP/2 sends behind such a head.
            *body = None;
        }
        if let (Some(record), Some(body)) = (&mut exchange.record, body) {
            record.send(body.len());
        }
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        _exchange: &mut Exchange,
    ) -> Result<()> {
        heads::check_trailers(trailers)
    }

    /// The next address, if there is one: nothing has been sent yet.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        exchange.attempt += 1;
        if *error.etype() != ErrorType::ConnectRefused {
            exchange.unreachable = Some(Failure::of_pingora(&error, false));
        }
        let record = exchange.record.as_ref();
        let in_flight = record.and_then(|record| record.in_flight.as_ref());
        error.set_retry(in_flight.is_some_and(|in_flight| {
            peer::aim(in_flight.route(), in_flight.index(), exchange.attempt).is_some()
        }));
        error
    }

    /// One more try, over a new connection, where the rules allow it and the body is there for it.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        if error::is_without_http2(&error) {
            return self.fail_to_connect(session, peer, exchange, error);
        }
        // A connection over which an interim response has come has not died idle.
        let was_idle = reused && !exchange.has_interim();
        let attempted = Attempted {
            loss: holds::failure(session, &error, was_idle).loss,
            is_idempotent: session.req_header().method.is_idempotent() && !session.is_upgrade_req(),
            has_begun: exchange.has_begun || session.response_written().is_some(),
            is_resent: exchange.is_resent,
        };
        let may_resend = attempted.may_resend() && !session.as_ref().retry_buffer_truncated();
        if may_resend {
            exchange.log(Level::Debug, &format_args!("sent again: {error}"));
            exchange.is_resent = true;
            exchange.is_stale = true;
        }
        error.set_retry(may_resend);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let has_begun = session::has_begun(session);
        if has_begun && exchange.is_bodiless && *error.esource() == ErrorSource::Upstream {
            // RFC 9110, 6.4.1: whatever the app did behind such a head, the client has the whole response.
            return session::end_with_head(session, exchange).await;
        }
        // Pingora closes the connection after a failed exchange, so the reply has to say so.
        session.set_keepalive(None);
        let told = if let Some(own) = exchange.own.take() {
            self.replace(session, exchange, *own).await
        } else {
            let is_refused = *error.etype() == ErrorType::ConnectRefused;
            let earlier = exchange.unreachable.take().filter(|_| is_refused);
            let failure = earlier.unwrap_or_else(|| {
                let failure = holds::failure(session, error, false);
                error::with_limit(failure, error, exchange)
            });
            if let Some(limit) = error::slow_client(error) {
                self.policy.options.limit_counts.count(limit);
            }
            self.fail(session, exchange, failure).await
        };
        FailToProxy {
            error_code: session::finish(session, told, exchange).await,
            // Pingora would reset a stream of HTTP/2, and with it what is not on its way of the reply.
            can_reuse_downstream: session.is_http2() && !has_begun,
        }
    }

    /// Ends the record, and sees to the budget of a client of HTTP/2 that opens streams only to reset them.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        if let Some(record) = &mut exchange.record
            && error.is_none()
            && record.end == End::Dropped
        {
            record.end = End::Complete;
        }
        if let Some(hold) = DownstreamHandle::of(session.as_downstream()) {
            if let (Some(reason), Some(record)) = (hold.refused_websocket(), &exchange.record) {
                info!("{record}: {reason}");
            }
            let is_gone =
                |error: &Error| Failure::of_pingora(error, false).fault == Fault::ClientGone;
            let is_reset = !session::has_begun(session) && error.is_some_and(is_gone);
            hold.note_end(is_reset, exchange.age());
        }
    }

    /// Every failure has its line in `fail_to_proxy`.
    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
