//! All that can be set about a proxy, and what its parts get of it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "acme")]
use crate::acme;
use crate::control::{AllowedUser, Tokens};
use crate::front::{
    ClientLimit, ClientLimits, Engine, FrameLimits, FrontOptions, HeadLimits, LimitCounts,
    ListenerOptions, Listeners, OverloadLimits,
};
use crate::proxy::GatewayOptions;
use crate::registry::{AllowedTarget, Limits, OwnSocket, Rules, TargetPolicy, UnknownFields};
use crate::route::{CaseSensitivity, PathPrefix};
use crate::tls::Certificates;

/// Everything that can be set about a [`DynamicProxy`](super::DynamicProxy); [`Options::default`] is the stand-alone
/// server's default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The data path.
    pub gateway: GatewayOptions,
    /// The paths that apps register at, `/register` by default; none turns registration off, but for the
    /// control API's own `/register`.
    pub registration_paths: Vec<PathPrefix>,
    /// Whether apps register at the listeners of [`DynamicProxy::registration_service`](super::DynamicProxy::registration_service) alone, and the path
    /// is one like any other at those of the traffic; by default they register there.
    pub registration_apart: bool,
    /// The users of this machine whose processes may register, or change anything over TCP, without a
    /// token; any by default.
    pub allow_users: Option<Vec<AllowedUser>>,
    /// The treatment of unknown fields in a registration.
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
    #[cfg(feature = "acme")]
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
    /// The engine that carries proxied requests; by default the proxy's own exchange.
    pub engine: Engine,
    /// How many failures of one code are kept as events in a second; 10 by default, `None` for all.
    pub failures_per_second: Option<NonZeroU32>,
    /// The limits on clients of the traffic.
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
            #[cfg(feature = "acme")]
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
            failures_per_second: NonZeroU32::new(10),
            clients: ClientLimits::default(),
            websocket_frame_limit: None,
            websocket_message_limit: None,
        }
    }
}

impl Options {
    /// The paths that take registrations at the listeners of the traffic.
    pub(super) fn traffic_registration(&self) -> &[PathPrefix] {
        if self.registration_apart {
            &[]
        } else {
            &self.registration_paths
        }
    }

    /// The rules that registrations follow.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            targets: TargetPolicy {
                allow: self.allowed_targets.clone(),
                own: self.own_listeners.clone(),
                own_sockets: self.own_sockets.clone(),
                profiles: self.gateway.target_tls.keys().cloned().collect(),
            },
            reserved: self.traffic_registration().to_vec(),
            probes: self.gateway.health.paths().cloned().collect(),
            case: self.case,
            limits: self.table_limits,
            failures_per_second: self.failures_per_second,
        }
    }

    /// The counts of the limits on clients, with what those allow that the data path keeps.
    pub(super) fn limit_counts(&self) -> Arc<LimitCounts> {
        let (counts, limits) = (&self.gateway.limit_counts, &self.gateway.limits);
        if let Some(most) = limits.body {
            counts.allow(ClientLimit::Body, most);
        }
        if let Some(rate) = limits.upload_rate {
            counts.allow(ClientLimit::UploadRate, rate.get());
        }
        if let Some(rate) = limits.download_rate {
            counts.allow(ClientLimit::DownloadRate, rate.get());
        }
        if let Some(most) = self.websocket_frame_limit {
            counts.allow(ClientLimit::WebSocketFrame, most);
        }
        if let Some(most) = self.websocket_message_limit {
            counts.allow(ClientLimit::WebSocketMessage, most);
        }
        Arc::clone(counts)
    }

    /// How connections are taken in, and their requests read.
    pub(super) fn front(&self) -> FrontOptions {
        FrontOptions {
            limits: HeadLimits {
                head: self.head_limit,
                target: self.target_limit,
                fields: self.field_limit,
            },
            head_timeout: self.head_timeout,
            handshake_timeout: self.handshake_timeout,
            idle_timeout: self.idle_timeout,
            listeners: Listeners::of_worker(&self.listener, &self.listeners),
            http2_streams: self.http2_streams,
            engine: self.engine,
            request_ids: self.gateway.request_ids.clone(),
            frames: self.frame_limits(),
            overload: self.overload_target.map(|target| OverloadLimits {
                target,
                interval: self.overload_interval,
            }),
        }
    }

    /// The limits on frames of WebSockets, if there are any.
    fn frame_limits(&self) -> Option<Arc<FrameLimits>> {
        let [frame, message] = [self.websocket_frame_limit, self.websocket_message_limit];
        (frame.is_some() || message.is_some()).then(|| {
            Arc::new(FrameLimits {
                frame: frame.unwrap_or(u64::MAX),
                message: message.unwrap_or(u64::MAX),
                counts: Arc::clone(&self.gateway.limit_counts),
            })
        })
    }
}
