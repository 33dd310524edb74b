//! The configuration with every default resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pingora_core::server::configuration::ServerConf;

use super::acme::Acme;
use super::control::Control;
use super::file::File;
use super::health::Health;
use super::listen::{Entry, General, Listen};
use super::pingora::{PingoraConf, with_pingora_keys};
use super::registration::Registration;
use super::routes::StaticRoute;
use super::section::{
    Engine, Errors, Events, Http2, Limits, Overload, ProxyProtocol, RequestId, Routing, Targets,
    Timeouts,
};
use super::store::{self, Store};
use super::tls::Tls;

/// The port that is listened on when nothing says another.
const DEFAULT_PORT: u16 = 3000;

/// A checked configuration: every default is resolved, every value holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Pingora's own keys. [`Config::pingora`] is what to start a server with.
    pub server: PingoraConf,
    /// `listen` or `port`: where to listen, at least one. Default: port 3000 of every IPv4 and,
    /// where there is any, IPv6 address.
    pub listen: Vec<Listen>,
    /// `engine`: what carries proxied requests. Default: direct.
    pub engine: Engine,
    /// `debug`: whether routing decisions are logged and `x-served-by` is set. Default: false.
    pub debug: bool,
    /// `log`: the filter of the log, in the language of `env_logger`. Default: `info`.
    pub log: String,
    /// `shutdown_grace`: how long requests may go on once the proxy is told to stop. Default: 30 s.
    pub shutdown_grace: Duration,
    /// `lame_duck`: how long new connections are still accepted, once the proxy is told to stop and readiness
    /// probes are refused. Default: 0 s.
    pub lame_duck: Duration,
    /// `routing`: how a request finds its route.
    pub routing: Routing,
    /// `registration`: how apps register.
    pub registration: Registration,
    /// `targets`: where a registered target may be.
    pub targets: Targets,
    /// `control`: the control API.
    pub control: Control,
    /// `health`: health probes on the listeners of the traffic.
    pub health: Health,
    /// `events`: what is kept for `GET /v1/events`.
    pub events: Events,
    /// `tls`: TLS with clients.
    pub tls: Tls,
    /// `acme`: certificates from an authority.
    pub acme: Acme,
    /// `store`: what keeps the routes. Default: memory.
    pub store: Store,
    /// `state_directory`: where state is kept. Default: the environment's `STATE_DIRECTORY`, or
    /// else `/var/lib/dynamic-reverse-proxy`.
    pub state_directory: PathBuf,
    /// `trusted_proxies`: the peers whose `Forwarded` and `X-Forwarded-*` fields are believed.
    /// Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// `proxy_protocol`: the load balancers that announce each client by the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// `http2`: HTTP/2 with clients.
    pub http2: Http2,
    /// `routes`: the routes that are there from the start. Default: none.
    pub routes: Vec<StaticRoute>,
    /// `timeouts`.
    pub timeouts: Timeouts,
    /// `limits`: how large a request's head may be.
    pub limits: Limits,
    /// `overload`: when requests are shed.
    pub overload: Overload,
    /// `errors`: the statuses of the proxy's own answers.
    pub errors: Errors,
    /// `request_id`: the field that names a request.
    pub request_id: RequestId,
}

impl Config {
    /// Pingora's configuration. Its grace period is `shutdown_grace` unless `grace_period_seconds`
    /// is given: its own default of five minutes is waited out even with nothing to wait for.
    #[must_use]
    pub fn pingora(&self) -> ServerConf {
        let mut conf = self.server.clone().0;
        let grace = self.shutdown_grace;
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        conf.grace_period_seconds.get_or_insert(seconds);
        conf
    }

    pub(super) fn resolve(
        file: File,
        name: &Arc<str>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let server = PingoraConf(with_pingora_keys!(ServerConf, file, {
            upgrade_sock_connect_accept_max_retries: None,
        }));
        let listen = listen(&file);
        let state_directory = store::state_directory(file.state_directory, env);
        Self {
            server,
            control: file.control.resolve(&listen),
            listen,
            tls: file.tls.resolve(&file.proxy_protocol.trusted, name),
            acme: file.acme.resolve(),
            store: file.store.resolve(&state_directory),
            state_directory,
            engine: file.engine,
            debug: file.debug,
            log: file.log,
            shutdown_grace: file.shutdown_grace,
            lame_duck: file.lame_duck,
            health: file.health,
            events: file.events,
            routing: file.routing,
            registration: file.registration.resolve(),
            targets: file.targets,
            trusted_proxies: file.trusted_proxies,
            proxy_protocol: file.proxy_protocol,
            http2: file.http2,
            // They are read by themselves.
            routes: Vec::new(),
            timeouts: file.timeouts,
            limits: file.limits,
            overload: file.overload,
            errors: file.errors,
            request_id: file.request_id,
        }
    }
}

impl Default for Config {
    /// Returns the configuration of an empty file.
    fn default() -> Self {
        Self::resolve(File::default(), &Arc::from(""), |_| None)
    }
}

/// The addresses to listen on. With port 0 the two families would get different ports: then it is
/// IPv4 alone.
fn listen(file: &File) -> Vec<Listen> {
    let general = General {
        http2_cleartext: file.http2.cleartext,
        proxy_protocol: &file.proxy_protocol.trusted,
    };
    if let Some(listen) = &file.listen {
        let entries = Entry::all(listen);
        return entries.map(|entry| entry.resolve(general)).collect();
    }
    let at = |address: IpAddr, port, optional| Listen {
        optional,
        ..Listen::plain((address, port).into(), general)
    };
    let port = file.port.map_or(DEFAULT_PORT, |port| port.0);
    let mut listen = vec![at(Ipv4Addr::UNSPECIFIED.into(), port, false)];
    if port != 0 {
        listen.push(at(Ipv6Addr::UNSPECIFIED.into(), port, true));
    }
    listen
}
