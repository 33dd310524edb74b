//! The proxy as an object: built, given routes, listened to, mounted in a Pingora server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_proxy::HttpProxy;
use tokio::sync::broadcast;

use super::{ControlService, TrafficService};
use crate::acme::{self, Acme};
use crate::control::{
    self, AllowedUser, BodyLimits, Bridge, Callers, Control, RegisterErrorHandler, Tokens,
};
use crate::front::{
    ClientLimit, ClientLimits, Clients, Connections, Engine, FrameLimits, Front, FrontOptions,
    HeadLimits, LimitCounts, ListenerOptions, Listeners, OverloadLimits, Shed,
};
use crate::proxy::{Challenges, Gateway, GatewayOptions, Proxy, ProxyErrorHandler};
use crate::registry::store::{Store, StoreError};
use crate::registry::{
    AllowedTarget, ChangeError, Event, Limits, OwnSocket, ProxyFailure, RegisterError,
    RegisterFailure, Registered, Registration, Registry, Rules, State, TargetPolicy, UnknownFields,
};
use crate::route::{CaseSensitivity, PathPrefix, Route, RouteKey};
use crate::tls::Certificates;

/// Everything that can be set about a [`DynamicProxy`]; [`Options::default`] is the stand-alone
/// server's default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The data path.
    pub gateway: GatewayOptions,
    /// The paths that apps register at, `/register` by default; none turns registration off, but for the
    /// control API's own `/register`.
    pub registration_paths: Vec<PathPrefix>,
    /// Whether apps register at the listeners of [`DynamicProxy::registration_service`] alone, and the path
    /// is one like any other at those of the traffic; by default they register there.
    pub registration_apart: bool,
    /// The users of this machine whose processes may register, or change anything over TCP, without a
    /// token; any by default.
    pub allow_users: Option<Vec<AllowedUser>>,
    /// What becomes of unknown fields in a registration.
    pub unknown_fields: UnknownFields,
    /// The most bytes of a registration's body; 64 KiB by default.
    pub registration_limit: usize,
    /// The total time for a registration's body; 10 s by default.
    pub registration_timeout: Duration,
    /// Whether prefixes match with regard to ASCII case; by default they do not.
    pub case: CaseSensitivity,
    /// Targets beside loopback that may be registered.
    pub allowed_targets: Vec<AllowedTarget>,
    /// The addresses that the proxy itself listens on, which are no targets.
    pub own_listeners: Vec<SocketAddr>,
    /// The Unix sockets that the proxy itself listens on, which are not targets either.
    pub own_sockets: Vec<OwnSocket>,
    /// The tokens of those who may use the control API over TCP; none by default, and whoever is on
    /// this machine may.
    pub tokens: Option<Arc<Tokens>>,
    /// The certificates of TLS with clients, which the control API can change; by default none, and
    /// what the API puts is kept in memory.
    pub certificates: Arc<Certificates>,
    /// How certificates are got from an authority; by default none are. The stand-alone server does it,
    /// no service that is mounted elsewhere.
    pub acme: Option<acme::Options>,
    /// Whether a registration over the traffic listener needs a token; by default it does not.
    pub require_token: bool,
    /// Hosts, besides loopback and the listener's own address, that a request without a token to
    /// the control API may be for; none by default.
    pub control_hosts: Vec<String>,
    /// The most bytes of a body for the control API; 64 MiB by default.
    pub control_body_limit: usize,
    /// The total time for a body for the control API; 60 s by default.
    pub control_body_timeout: Duration,
    /// The most bytes of a request's head; 64 KiB by default.
    pub head_limit: usize,
    /// The most bytes of a request's target; 16 KiB by default.
    pub target_limit: usize,
    /// The most fields of a request; 100 by default, at most 200.
    pub field_limit: usize,
    /// How much the table may hold.
    pub table_limits: Limits,
    /// The total time for a request's head, from its first byte on; 10 s by default.
    pub head_timeout: Duration,
    /// The total time for what comes before a connection's first request, TLS above all, and then the time
    /// for that request to begin; 10 s by default.
    pub handshake_timeout: Duration,
    /// How long a connection may be idle between requests; 75 s by default.
    pub idle_timeout: Option<Duration>,
    /// How the traffic listeners take connections in: TLS, PROXY protocol, HTTP/2 in cleartext; by
    /// default plain.
    pub listener: ListenerOptions,
    /// The options of single listeners, by the address that they listen on, in place of
    /// [`Options::listener`].
    pub listeners: Vec<(SocketAddr, ListenerOptions)>,
    /// How many streams a client may have open at a time on one connection of HTTP/2; 100 by default.
    pub http2_streams: u32,
    /// How long a request may wait until the proxy looks at it, before it counts as overloaded; 200 ms by
    /// default. `None` sheds no requests.
    pub overload_target: Option<Duration>,
    /// For how long requests have to have waited for longer before the first is answered with 503; 100 ms
    /// by default.
    pub overload_interval: Duration,
    /// What carries proxied requests; by default the proxy's own exchange.
    pub engine: Engine,
    /// What clients of the traffic may take.
    pub clients: ClientLimits,
    /// The most bytes of a frame of a WebSocket from a client; by default no limit.
    pub websocket_frame_limit: Option<u64>,
    /// The most bytes of a message of a WebSocket from a client; by default no limit.
    pub websocket_message_limit: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gateway: GatewayOptions::default(),
            registration_paths: PathPrefix::parse("/register").into_iter().collect(),
            registration_apart: false,
            allow_users: None,
            unknown_fields: UnknownFields::Refuse,
            registration_limit: 64 * 1024,
            registration_timeout: Duration::from_secs(10),
            case: CaseSensitivity::Insensitive,
            allowed_targets: Vec::new(),
            own_listeners: Vec::new(),
            own_sockets: Vec::new(),
            tokens: None,
            certificates: Arc::default(),
            acme: None,
            require_token: false,
            control_hosts: Vec::new(),
            control_body_limit: 64 * 1024 * 1024,
            control_body_timeout: Duration::from_mins(1),
            head_limit: 64 * 1024,
            target_limit: 16 * 1024,
            field_limit: 100,
            table_limits: Limits::default(),
            head_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(75)),
            listener: ListenerOptions::default(),
            listeners: Vec::new(),
            http2_streams: 100,
            overload_target: Some(Duration::from_millis(200)),
            overload_interval: Duration::from_millis(100),
            engine: Engine::Direct,
            clients: ClientLimits::default(),
            websocket_frame_limit: None,
            websocket_message_limit: None,
        }
    }
}

/// A reverse proxy that apps configure while it runs.
///
/// Clones are the same proxy. See the crate's documentation for an example.
#[derive(Clone)]
pub struct DynamicProxy {
    registry: Arc<Registry>,
    connections: Arc<Connections>,
    clients: Arc<Clients>,
    shed: Arc<Shed>,
    acme: Option<Arc<Acme>>,
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
        let registry = Registry::new(rules(&options));
        Self::with_registry(options, registry)
    }

    /// A proxy with the routes of a store, where its changes are kept.
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be used.
    pub fn open(options: Options, store: Box<dyn Store>) -> Result<Self, StoreError> {
        let registry = Registry::open(rules(&options), store)?;
        Ok(Self::with_registry(options, registry))
    }

    fn with_registry(mut options: Options, registry: Registry) -> Self {
        let registry = Arc::new(registry);
        let acme = options.acme.take().map(|wanted| {
            let answers = acme::Answers::default();
            let given = answers.clone();
            options.gateway.challenges = Challenges::new(move |token| given.get(token));
            let (certificates, registry) = (&options.certificates, &registry);
            let acme = Acme::new(
                wanted,
                answers,
                Arc::clone(certificates),
                Arc::clone(registry),
            );
            Arc::new(acme)
        });
        let callers = Callers::new(
            options.tokens.clone(),
            options.control_hosts.clone(),
            options.require_token,
            options.allow_users.clone(),
        );
        let connections = Arc::<Connections>::default();
        let limit_counts = counted(&options);
        let cut = Arc::clone(&connections);
        registry.on_cut(Box::new(move |serial| cut.cut(serial)));
        Self {
            callers: Arc::new(callers),
            registry,
            acme,
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

    /// The whole proxy as a Pingora service: add listeners to it (`add_tcp`) and it to a server.
    #[must_use]
    pub fn service(&self, conf: &Arc<ServerConf>) -> TrafficService {
        Service::new("traffic".to_owned(), self.front(conf))
    }

    /// The front of the traffic.
    pub(super) fn front(&self, conf: &Arc<ServerConf>) -> Front<Proxy, Bridge> {
        Front::new(
            self.proxy(conf),
            self.register_handler(),
            self.front_options(),
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
            ..self.front_options()
        };
        let limits = self.clients.limits().for_control();
        let clients = Arc::new(Clients::new(limits, Arc::clone(self.clients.counts())));
        let front = Front::of_control(handler, options, self.connections(), clients);
        Service::new(name.to_owned(), front)
    }

    fn front_options(&self) -> FrontOptions {
        let options = &self.options;
        FrontOptions {
            limits: HeadLimits {
                head: options.head_limit,
                target: options.target_limit,
                fields: options.field_limit,
            },
            head_timeout: options.head_timeout,
            handshake_timeout: options.handshake_timeout,
            idle_timeout: options.idle_timeout,
            listeners: Listeners::of_worker(&options.listener, &options.listeners),
            http2_streams: options.http2_streams,
            engine: options.engine,
            request_ids: options.gateway.request_ids.clone(),
            frames: self.frame_limits(),
            overload: options.overload_target.map(|target| OverloadLimits {
                target,
                interval: options.overload_interval,
            }),
        }
    }

    fn frame_limits(&self) -> Option<Arc<FrameLimits>> {
        let [frame, message] = [
            self.options.websocket_frame_limit,
            self.options.websocket_message_limit,
        ];
        (frame.is_some() || message.is_some()).then(|| {
            Arc::new(FrameLimits {
                frame: frame.unwrap_or(u64::MAX),
                message: message.unwrap_or(u64::MAX),
                counts: Arc::clone(self.clients.counts()),
            })
        })
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
            traffic_registration(&self.options).to_vec(),
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
            },
            callers: Arc::clone(&self.callers),
            certificates: Arc::clone(&self.options.certificates),
            api_body: BodyLimits {
                size: self.options.control_body_limit,
                time: self.options.control_body_timeout,
            },
            on_register_error: self.on_register_error.clone(),
            started: self.started,
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

    /// What ends by itself ends from now on, and what changes on the disk is seen. Threads begin
    /// here: they would not survive the step into the background.
    pub(super) fn start(&self) {
        self.registry.start();
        if let Err(error) = self.options.certificates.watch() {
            log::error!("changes of certificates' files are not seen: {error}");
        }
        if let Some(Err(error)) = self.acme.as_ref().map(Acme::start) {
            log::error!("no certificates are got from an authority: {error}");
        }
    }

    /// Takes the certificates that an authority has given before.
    pub(super) fn load_acme(&self) {
        if let Some(acme) = &self.acme {
            acme.load();
        }
    }

    /// Gives the store up, and the folder of certificates; nothing is changed from now on.
    pub(super) fn close(&self) {
        if let Some(acme) = &self.acme {
            acme.close();
        }
        self.options.certificates.close();
        self.registry.close();
    }

    pub(super) fn check(&self, route: Registration) -> Result<(), RegisterError> {
        self.registry.check(route)
    }
}

/// The paths that take registrations at the listeners of the traffic.
fn traffic_registration(options: &Options) -> &[PathPrefix] {
    if options.registration_apart {
        &[]
    } else {
        &options.registration_paths
    }
}

fn rules(options: &Options) -> Rules {
    Rules {
        targets: TargetPolicy {
            allow: options.allowed_targets.clone(),
            own: options.own_listeners.clone(),
            own_sockets: options.own_sockets.clone(),
            profiles: options.gateway.target_tls.keys().cloned().collect(),
        },
        reserved: traffic_registration(options).to_vec(),
        case: options.case,
        limits: options.table_limits,
    }
}

/// The counts of the limits on clients, with what those allow that the data path keeps.
fn counted(options: &Options) -> Arc<LimitCounts> {
    let (counts, limits) = (&options.gateway.limit_counts, &options.gateway.limits);
    if let Some(most) = limits.body {
        counts.allow(ClientLimit::Body, most);
    }
    if let Some(rate) = limits.upload_rate {
        counts.allow(ClientLimit::UploadRate, rate.get());
    }
    if let Some(rate) = limits.download_rate {
        counts.allow(ClientLimit::DownloadRate, rate.get());
    }
    if let Some(most) = options.websocket_message_limit {
        counts.allow(ClientLimit::WebSocketMessage, most);
    }
    Arc::clone(counts)
}
