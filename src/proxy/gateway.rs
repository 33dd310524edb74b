//! The way through Pingora: `impl ProxyHttp`, thin phases over pure functions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, STRICT_TRANSPORT_SECURITY, TE, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use log::{debug, error, info, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session, http_proxy};

use super::context::{Exchange, View};
use super::error::Fault;
use super::headers::Client;
use super::options::{GatewayOptions, Timeouts};
use super::peer::Kind;
use super::policy::{Policy, ProxyErrorHandler};
use super::pools::Pools;
use super::record::RequestSummary;
use super::session::{DRAIN, client_ip, names, summary};
use super::target_tls::Profiles;
use super::tls_policy::{self as demand, Denied as Unmet, Transport as Way};
use super::{error, grpc, headers, https, peer, session};
use crate::answer::Refusal;
use crate::front::{Drained, Hold};
use crate::registry::{ProxyError, Registry};
use crate::route::{PathPrefix, Protocol, Route};

/// The proxy itself, as Pingora's `ProxyHttp`: wrap it by `DynamicProxy::request_handler`.
pub struct Gateway {
    policy: Arc<Policy>,
    profiles: Profiles,
    pools: Pools,
}

impl Gateway {
    pub(crate) fn new(
        registry: Arc<Registry>,
        options: GatewayOptions,
        registration: Option<PathPrefix>,
        on_proxy_error: Option<ProxyErrorHandler>,
    ) -> Self {
        Self {
            profiles: Profiles::new(&options.target_tls),
            pools: Pools::default(),
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

    /// What is decided about requests here, for those that go another way.
    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// Reads the request, finds its route, and sees whether it meets what that asks for.
    fn admit(&self, session: &Session, exchange: &mut Exchange) -> Result<(), Unmet> {
        let request = session.req_header();
        let given = request.headers.get(self.policy.id_field);
        let accepts = self.policy.options.request_ids.accept;
        let id = headers::request_id(given, accepts);
        exchange.request_id = Some(id.map_err(|_unlikely| error::internal())?);
        let view = View::of(request)?;
        exchange.rewritten = view.rewritten();
        exchange.port = view.port;
        if let Some(port) = self.redirect_port(session)
            && !https::is_challenge(&request.method, request.raw_path())
        {
            return Err(demand::redirect(&view.host, request.raw_path(), port));
        }
        self.find(&view, exchange);
        self.meet(session, &view, exchange)
    }

    /// Sees whether a request meets what its route asks for.
    fn meet(&self, session: &Session, view: &View<'_>, exchange: &Exchange) -> Result<(), Unmet> {
        let request = session.req_header();
        let Some(route) = exchange.route() else {
            return Ok(());
        };
        self.policy.check_tls(route, || Way {
            is_encrypted: self.is_encrypted(session),
            has_certificate: session::tls_client(session)
                .is_some_and(|client| client.certificate.is_some()),
            host: &view.host,
            method: &request.method,
            target: request.raw_path(),
        })
    }

    /// Finds the route of a request that is sent again; it may be another by now, and ask for more.
    fn find_again(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        let Ok(view) = View::of(session.req_header()) else {
            // It was read once, so it can be.
            return Ok(());
        };
        self.find(&view, exchange);
        if let Err(unmet) = self.meet(session, &view, exchange) {
            exchange.unmet = Some(unmet.refusal());
            let error = Error::explain(ErrorType::ConnectNoRoute, "the new route asks for more");
            return Err(error.into_up());
        }
        self.heed_deadline(session, exchange);
        Ok(())
    }

    /// Whether the client's side is encrypted, as far as we or a trusted proxy can tell.
    fn is_encrypted(&self, session: &Session) -> bool {
        session::is_tls(session)
            || (headers::is_trusted(client_ip(session), &self.policy.options.trusted_proxies)
                && headers::says_https(session.req_header()))
    }

    /// Tells browsers what is said of later requests.
    fn promise(
        &self,
        session: &Session,
        exchange: &Exchange,
        response: &mut ResponseHeader,
    ) -> Result<()> {
        let apps = response.headers.get(STRICT_TRANSPORT_SECURITY);
        let is_encrypted = || self.is_encrypted(session);
        let route = exchange.route().map(|route| &**route);
        if let Some(value) = self.policy.hsts_of(route, apps, is_encrypted) {
            return response.insert_header(STRICT_TRANSPORT_SECURITY, value);
        }
        response.remove_header(&STRICT_TRANSPORT_SECURITY);
        Ok(())
    }

    /// The port of https, if the listener only sends its clients there.
    fn redirect_port(&self, session: &Session) -> Option<u16> {
        let hold = Hold::of(session.as_downstream())?;
        self.policy.redirect_port(hold.redirect())
    }

    /// Asks the table.
    fn find(&self, view: &View<'_>, exchange: &mut Exchange) {
        self.policy
            .find(&view.host, &view.path, &mut exchange.visit);
        exchange.attempt = 0;
        exchange.stale = false;
    }

    fn challenge(&self, session: &Session) -> Option<http::Response<Bytes>> {
        let request = session.req_header();
        let challenges = &self.policy.options.challenges;
        challenges.answer(&request.method, request.raw_path())
    }

    /// Sets the limits of this exchange on the client's side.
    fn limit(&self, session: &mut Session, exchange: &mut Exchange) {
        let timeouts = self.timeouts(exchange);
        let kind = Kind::of(session);
        exchange.kind = kind;
        // Pingora's read timeout covers the bytes of an upgraded connection, too; its silence is
        // the front's to judge.
        session.set_read_timeout(if kind == Kind::Upgrade {
            None
        } else {
            timeouts.client_body
        });
        session.set_write_timeout(timeouts.send);
        session.set_total_drain_timeout(Some(DRAIN));
        // Pingora would close for an interim answer as well, before which no body has come.
        session.set_close_on_response_before_downstream_finish(false);
        peer::be_patient(session, &timeouts, kind);
    }

    /// The times that this exchange may take.
    fn timeouts(&self, exchange: &Exchange) -> Timeouts {
        match exchange.deadline {
            Some(deadline) => self.policy.options.timeouts.until(deadline),
            None => self.policy.options.timeouts,
        }
    }

    /// Has the deadline of a call count, if its app can be one of gRPC: nobody else's client is to
    /// say how long it may take.
    fn heed_deadline(&self, session: &mut Session, exchange: &mut Exchange) {
        let speaks_http2 = |route: &Arc<Route>| route.target().protocol != Protocol::Http1;
        if exchange.route().is_some_and(speaks_http2) {
            let furthest = self.policy.options.timeouts.grpc_deadline;
            let deadline = grpc::deadline(session.req_header());
            exchange.deadline = deadline.filter(|deadline| *deadline <= furthest);
        }
        if exchange.deadline.is_some() {
            self.limit(session, exchange);
        }
    }

    /// Tells everybody that a request could not be proxied, and makes the answer.
    fn fail(
        &self,
        session: &Session,
        exchange: &Exchange,
        reason: ProxyError,
    ) -> (Refusal, Option<http::Response<Bytes>>) {
        let (host, path) = names(session);
        let request = RequestSummary {
            method: session.req_header().method.clone(),
            host,
            path,
        };
        self.policy.fail(exchange.route(), request, reason)
    }

    /// Writes an answer of the proxy's own: the handler's, or the refusal's.
    async fn answer(
        &self,
        session: &mut Session,
        exchange: &Exchange,
        refusal: &Refusal,
        own: Option<http::Response<Bytes>>,
    ) -> Result<()> {
        let answer = match own {
            Some(response) => session::of_handler(response)?,
            None if grpc::is_call(session.req_header()) => {
                let mut header = grpc::of_refusal(refusal, exchange.reset)?;
                self.identify(&mut header, exchange)?;
                return grpc::answer(session, header).await;
            }
            None => session::of_refusal(refusal, session.req_header())?,
        };
        self.write(session, exchange, answer).await
    }

    /// Writes an answer that is not the origin's.
    async fn write(
        &self,
        session: &mut Session,
        exchange: &Exchange,
        (mut header, body): (ResponseHeader, Bytes),
    ) -> Result<()> {
        header.insert_header(CONTENT_LENGTH, body.len())?;
        self.identify(&mut header, exchange)?;
        self.promise(session, exchange, &mut header)?;
        session::close_if_body_is_left(session);
        let is_bodiless = session.req_header().method == Method::HEAD || body.is_empty();
        session
            .write_response_header(Box::new(header), is_bodiless)
            .await?;
        if !is_bodiless {
            session.write_response_body(Some(body), true).await?;
        }
        Ok(())
    }

    fn identify(&self, header: &mut ResponseHeader, exchange: &Exchange) -> Result<()> {
        match &exchange.request_id {
            Some(id) => header.insert_header(self.policy.id_field, id.clone()),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::default()
    }

    /// No module is needed; the default is one for compression.
    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        self.limit(session, exchange);
        if let Some(answer) = self.challenge(session) {
            info!("{}: a challenge is answered", summary(session, exchange));
            self.write(session, exchange, session::of_handler(answer)?)
                .await?;
            return Ok(true);
        }
        let (refusal, own) = match self.admit(session, exchange) {
            Ok(()) if exchange.visit.is_some() => {
                self.heed_deadline(session, exchange);
                return Ok(false);
            }
            Ok(()) => {
                info!("{}: no route", summary(session, exchange));
                self.fail(session, exchange, ProxyError::NotFound)
            }
            Err(Unmet::Refused(refusal)) => {
                let summary = summary(session, exchange);
                info!("{summary}: refused: {}", refusal.message);
                (refusal, None)
            }
            // gRPC knows no redirects.
            Err(unmet @ Unmet::Redirect(_)) if grpc::is_call(session.req_header()) => {
                (unmet.refusal(), None)
            }
            Err(Unmet::Redirect(location)) => {
                debug!("{}: sent to {location}", summary(session, exchange));
                let answer =
                    https::redirect(&location).or_err(ErrorType::InternalError, "a URL")?;
                exchange.answer_with(answer.status());
                self.write(session, exchange, session::of_handler(answer)?)
                    .await?;
                return Ok(true);
            }
        };
        exchange.answer_with(own.as_ref().map_or(refusal.status, http::Response::status));
        self.answer(session, exchange, &refusal, own).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        if exchange.stale {
            self.find_again(session, exchange)?;
        }
        let no_address = || Error::explain(ErrorType::ConnectNoRoute, "no address left").into_up();
        let Some(visit) = &exchange.visit else {
            return Err(no_address());
        };
        let Some((index, address)) = peer::aim(visit.route(), visit.index(), exchange.attempt)
        else {
            return Err(no_address());
        };
        let instance = visit.route().instance(index);
        if let Some(hold) = Hold::of(session.as_downstream()) {
            hold.leash().serve(instance.serial);
            if instance.is_over() {
                // Before that call nobody could have cut it.
                let drained = std::io::Error::from(Drained);
                let error = Error::because(ErrorType::ConnectError, "the drain is over", drained);
                return Err(error.into_up());
            }
        }
        let timeouts = Timeouts {
            upstream_idle: if self.pools.keeps() {
                self.policy.options.timeouts.upstream_idle
            } else {
                Some(Duration::ZERO)
            },
            ..self.timeouts(exchange)
        };
        let group = self.pools.group(instance, exchange.resent);
        let kind = exchange.kind;
        let peer = peer::peer(instance, address, &self.profiles, &timeouts, kind, group);
        exchange.aimed = index;
        peer.map(Box::new).ok_or_else(no_address)
    }

    /// Lets the origin's half take what is on its way before the body ends. If its queue is full at
    /// that moment, Pingora 0.9.1 no longer polls the client, until an answer comes: no limit of the
    /// front would pass, and nobody would notice that the client has gone.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        is_end: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if let (Some(visit), Some(body)) = (&exchange.visit, body) {
            visit.received(body.len());
        }
        if is_end && !session.as_downstream_mut().is_body_empty() {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if let Some(target) = &exchange.rewritten {
            request.set_raw_path(target)?;
        }
        if let Some(id) = &exchange.request_id {
            request.insert_header(self.policy.id_field, id.clone())?;
        }
        if request.version == http::Version::HTTP_2 && headers::wants_trailers(session.req_header())
        {
            // Pingora takes it out with the fields of HTTP/1 connections; gRPC asks for it.
            request.insert_header(TE, "trailers")?;
        }
        let client = Client {
            address: client_ip(session),
            is_tls: session::is_tls(session),
            port: exchange.port,
        };
        headers::introduce(request, session::tls_client(session))?;
        headers::forward(request, client, &self.policy.options.trusted_proxies)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&pingora_core::protocols::Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let Some(visit) = &mut exchange.visit else {
            return Ok(());
        };
        visit.go_to(exchange.aimed);
        if let (false, SocketAddr::Inet(address)) = (reused, &peer._address) {
            visit.instance().target.prefer(*address);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        headers::strip_hop_by_hop(response);
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        if response.status == StatusCode::SWITCHING_PROTOCOLS && !session.is_upgrade_req() {
            // Pingora would pass it on as an interim answer.
            let error = Error::explain(ErrorType::InvalidHTTPHeader, "101 to no upgrade");
            return Err(error.into_up());
        }
        let is_switching = response.status == StatusCode::SWITCHING_PROTOCOLS;
        if !is_switching && exchange.kind == Kind::Upgrade {
            // Refused: an answer like any other.
            peer::be_patient(session, &self.policy.options.timeouts, Kind::Upload);
        }
        let is_websocket = is_switching && exchange.kind == Kind::Upgrade;
        if let Some(hold) = Hold::of(session.as_downstream()) {
            hold.patience().begin_answer();
            if is_websocket {
                hold.begin_websocket();
            }
        }
        exchange.answered = true;
        if let Some(visit) = &mut exchange.visit {
            if headers::announces_absent_body(response) {
                self.pools.give_up(visit.instance());
            }
            visit.respond(response.status);
        }
        // The answer is the proxy's own message (RFC 9110, 7.6); its framing is HTTP/1.1's already.
        response.set_version(http::Version::HTTP_11);
        session::close_if_body_is_left(session);
        session::stop_expecting(session, response.status);
        if session.req_header().version == http::Version::HTTP_10
            && response.remove_header(&TRANSFER_ENCODING).is_some()
        {
            // RFC 9112, 6.1: HTTP/1.0 knows no chunks. The body ends with the connection.
            session.set_keepalive(None);
        }
        if session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
        if self.policy.options.debug
            && let Some(visit) = &exchange.visit
        {
            let prefix = &visit.route().prefix;
            let served_by = format!("http://{}{prefix}", visit.instance().target);
            response.insert_header("x-served-by", served_by)?;
        }
        self.promise(session, exchange, response)?;
        self.identify(response, exchange)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _is_end: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<std::time::Duration>> {
        if let (Some(visit), Some(body)) = (&exchange.visit, body) {
            visit.sent(body.len());
        }
        Ok(None)
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
        let has_more = exchange.visit.as_ref().is_some_and(|visit| {
            peer::aim(visit.route(), visit.index(), exchange.attempt).is_some()
        });
        error.set_retry(has_more);
        error
    }

    /// One more try on a new connection, if the old one died idle in the pool: before a byte of an
    /// answer, and only for a request that may be made twice (RFC 9110, 9.2.2) and can be; or if the
    /// origin says that it has not looked at the request.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        let died = matches!(
            error.etype(),
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
        ) && !error::is_within_head(&error);
        let from_origin = *error.esource() == pingora_core::ErrorSource::Upstream;
        let died_idle =
            reused && died && from_origin && session.req_header().method.is_idempotent();
        let may_resend = !session.is_upgrade_req()
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none();
        let resend = (died_idle || error::is_untouched(&error))
            && may_resend
            && !exchange.answered
            && !exchange.resent;
        if resend {
            debug!(
                "{}: sent again, its connection had died: {error}",
                summary(session, exchange)
            );
            exchange.resent = true;
            exchange.stale = true;
        }
        error.set_retry(resend);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let summary = summary(session, exchange);
        let fault = match exchange.unmet.take() {
            Some(refusal) => Fault::Client(refusal),
            None => Fault::of(error),
        };
        let (refusal, own) = match fault {
            Fault::ClientGone => {
                debug!("{summary}: the client has gone: {error}");
                return FailToProxy {
                    error_code: 0,
                    can_reuse_downstream: false,
                };
            }
            Fault::Upstream(_) if exchange.visit.is_none() => {
                info!("{summary}: the route went away meanwhile");
                self.fail(session, exchange, ProxyError::NotFound)
            }
            Fault::Upstream(ProxyError::Drained) => {
                info!("{summary}: {error}");
                self.fail(session, exchange, ProxyError::Drained)
            }
            Fault::Upstream(reason) => {
                warn!("{summary}: {reason}: {error}");
                self.fail(session, exchange, reason)
            }
            Fault::Client(refusal) => {
                info!("{summary}: {} {error}", refusal.message);
                (refusal, None)
            }
            Fault::Proxy => {
                error!("{summary}: {error}");
                (error::internal(), None)
            }
        };
        exchange.reset = error::reset_by_origin(error);
        let code = refusal.status.as_u16();
        if let Some(visit) = &mut exchange.visit
            && !session::is_answered(session)
        {
            visit.respond(own.as_ref().map_or(refusal.status, http::Response::status));
        }
        // Pingora closes the connection after a failed exchange, so the answer has to say so.
        session.set_keepalive(None);
        let (is_answered, is_call) = (session::is_answered(session), grpc::is_begun(session));
        if (!is_answered || is_call)
            && let Some(hold) = Hold::of(session.as_downstream())
        {
            // What follows is the proxy's own answer, which no instance can be taken down under.
            hold.leash().release();
        }
        let told = if !is_answered {
            self.answer(session, exchange, &refusal, own).await
        } else if is_call {
            grpc::end(session, &refusal, exchange.reset).await
        } else {
            Ok(())
        };
        if let Err(error) = told {
            debug!("{summary}: the client left before its answer: {error}");
            return FailToProxy {
                error_code: 0,
                can_reuse_downstream: false,
            };
        }
        session::drain(session).await;
        FailToProxy {
            error_code: code,
            can_reuse_downstream: false,
        }
    }

    /// Sees to the budget of a client of HTTP/2 that opens streams only to reset them.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        if let Some(hold) = Hold::of(session.as_downstream()) {
            let is_reset = !session::is_answered(session)
                && error.is_some_and(|error| Fault::of(error) == Fault::ClientGone);
            hold.note_end(is_reset, exchange.began.elapsed());
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
