//! The stand-alone server: a configuration wired to Pingora's listeners, services and signals.
//!
//! [`Server::bind`] does everything that can fail, so that a failure is an error with a remedy
//! before anything runs; [`Server::run`] blocks until a signal has ended it.

mod accept_queue;
#[cfg(feature = "acme")]
mod acme;
#[cfg(not(feature = "acme"))]
#[path = "acme_off.rs"]
mod acme;
mod bound;
mod control_listener;
mod dynamic_proxy;
mod error;
mod listener;
mod memory;
mod mounted;
mod options;
mod service;
mod settings;
mod signals;
mod traffic;
mod unix_socket;
mod workers;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server as PingoraServer};
use tokio::sync::watch;

use bound::Bound;
pub use dynamic_proxy::DynamicProxy;
pub use error::StartError;
pub use listener::BindError;
pub use mounted::{ControlService, TrafficService};
pub use options::Options;
use service::{ControlWorker, SocketFiles, Started, TrafficWorker};
use signals::Signals;

use crate::config::Config;
pub use crate::control::{
    AllowedUser, Bridge, NewToken, NewTokenError, TokenFileError, Tokens, TokensError,
};
use crate::front::CLOSE_TIMEOUT;
pub use crate::front::{ClientLimit, ClientLimits, Clients, Connections, LimitCounts};
pub use crate::front::{Engine, HttpsRedirect, ListenerOptions, RequestIds, TlsClient};
use crate::health::Health;
pub use crate::proxy::{
    Challenges, ErrorStatuses, Exchange, ExchangeLimits, Gateway, GatewayOptions, SecurityDefaults,
    TargetTlsError, TargetTlsOptions, Timeouts,
};
use crate::tls;

/// Pingora's own switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Run in the background (`-d`).
    pub daemon: bool,
    /// Take the sockets over from a running server (`-u`).
    pub upgrade: bool,
}

/// A server that can run: its configuration is checked and its sockets are bound.
pub struct Server {
    proxy: DynamicProxy,
    workers: Vec<TrafficWorker>,
    control: Vec<ControlWorker>,
    files: SocketFiles,
    stop: watch::Sender<bool>,
    pingora: PingoraServer,
    /// How long readiness probes are refused before the listeners close.
    lame_duck: Duration,
    grace: Duration,
    /// How long the process may go on after its sockets have gone to a new one.
    upgrade_grace: Duration,
}

impl Server {
    /// Checks a configuration as [`Server::bind`] does, short of binding.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn check(config: &Config) -> Result<(), StartError> {
        readable(config.server.ca_file.as_deref())?;
        let options = settings::options(config)?;
        for tls in settings::tls_options(config)? {
            // aws-lc takes a tenth of a second for its first random numbers, which a server without
            // TLS need not wait for.
            if !config.tls.listen.is_empty() {
                tls::server_config(&tls, Arc::clone(&options.certificates))?;
            }
        }
        let proxy = DynamicProxy::new(options);
        for route in &config.routes {
            proxy
                .check(route.registration.clone())
                .map_err(|error| settings::refused(route, &error))?;
        }
        Ok(())
    }

    /// Checks a configuration, binds its listeners and registers its static routes.
    ///
    /// # Errors
    /// [`StartError`]; every socket is closed again then.
    pub fn bind(config: &Config, switches: Switches) -> Result<Self, StartError> {
        // Before Pingora, which installs another.
        tls::install();
        Self::check(config)?;
        outlive_limits();
        let mut options = settings::options(config)?;
        describe(&options);
        // With -u the running server has the sockets; Pingora fetches them.
        let bound = Bound::open(config, &mut options, switches.upgrade)?;
        // With -u this waits until the running server has given its sockets, and its store.
        let mut pingora = pingora(conf(config), switches);
        pingora.bootstrap();
        let proxy = proxy(config, options)?;
        let stop = watch::Sender::new(false);
        let files = SocketFiles::default();
        let control = [
            (bound.control, proxy.control_service()),
            (bound.registration, proxy.registration_service()),
        ];
        let health = proxy.health();
        let control = control.into_iter().filter_map(|(listeners, service)| {
            workers::control(service, listeners, (&stop, &health), &files)
        });
        let control: Vec<_> = control.collect();
        let port = bound.traffic.port();
        let mut workers = workers::traffic(config, &proxy, bound.traffic, &stop)?;
        if let Some(first) = workers.first_mut() {
            first.on_started = Some(announced(Arc::clone(&health), port, config.debug));
        }
        // Each worker, and the signals: before those are taken, one would kill the process.
        health.await_parts(workers.len() + control.len() + 1);
        Ok(Self {
            proxy,
            workers,
            control,
            files,
            stop,
            pingora,
            lame_duck: config.lame_duck,
            grace: config.shutdown_grace,
            upgrade_grace: upgrade_grace(config),
        })
    }

    /// The proxy that the server runs.
    #[must_use]
    pub fn proxy(&self) -> &DynamicProxy {
        &self.proxy
    }

    /// Runs until a signal ends it: SIGTERM and ctrl-C finish what is in flight, SIGQUIT hands the
    /// sockets to a new process. Readiness probes are refused from that signal on.
    pub fn run(mut self) {
        let signals = Signals {
            stop: self.stop,
            connections: self.proxy.connections(),
            lame_duck: self.lame_duck,
            grace: self.grace,
            files: self.files,
            upgrade_grace: self.upgrade_grace,
            proxy: self.proxy.clone(),
            phases: self.pingora.watch_execution_phase(),
        };
        for worker in self.workers {
            self.pingora.add_service(worker);
        }
        for control in self.control {
            self.pingora.add_service(control);
        }
        self.pingora.run(RunArgs {
            shutdown_signal: Box::new(signals),
        });
        info!("stopped");
    }
}

/// Says in the log what is not right about the files of tokens and certificates, and about allowed targets.
fn describe(options: &Options) {
    if let Some(tokens) = &options.tokens {
        tokens.warn_of_mode();
    }
    options.certificates.describe();
    settings::warn_of_links(&options.allowed_targets);
}

/// The proxy, with the routes and certificates of the store and of the configuration. Its sockets are bound.
fn proxy(config: &Config, mut options: Options) -> Result<DynamicProxy, StartError> {
    // Now they are there, whoever has bound them.
    options.own_sockets = settings::own_sockets(config);
    if let Some(folder) = settings::certificates_folder(config) {
        options.certificates.open(&folder)?;
    }
    let proxy = match settings::store(config)? {
        Some(store) => DynamicProxy::open(options, store)?,
        None => DynamicProxy::new(options),
    };
    let before = proxy.state();
    for route in &config.routes {
        proxy
            .add_configured(route.registration.clone(), &before)
            .map_err(|error| settings::refused(route, &error))?;
    }
    proxy.load_acme();
    Ok(proxy)
}

/// How long requests may go on here once another process has the sockets.
fn upgrade_grace(config: &Config) -> Duration {
    let seconds = config.pingora().grace_period_seconds;
    seconds.map_or(config.shutdown_grace, Duration::from_secs)
}

fn conf(config: &Config) -> ServerConf {
    let mut conf = config.pingora();
    // Pingora's own end comes after ours, which lets the connections close in order.
    let grace = upgrade_grace(config).saturating_add(2 * CLOSE_TIMEOUT);
    conf.grace_period_seconds = Some(grace.as_secs());
    conf
}

fn pingora(conf: ServerConf, switches: Switches) -> PingoraServer {
    let opt = Opt {
        upgrade: switches.upgrade,
        daemon: switches.daemon,
        ..Opt::default()
    };
    PingoraServer::new_with_opt_and_conf(opt, conf)
}

fn readable(ca_file: Option<&str>) -> Result<(), StartError> {
    let Some(path) = ca_file else { return Ok(()) };
    std::fs::File::open(path)
        .map(|_file| ())
        .map_err(|source| StartError::File {
            key: "ca_file",
            path: path.to_owned(),
            source,
        })
}

/// Raises the limit of open files, and outlives that of a file's size. Every connection is a descriptor,
/// twice over; the usual soft limit of 1,024 is for programs that use select(2).
fn outlive_limits() {
    match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(limit) => info!("at most {limit} open files"),
        Err(error) => warn!("the limit of open files stays as it is: {error}"),
    }
    if let Err(error) = signals::outlive_file_limits() {
        warn!("a file that reaches its largest size will end the process: {error}");
    }
}

/// Announces the port once all workers accept connections and signals are taken: whoever reads the line may
/// send one at once.
fn announced(health: Arc<Health>, port: u16, debug: bool) -> Started {
    Box::pin(async move {
        if health.ready().await {
            announce(port, debug);
        }
    })
}

/// The original's words, on standard output, for whoever waits for them.
fn announce(port: u16, debug: bool) {
    let suffix = if debug { " (DEBUG build)" } else { "" };
    let mut out = std::io::stdout().lock();
    let told = writeln!(
        out,
        "Reverse Proxy started, listening on port {port}{suffix}"
    )
    .and_then(|()| out.flush());
    if let Err(error) = told {
        warn!("nobody reads that the proxy has started: {error}");
    }
}

/// The configuration that Pingora services are built with, for programs that mount a
/// [`DynamicProxy`] without a server of their own.
#[must_use]
pub fn default_pingora_conf() -> Arc<ServerConf> {
    Arc::new(Config::default().pingora())
}
