//! The stand-alone server: a configuration wired to Pingora's listeners, services and signals.
//!
//! [`Server::bind`] does everything that can fail, so that a failure is an error with a remedy
//! before anything runs; [`Server::run`] blocks until a signal has ended it.

mod accept_queue;
mod acme;
mod control_listener;
mod dynamic_proxy;
mod listener;
mod memory;
mod service;
mod settings;
mod signals;
mod traffic;
mod unix_socket;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use pingora_core::listeners::ListenerConfig;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server as PingoraServer};
use pingora_core::services::listening::Service;
use thiserror::Error;
use tokio::sync::watch;

use control_listener::{ControlListener, ControlListeners};
pub use dynamic_proxy::{DynamicProxy, Options};
pub use listener::BindError;
use listener::BoundListener;
pub use service::{ControlService, TrafficService};
use service::{ControlWorker, Entrance, SocketFiles, Sockets, TrafficWorker, Worker};
use signals::Signals;
use traffic::Traffic;

use crate::config::{Config, ConfigError};
pub use crate::control::{
    AllowedUser, NewToken, NewTokenError, TokenFileError, Tokens, TokensError,
};
use crate::front::{Balance, CLOSE_TIMEOUT};
pub use crate::front::{ClientLimit, ClientLimits, Clients, LimitCounts};
pub use crate::front::{Engine, HttpsRedirect, ListenerOptions, RequestIds, TlsClient};
use crate::registry::store::StoreError;
use crate::tls;

/// The client's writes are gathered up to this size before they go to the kernel, so that a head
/// and a small body are one packet. Reads go through the front's own buffer.
const WRITE_BUFFER: usize = 1460;

/// Why the server does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong: exit code 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value of the configuration is wrong: exit code 2.
    #[error("{0}: {1}")]
    Setting(&'static str, String),
    /// An address cannot be listened on: exit code 1.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The tokens file is wrong: exit code 2.
    #[error("control.tokens: {0}")]
    Tokens(#[from] TokenFileError),
    /// The store cannot be used: exit code 1.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A certificate cannot be used: exit code 1.
    #[error("tls.certificates: {0}")]
    Certificate(#[from] tls::LoadError),
    /// The certificates of the control API cannot be kept: exit code 1.
    #[error("state_directory: {0}")]
    Certificates(#[from] tls::StoreError),
    /// The authorities of client certificates cannot be used: exit code 1.
    #[error("{key}: {source}")]
    ClientAuth {
        /// The key that names their file.
        key: String,
        /// What is wrong with it.
        source: tls::AuthoritiesError,
    },
    /// The authorities for ACME cannot be used: exit code 1.
    #[error("acme.ca: {0}")]
    AcmeAuthorities(#[source] tls::AuthoritiesError),
    /// TLS cannot be set up: exit code 1.
    #[error("tls: {0}")]
    Tls(#[from] tls::ServerConfigError),
    /// A file that the configuration names cannot be read: exit code 1.
    #[error("{key}: cannot read {path}: {source}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StartError {
    /// Whether the operator's text is at fault, rather than the machine.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Setting(..) | Self::Tokens(_))
    }
}

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
    armed: watch::Sender<bool>,
    pingora: PingoraServer,
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
        raise_file_limit();
        if let Err(error) = signals::outlive_file_limits() {
            warn!("a file that reaches its largest size will end the process: {error}");
        }
        let mut options = settings::options(config)?;
        if let Some(tokens) = &options.tokens {
            tokens.warn_of_mode();
        }
        options.certificates.describe();
        settings::warn_of_links(&options.allowed_targets);
        // With -u the running server has the sockets; Pingora fetches them.
        let traffic = Traffic::open(
            config,
            &options.listener,
            &options.certificates,
            switches.upgrade,
        )?;
        let (addresses, listeners) = (traffic.addresses, traffic.bound);
        options.listeners = traffic.listeners;
        options.gateway.https_port = traffic.https_port;
        let control = BoundControl::open(ControlListeners::of(config), switches.upgrade)?;
        let registration = ControlListeners::of_registration(config);
        let registration = BoundControl::open(registration, switches.upgrade)?;
        if !switches.upgrade {
            options.own_listeners.clone_from(&addresses);
            let bound = control.bound.iter().chain(&registration.bound);
            let bound = bound.filter_map(|bound| bound.address);
            options.own_listeners.extend(bound);
        }
        // With -u this waits until the running server has given its sockets, and its store.
        let mut pingora = pingora(conf(config), switches);
        pingora.bootstrap();
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
        let (stop, armed) = (watch::Sender::new(false), watch::Sender::new(false));
        let mut workers = workers(config, &proxy, &addresses, &listeners, &stop)?;
        if let Some(first) = workers.first_mut() {
            first.sockets = Sockets::Known(listeners.into_iter().map(named).collect());
            let port = addresses.first().map_or(0, SocketAddr::port);
            let debug = config.debug;
            let mut armed = armed.subscribe();
            first.on_started = Some(Box::pin(async move {
                // Whoever reads the line may send a signal at once.
                if armed.wait_for(|armed| *armed).await.is_ok() {
                    announce(port, debug);
                }
            }));
        }
        let files = SocketFiles::default();
        let services = [
            (control, proxy.control_service()),
            (registration, proxy.registration_service()),
        ];
        let control = services
            .into_iter()
            .filter_map(|(listeners, service)| control_worker(service, listeners, &stop, &files));
        let upgrade_grace = upgrade_grace(config);
        Ok(Self {
            proxy,
            workers,
            control: control.collect(),
            files,
            stop,
            armed,
            pingora,
            grace: config.shutdown_grace,
            upgrade_grace,
        })
    }

    /// The proxy that the server runs.
    #[must_use]
    pub fn proxy(&self) -> &DynamicProxy {
        &self.proxy
    }

    /// Runs until a signal ends it: SIGTERM and ctrl-C finish what is in flight, SIGQUIT hands the
    /// sockets to a new process.
    pub fn run(mut self) {
        let signals = Signals {
            stop: self.stop,
            armed: self.armed,
            connections: self.proxy.connections(),
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

/// How many idle connections of one kind each of so many workers may keep: what is configured, as long as
/// all of them together leave three quarters of the files that may be open to others.
fn pool_size(configured: usize, workers: usize) -> usize {
    let Ok((files, _hard)) = rlimit::Resource::NOFILE.get() else {
        return configured;
    };
    let most = usize::try_from(files / 4).unwrap_or(usize::MAX) / workers.max(1);
    if configured > most {
        warn!(
            "each thread keeps at most {most} idle connections to targets rather than {configured}, since \
             only {files} files may be open"
        );
    }
    configured.min(most)
}

/// As many workers of one thread as the configuration has threads; with work stealing, Pingora's
/// one service of many.
fn workers(
    config: &Config,
    proxy: &DynamicProxy,
    addresses: &[SocketAddr],
    listeners: &[BoundListener],
    stop: &watch::Sender<bool>,
) -> Result<Vec<TrafficWorker>, StartError> {
    let mut conf = config.pingora();
    let count = if conf.work_stealing { 1 } else { conf.threads };
    if !conf.work_stealing {
        // Pingora sizes a service's pools by this; each worker has its own.
        conf.threads = 1;
    }
    conf.upstream_keepalive_pool_size = pool_size(conf.upstream_keepalive_pool_size, count);
    let conf = Arc::new(conf);
    let balance = Balance::new(count);
    (0..count)
        .map(|index| {
            let mut front = proxy.front(&conf);
            if count > 1 {
                front = front.seated(balance.seat(index));
            }
            let front = Arc::new(front);
            let entrance = Entrance(Arc::clone(&front));
            let mut service = Service::new("traffic".to_owned(), entrance);
            service.threads = Some(conf.threads);
            for address in addresses {
                let buffers = L4BufferSettings::new(0, WRITE_BUFFER);
                service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffers));
            }
            let sockets = if listeners.is_empty() {
                Sockets::CopiesOfKnown
            } else {
                let copies = listeners.iter().map(BoundListener::copy);
                Sockets::Copies(copies.collect::<Result<_, _>>()?)
            };
            Ok(Worker {
                service,
                sockets,
                stop: stop.clone(),
                on_started: None,
                settle: Some(Box::new(move |shutdown| front.settle(shutdown))),
            })
        })
        .collect()
}

/// Control listeners, and their sockets; none if the running server has them.
struct BoundControl {
    wanted: ControlListeners,
    bound: Vec<ControlListener>,
}

impl BoundControl {
    /// Binds the listeners, unless the running server has the sockets.
    fn open(wanted: ControlListeners, inherit: bool) -> Result<Self, BindError> {
        let bound = if inherit { Vec::new() } else { wanted.bind()? };
        Ok(Self { wanted, bound })
    }
}

/// The worker of the control API, or of registrations, on one thread; none if there are no listeners.
fn control_worker(
    mut service: ControlService,
    BoundControl { wanted, bound }: BoundControl,
    stop: &watch::Sender<bool>,
    files: &SocketFiles,
) -> Option<ControlWorker> {
    if wanted.listen.is_empty() {
        return None;
    }
    service.threads = Some(1);
    let names: Vec<String> = if bound.is_empty() {
        wanted.listen.iter().map(control_listener::name).collect()
    } else {
        bound.iter().map(|bound| bound.name.clone()).collect()
    };
    for name in &names {
        let buffers = L4BufferSettings::new(0, WRITE_BUFFER);
        let endpoint = control_listener::endpoint(name, wanted.access());
        service.add_listener(endpoint.l4_buffer(buffers));
    }
    if bound.is_empty() {
        return Some(Worker {
            service,
            sockets: Sockets::Inherited(wanted, Arc::clone(files)),
            stop: stop.clone(),
            on_started: None,
            settle: None,
        });
    }
    files
        .lock()
        .extend(bound.iter().filter_map(|bound| bound.file.clone()));
    let shown: Vec<String> = bound.iter().map(|bound| bound.shown.clone()).collect();
    let sockets = bound.into_iter().map(|bound| (bound.name, bound.socket));
    let title = wanted.title();
    Some(Worker {
        service,
        sockets: Sockets::Known(sockets.collect()),
        stop: stop.clone(),
        on_started: Some(Box::pin(async move {
            for shown in shown {
                info!("{title} on {shown}");
            }
        })),
        settle: None,
    })
}

fn named(listener: BoundListener) -> (String, OwnedFd) {
    (listener.address.to_string(), listener.socket)
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

/// Every connection is a descriptor, twice over; the usual soft limit of 1,024 is for programs that
/// use select(2).
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(limit) => info!("at most {limit} open files"),
        Err(error) => warn!("the limit of open files stays as it is: {error}"),
    }
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
