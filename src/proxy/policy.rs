//! What is decided about a request, whichever way it goes then.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method};
use log::debug;

use super::context::View;
use super::demand::{Demands, Unmet, Way};
use super::error;
use super::options::GatewayOptions;
use super::visit::Visit;
use crate::answer::Refusal;
use crate::front::HttpsRedirect;
use crate::registry::{Event, ProxyError, ProxyFailure, Registry};
use crate::route::{Balance, Held, RoundRobin, Route};

/// A handler that may answer a request that could not be proxied itself.
pub(crate) type ProxyErrorHandler =
    Arc<dyn Fn(&ProxyFailure) -> Option<http::Response<Bytes>> + Send + Sync>;

/// The routes, and the rules for who may use them.
pub(super) struct Policy {
    registry: Arc<Registry>,
    pub(super) options: GatewayOptions,
    on_proxy_error: Option<ProxyErrorHandler>,
    balance: Box<dyn Balance>,
    demands: Demands,
    /// The field of the request's id. A name of the configuration would be counted by all threads for
    /// each request; this one is never freed, like most gateways.
    pub(super) id_field: &'static str,
}

impl Policy {
    pub(super) fn new(
        registry: Arc<Registry>,
        options: GatewayOptions,
        on_proxy_error: Option<ProxyErrorHandler>,
    ) -> Self {
        Self {
            registry,
            id_field: String::leak(options.request_ids.field.to_string()),
            demands: Demands::new(&options.security, options.https_port),
            options,
            on_proxy_error,
            balance: Box::new(RoundRobin),
        }
    }

    /// Asks the table.
    pub(super) fn lookup(&self, view: &View<'_>) -> Option<Held> {
        let found = self.registry.hold(&view.host, &view.path);
        if self.options.debug {
            let shown = found.as_ref().map_or_else(
                || "no route".to_owned(),
                |route| format!("{} at {}", route.key(), route.target()),
            );
            debug!("{:?} {} -> {shown}", view.host, view.path);
        }
        found
    }

    /// Begins a request at a route; `None` if the table has another answer by now.
    pub(super) fn visit(&self, route: Held) -> Option<Visit> {
        Visit::begin(route, &*self.balance, *self.registry.clock())
    }

    /// Asks the table, and begins the request there. One that is sent again goes on at its visit if
    /// the table still says so.
    pub(super) fn find(&self, view: &View<'_>, visit: &mut Option<Visit>) {
        let mut found = self.lookup(view);
        let is_same = match (&found, &visit) {
            (Some(found), Some(visit)) => Arc::ptr_eq(found, visit.route()),
            _ => false,
        };
        if is_same {
            return;
        }
        *visit = None;
        while let Some(route) = found {
            *visit = self.visit(route);
            if visit.is_some() {
                return;
            }
            found = self.lookup(view);
        }
    }

    /// Sees whether a request meets what its route asks for; `way` is only made if that is anything.
    pub(super) fn meet<'w>(
        &self,
        route: &Route,
        way: impl FnOnce() -> Way<'w>,
    ) -> Result<(), Unmet> {
        if self.demands.are_none_of(route) {
            Ok(())
        } else {
            self.demands.check(route, way())
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

    /// What browsers are told of later requests by an answer over a connection that is encrypted or
    /// not: the app's own word goes before, and never over cleartext.
    pub(super) fn promise(
        &self,
        route: Option<&Route>,
        apps: Option<&HeaderValue>,
        is_encrypted: impl FnOnce() -> bool,
    ) -> Option<HeaderValue> {
        let own = route.and_then(Route::security);
        if apps.is_none() && !self.demands.may_have_hsts(own) {
            return None;
        }
        if !is_encrypted() {
            return None;
        }
        apps.cloned().or_else(|| self.demands.hsts(own))
    }

    /// Tells everybody that a request could not be proxied, and makes the answer: the refusal, and in
    /// its place what a handler has to say.
    pub(super) fn fail(
        &self,
        route: Option<&Arc<Route>>,
        method: Method,
        (host, path): (String, String),
        reason: ProxyError,
    ) -> (Refusal, Option<http::Response<Bytes>>) {
        let refusal = error::refusal(reason, self.options.errors);
        let failure = ProxyFailure {
            error: reason,
            route: route.cloned(),
            method,
            host,
            path,
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
