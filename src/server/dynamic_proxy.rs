//! The proxy as an object: built, given routes, listened to, mounted in a Pingora server.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_proxy::HttpProxy;
use tokio::sync::broadcast;

use super::acme::Issuer;
use super::mounted::{ControlService, TrafficService};
use super::options::Options;
use crate::control::{self, BodyLimits, Bridge, Callers, Control, RegisterErrorHandler};
use crate::front::{Clients, Connections, Engine, Front, FrontOptions, Listeners, Shed};
use crate::health::Health;
use crate::proxy::{Gateway, Proxy, ProxyErrorHandler};
use crate::registry::store::{Store, StoreError};
use crate::registry::{
    ChangeError, Event, ProxyFailure, RegisterError, RegisterFailure, Registered, Registration,
    Registry, Renewal, State,
};
use crate::route::{Route, RouteKey};
use crate::tls::Certificates;

/// A reverse proxy that apps configure while it runs.
///
/// Clones are the same proxy. See the crate's documentation for an example.
#[derive(Clone)]
pub struct DynamicProxy {
    registry: Arc<Registry>,
    connections: Arc<Connections>,
    clients: Arc<Clients>,
    shed: Arc<Shed>,
    issuer: Issuer,
    options: Arc<Options>,
    callers: Arc<Callers>,
    started: Instant,
    on_proxy_error: Option<ProxyErrorHandler>,
    on_register_error: Option<RegisterErrorHandler>,
}

impl DynamicProxy {
    /// A proxy without routes, which keeps them for as long as it lives.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let registry = Registry::new(options.rules());
        Self::with_registry(options, registry)
    }

    /// A proxy with the routes of a store, where its changes are kept.
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be used.
    pub fn open(options: Options, store: Box<dyn Store>) -> Result<Self, StoreError> {
        let registry = Registry::open(options.rules(), store)?;
        Ok(Self::with_registry(options, registry))
    }

    fn with_registry(mut options: Options, registry: Registry) -> Self {
        let registry = Arc::new(registry);
        let issuer = Issuer::of(&mut options, &registry);
        let callers = Callers::new(
            options.tokens.clone(),
            options.control_hosts.clone(),
            options.require_token,
            options.allow_users.clone(),
        );
        let connections = Arc::<Connections>::default();
        let limit_counts = options.limit_counts();
        let cut = Arc::clone(&connections);
        registry.on_cut(Box::new(move |serial| cut.cut(serial)));
        Self {
            callers: Arc::new(callers),
            registry,
            issuer,
            connections,
            clients: Arc::new(Clients::new(options.clients.clone(), limit_counts)),
            shed: Arc::default(),
            options: Arc::new(options),
            started: Instant::now(),
            on_proxy_error: None,
            on_register_error: None,
        }
    }

    /// Lets `handler` answer requests that could not be proxied: its answer goes to the client; with
    /// `None` the proxy answers as usual. It is called on the request's path, so it must not block.
    #[must_use]
    pub fn on_proxy_error(
        mut self,
        handler: impl Fn(&ProxyFailure) -> Option<http::Response<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        self.on_proxy_error = Some(Arc::new(handler));
        self
    }

    /// Lets `handler` answer registrations that were refused, in the same way.
    #[must_use]
    pub fn on_register_error(
        mut self,
        handler: impl Fn(&RegisterFailure) -> Option<http::Response<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        self.on_register_error = Some(Arc::new(handler));
        self
    }

    /// Registers routes before the server runs; blocks while names are looked up.
    ///
    /// # Errors
    /// [`RegisterError`] of the first route that cannot be registered; those before it are.
    pub fn add_routes(
        &self,
        routes: impl IntoIterator<Item = Registration>,
    ) -> Result<(), RegisterError> {
        routes
            .into_iter()
            .try_for_each(|route| self.registry.register_blocking(route).map(|_registered| ()))
    }

    /// Registers a route while the server runs: once this returns, every later request sees it.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub async fn register_route(&self, route: Registration) -> Result<Registered, RegisterError> {
        self.registry.register(route).await
    }

    /// Removes a route; requests on their way to its target are not disturbed.
    ///
    /// # Errors
    /// [`ChangeError`]: there is no such route, or the store cannot keep it.
    pub fn remove_route(&self, key: &RouteKey) -> Result<Arc<Route>, ChangeError> {
        self.registry.remove(key)
    }

    /// All routes, as of one moment.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.registry.routes()
    }

    /// The events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.registry.subscribe()
    }

    /// The renewals of leases that change nothing else, from now on; they are no events.
    #[must_use]
    pub fn subscribe_renewals(&self) -> broadcast::Receiver<Arc<Renewal>> {
        self.registry.subscribe_renewals()
    }

    /// The certificates of TLS with clients: [`tls::server_config`](crate::tls::server_config) makes
    /// a listener's configuration with them.
    #[must_use]
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.options.certificates)
    }

    /// The connections of all services of this proxy.
    #[must_use]
    pub fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    /// The clients of the traffic, with what they may take and how often they were refused more.
    #[must_use]
    pub fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients)
    }

    /// Returns the health that probes are told. A program that stops in order says so here, before its listeners
    /// close.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.options.gateway.health.health)
    }

    /// The whole proxy as a Pingora service: add listeners to it (`add_tcp`) and it to a server.
    #[must_use]
    pub fn service(&self, conf: &Arc<ServerConf>) -> TrafficService {
        TrafficService(Service::new("traffic".to_owned(), self.front(conf)))
    }

    /// The front of the traffic.
    pub(super) fn front(&self, conf: &Arc<ServerConf>) -> Front<Proxy, Bridge> {
        Front::new(
            self.proxy(conf),
            self.register_handler(),
            self.options.front(),
            self.connections(),
            (self.clients(), Arc::clone(&self.shed)),
        )
    }

    /// The whole control API as a Pingora service: add listeners to it and it to a server. Who is
    /// not on this machine needs one of [`Options::tokens`].
    #[must_use]
    pub fn control_service(&self) -> ControlService {
        self.control_only("control", self.control_handler())
    }

    /// Registration alone as a Pingora service, for [`Options::registration_apart`]: add listeners to it
    /// that only this machine reaches, and it to a server.
    #[must_use]
    pub fn registration_service(&self) -> ControlService {
        self.control_only("registration", self.register_handler())
    }

    fn control_only(&self, name: &str, handler: Bridge) -> ControlService {
        let options = FrontOptions {
            listeners: Listeners::default(),
            // What is not proxied needs no other engine.
            engine: Engine::Direct,
            // An operator always gets in.
            overload: None,
            ..self.options.front()
        };
        let limits = self.clients.limits().for_control();
        let clients = Arc::new(Clients::new(limits, Arc::clone(self.clients.counts())));
        let front = Front::of_control(handler, options, self.connections(), clients);
        ControlService(Service::new(name.to_owned(), front))
    }

    /// The handler of proxied requests alone, a Pingora `HttpServerApp`. The limits on heads and
    /// the idle connections are [`DynamicProxy::service`]'s, not its.
    #[must_use]
    pub fn request_handler(&self, conf: &Arc<ServerConf>) -> HttpProxy<Gateway> {
        self.gateway().into_http_proxy(conf)
    }

    /// Both ways of the data path.
    pub(crate) fn proxy(&self, conf: &Arc<ServerConf>) -> Proxy {
        Proxy::new(self.gateway(), conf)
    }

    fn gateway(&self) -> Gateway {
        Gateway::new(
            Arc::clone(&self.registry),
            self.options.gateway.clone(),
            self.options.traffic_registration().to_vec(),
            self.on_proxy_error.clone(),
        )
    }

    /// The handler of registrations alone, a Pingora `HttpServerApp`.
    #[must_use]
    pub fn register_handler(&self) -> Bridge {
        let router = control::registration(self.control());
        let ids = self.options.gateway.request_ids.clone();
        Bridge::registration(router, self.options.registration_paths.clone(), ids)
    }

    /// The handler of the whole control API alone, a Pingora `HttpServerApp`.
    #[must_use]
    pub fn control_handler(&self) -> Bridge {
        let ids = self.options.gateway.request_ids.clone();
        let paths = self.options.registration_paths.clone();
        Bridge::api(control::api(self.control()), paths, ids)
    }

    fn control(&self) -> Arc<Control> {
        Arc::new(Control {
            registry: Arc::clone(&self.registry),
            unknown_fields: self.options.unknown_fields,
            body: BodyLimits {
                size: self.options.registration_limit,
                time: self.options.registration_timeout,
                keys: ["registration.body_limit", "registration.body_timeout"],
            },
            callers: Arc::clone(&self.callers),
            certificates: Arc::clone(&self.options.certificates),
            api_body: BodyLimits {
                size: self.options.control_body_limit,
                time: self.options.control_body_timeout,
                keys: ["control.body_limit", "control.body_timeout"],
            },
            on_register_error: self.on_register_error.clone(),
            started: self.started,
            health: self.health(),
            clients: self.clients(),
            shed: Arc::clone(&self.shed),
        })
    }

    /// The routes as they are now.
    pub(super) fn state(&self) -> Arc<State> {
        self.registry.state()
    }

    /// Adds a route of the configuration, unless there was one of its key before.
    pub(super) fn add_configured(
        &self,
        route: Registration,
        before: &State,
    ) -> Result<(), RegisterError> {
        self.registry.add_configured(route, before)
    }

    /// Starts the threads that end leases and drains, watch the files of certificates, and order
    /// certificates. They begin only here: they would not survive the fork into the background.
    pub(super) fn start(&self) {
        self.registry.start();
        if let Err(error) = self.options.certificates.watch() {
            log::error!("changes of certificates' files are not seen: {error}");
        }
        self.issuer.start();
    }

    /// Takes the certificates that an authority has given before.
    pub(super) fn load_acme(&self) {
        self.issuer.load();
    }

    /// Gives the store up, and the folder of certificates; nothing is changed from now on.
    pub(super) fn close(&self) {
        self.issuer.close();
        self.options.certificates.close();
        self.registry.close();
    }

    pub(super) fn check(&self, route: Registration) -> Result<(), RegisterError> {
        self.registry.check(route)
    }
}
