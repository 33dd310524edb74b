//! The policy of the data path: the routes, and the rules for who may use them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response};
use log::debug;

use super::admission::Admission;
use super::guard::Guard;
use super::in_flight::InFlight;
use super::options::{GatewayOptions, Timeouts};
use super::record::{Record, RequestSummary};
use super::rules::failure::{self, Limit};
use super::tls_policy::{Denied, TlsPolicies, Transport};
use crate::front::{HttpsRedirect, Request};
use crate::health::Probe;
use crate::registry::{Event, ProxyError, ProxyFailure, Registry};
use crate::reply::Refusal;
use crate::route::{Balance, PathPrefix, RoundRobin, Route, RouteRef};

/// A handler that may answer a request that could not be proxied itself.
pub(crate) type ProxyErrorHandler =
    Arc<dyn Fn(&ProxyFailure) -> Option<Response<Bytes>> + Send + Sync>;

/// The routes, and the rules for who may use them.
pub(super) struct Policy {
    registry: Arc<Registry>,
    pub(super) options: GatewayOptions,
    /// The paths whose requests go to the control service: those of registrations.
    registration: Vec<PathPrefix>,
    on_proxy_error: Option<ProxyErrorHandler>,
    balance: Box<dyn Balance>,
    tls: TlsPolicies,
    /// The field of the request's id. A name of the configuration would be counted by all threads for
    /// each request; this one is never freed, like most gateways.
    pub(super) id_field: &'static str,
}

impl Policy {
    pub(super) fn new(
        registry: Arc<Registry>,
        options: GatewayOptions,
        registration: Vec<PathPrefix>,
        on_proxy_error: Option<ProxyErrorHandler>,
    ) -> Self {
        Self {
            registry,
            id_field: String::leak(options.request_ids.field.to_string()),
            tls: TlsPolicies::new(&options.security, options.https_port),
            options,
            registration,
            on_proxy_error,
            balance: Box::new(RoundRobin),
        }
    }

    /// Returns the guard that checks the addresses of targets when they are connected to.
    pub(super) fn guard(&self) -> Guard {
        Guard::new(Arc::clone(&self.registry))
    }

    /// Whether a request is a registration: its path is at or below a registration path, as whole segments
    /// and in any case, on a listener that takes registrations from its client.
    pub(super) fn is_registration(&self, request: &Request, path: &str) -> bool {
        let mut paths = self.registration.iter();
        request.caller().registers && paths.any(|own| own.contains_path(path))
    }

    /// The health probe that a request is, if it is one.
    pub(super) fn probe(&self, request: &Request) -> Option<Probe> {
        self.options.health.find(request.method(), request.path())
    }

    /// Asks the table.
    fn lookup(&self, admission: &Admission<'_>) -> Option<RouteRef> {
        let (host, path) = (admission.host, admission.path);
        let found = self.registry.lookup_ref(host, path);
        if self.options.debug {
            let shown = found.as_ref().map_or_else(
                || "no route".to_owned(),
                |route| format!("{} at {}", route.key(), route.target()),
            );
            debug!("{host:?} {path} -> {shown} [{}]", admission.id);
        }
        found
    }

    /// Asks the table, and begins the request there. One that is sent again goes on where it is if the
    /// table still says so.
    pub(super) fn find(&self, admission: &mut Admission<'_>) {
        let mut found = self.lookup(admission);
        let is_same = match (&found, &admission.in_flight) {
            (Some(found), Some(in_flight)) => Arc::ptr_eq(found, in_flight.route()),
            _ => false,
        };
        if is_same {
            return;
        }
        admission.in_flight = None;
        while let Some(route) = found {
            let clock = *self.registry.clock();
            admission.in_flight = InFlight::begin(route, &*self.balance, clock);
            if admission.in_flight.is_some() {
                return;
            }
            // The instance has begun to drain meanwhile: the table has another by now.
            found = self.lookup(admission);
        }
    }

    /// Sees whether a request meets what its route asks of its connection; `transport` is only made if
    /// that is anything.
    pub(super) fn check_tls<'t>(
        &self,
        route: &Route,
        transport: impl FnOnce() -> Transport<'t>,
    ) -> Result<(), Denied> {
        if self.tls.are_none_of(route) {
            Ok(())
        } else {
            self.tls.check(route, transport())
        }
    }

    /// The port of https, if a listener only sends its clients there.
    pub(super) fn redirect_port(&self, redirect: HttpsRedirect) -> Option<u16> {
        match redirect {
            HttpsRedirect::Off => None,
            HttpsRedirect::DefaultPort => Some(self.options.https_port),
            HttpsRedirect::Port(port) => Some(port),
        }
    }

    /// The `Strict-Transport-Security` of a response; `own` is its own.
    pub(super) fn hsts(&self, record: &Record, own: Option<&HeaderValue>) -> Option<HeaderValue> {
        let route = record.in_flight.as_ref().map(InFlight::route);
        self.hsts_of(route.map(|route| &**route), own, || record.is_encrypted)
    }

    /// The `Strict-Transport-Security` of a response over a connection that is encrypted or not: its own
    /// goes first, and never over cleartext (RFC 6797, 7.2).
    pub(super) fn hsts_of(
        &self,
        route: Option<&Route>,
        own: Option<&HeaderValue>,
        is_encrypted: impl FnOnce() -> bool,
    ) -> Option<HeaderValue> {
        let settings = route.and_then(Route::settings);
        if own.is_none() && !self.tls.may_have_hsts(settings) {
            return None;
        }
        if !is_encrypted() {
            return None;
        }
        own.cloned().or_else(|| self.tls.hsts(settings))
    }

    /// The times that an exchange with a route may take.
    pub(super) fn timeouts(&self, route: Option<&Route>) -> Timeouts {
        let own = route.and_then(Route::settings);
        match own.and_then(|own| own.timeouts) {
            Some(own) => self.options.timeouts.overridden_by(own),
            None => self.options.timeouts,
        }
    }

    /// Emits the event of a request that could not be proxied, and makes the reply: the refusal, and in
    /// its place what a handler has to say.
    pub(super) fn fail(
        &self,
        route: Option<&Arc<Route>>,
        request: RequestSummary,
        reason: ProxyError,
        limit: Option<Limit>,
    ) -> (Refusal, Option<Response<Bytes>>) {
        let refusal = failure::refusal(reason, limit, self.options.errors);
        let failure = ProxyFailure {
            error: reason,
            route: route.cloned(),
            method: request.method,
            host: request.host,
            path: request.path,
            status: refusal.status,
        };
        let own = self
            .on_proxy_error
            .as_ref()
            .and_then(|handler| handler(&failure));
        self.registry.emit(Event::ProxyError(Arc::new(failure)));
        (refusal, own)
    }
}
