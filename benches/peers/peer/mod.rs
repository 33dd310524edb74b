//! The proxies that are measured: how each is configured, started and given routes.

mod bare;
mod caddy;
mod configurable_http_proxy;
mod direct;
mod envoy;
mod haproxy;
mod nginx;
mod original;
mod ours;
mod relay;
mod traefik;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::client::Address;
use crate::identity::Identity;
use crate::process::{Place, Process, Program};
use crate::{Result, machine};
pub(crate) use ours::Ours;

/// What a scenario needs of a proxy.
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// TLS in front, with HTTP/2 beside HTTP/1.1.
    pub(crate) tls: bool,
    pub(crate) http2: bool,
    /// No tickets and no cache, where they can be turned off: each handshake is a full one.
    pub(crate) no_sessions: bool,
    pub(crate) websocket: bool,
    pub(crate) grpc: bool,
    /// Routes besides the one at `/`; see [`crate::routes`].
    pub(crate) routes: usize,
    /// Each route with a lease.
    pub(crate) leases: bool,
    /// Routes can be added while it runs.
    pub(crate) dynamic: bool,
    /// TLS with the origin, whose certificate is verified.
    pub(crate) https: bool,
    /// No route at all: what is measured is the proxy's own reply.
    pub(crate) no_route: bool,
    /// Apps register and deregister while it runs; there is no route at the start.
    pub(crate) churn: bool,
}

impl Needs {
    /// Why a peer is left out that is set up for an origin without TLS alone.
    fn beyond_plain(&self) -> Option<&'static str> {
        let https = self.https.then_some("not set up for an origin with TLS");
        https.or_else(|| self.beyond_routes())
    }

    /// Why any other than the proxy itself is left out.
    fn beyond_routes(&self) -> Option<&'static str> {
        self.no_route
            .then_some("only the proxy's own reply is in question")
    }
}

/// Where the peers' programs are that are not the machine's own.
pub(crate) struct Places {
    /// npm packages, in `node_modules` there.
    pub(crate) npm: PathBuf,
    /// nginx and `HAProxy` of Debian trixie.
    pub(crate) trixie: PathBuf,
    /// Programs from `PyPI`, in `bin` there.
    pub(crate) pypi: PathBuf,
    /// The proxy's own binary.
    pub(crate) proxy: PathBuf,
}

impl Places {
    /// A program from Debian trixie or `PyPI`, if it is there.
    fn program(&self, source: Source, name: &str) -> Result<PathBuf> {
        let path = match source {
            Source::Machine => return Ok(name.into()),
            Source::Trixie => self.trixie.join(name),
            Source::Pypi => self.pypi.join("bin").join(name),
        };
        if path.exists() {
            Ok(path)
        } else {
            Err(format!("no {}; `make bench` installs it", path.display()).into())
        }
    }

    /// What such a program says of its version.
    fn says(&self, source: Source, name: &str, argument: &str) -> Result<String> {
        let program = self.program(source, name)?;
        machine::run(&program.display().to_string(), &[argument])
    }
}

/// Where a peer's program is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The machine's own package.
    Machine,
    Trixie,
    Pypi,
}

/// What a proxy is started with.
pub(crate) struct Setup<'a> {
    pub(crate) needs: Needs,
    pub(crate) port: u16,
    /// For its control API, if that needs one.
    pub(crate) control: u16,
    /// The origin's ports.
    pub(crate) origin: u16,
    pub(crate) https: u16,
    pub(crate) grpc: u16,
    pub(crate) identity: &'a Identity,
    /// For its files: a folder of its own.
    pub(crate) folder: PathBuf,
    pub(crate) places: &'a Places,
}

impl Setup<'_> {
    /// The template with each `{{name}}` replaced, and the common ones as well.
    fn fill(&self, template: &str, places: &[(&str, String)]) -> String {
        let common = [
            ("port", self.port.to_string()),
            ("control", self.control.to_string()),
            ("origin", self.origin.to_string()),
            ("https", self.https.to_string()),
            ("grpc", self.grpc.to_string()),
            ("folder", self.folder.display().to_string()),
            (
                "certificate",
                self.identity.certificate.display().to_string(),
            ),
            ("key", self.identity.key.display().to_string()),
        ];
        let mut text = template.to_owned();
        for (name, value) in common.iter().chain(places) {
            text = text.replace(&format!("{{{{{name}}}}}"), value);
        }
        text
    }
}

/// How a proxy is told of a route while it runs.
pub(crate) struct Registration {
    pub(crate) address: Address,
    /// The whole request for the route of this number, which goes to this port.
    pub(crate) request: fn(usize, u16) -> Vec<u8>,
}

/// How apps that come and go register with a proxy and deregister, each in the way that the proxy's
/// manual has for it.
#[derive(Clone)]
pub(crate) struct Registrar {
    /// Where apps register.
    pub(crate) register: Address,
    /// Where they deregister.
    pub(crate) deregister: Address,
    /// Whether the API takes one change at a time.
    pub(crate) one_at_a_time: bool,
    /// How long a registration holds, if it has to be repeated.
    pub(crate) ttl: Option<Duration>,
    /// The status of the proxy's own response where it has no route.
    pub(crate) no_route: u16,
    /// The requests that register the app of this number at this port: one after the other is tried until
    /// one is not answered by 404.
    pub(crate) registrations: fn(usize, u16) -> Vec<Vec<u8>>,
    /// The request that deregisters the app of this number.
    pub(crate) deregistration: fn(usize) -> Vec<u8>,
}

/// A proxy.
pub(crate) trait Peer: Sync {
    /// Its name on the command line and in the results.
    fn name(&self) -> &'static str;

    fn version(&self, places: &Places) -> Result<String>;

    /// Why it cannot do this, if it cannot.
    fn lacks(&self, needs: &Needs) -> Option<&'static str>;

    /// How many cores it takes, from the proxy's on.
    fn cores(&self) -> usize {
        1
    }

    /// Writes its configuration and says how it is started. None: there is nothing to start.
    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>>;

    /// Gives it the routes that its configuration has not, once it runs.
    fn prepare(&self, _setup: &Setup<'_>) -> Result<()> {
        Ok(())
    }

    /// How it is told of a route while it runs.
    fn registration(&self, _setup: &Setup<'_>) -> Option<Registration> {
        None
    }

    /// How apps come and go with it.
    fn registrar(&self, _setup: &Setup<'_>) -> Option<Registrar> {
        None
    }
}

/// All of them, in the order of the tables.
pub(crate) const ALL: [&dyn Peer; 14] = [
    &nginx::Nginx::MACHINE,
    &nginx::Nginx::TRIXIE,
    &haproxy::Haproxy::MACHINE,
    &haproxy::Haproxy::TRIXIE,
    &caddy::Caddy::MACHINE,
    &caddy::Caddy::PYPI,
    &traefik::Traefik,
    &envoy::Envoy,
    &configurable_http_proxy::ConfigurableHttpProxy,
    &original::Original,
    &bare::Bare,
    &ours::Ours::DEPLOYED,
    &relay::Relay,
    &direct::Direct,
];

/// What other ratios are to.
pub(crate) const NGINX: &str = "nginx";
pub(crate) const NGINX_TRIXIE: &str = "nginx-trixie";
pub(crate) const BARE: &str = "bare";
pub(crate) const OURS: &str = "ours";

/// A proxy that runs.
pub(crate) struct Running<'a> {
    pub(crate) peer: &'static dyn Peer,
    pub(crate) address: SocketAddr,
    pub(crate) setup: Setup<'a>,
    process: Option<Process>,
}

impl<'a> Running<'a> {
    /// Starts it and waits until it takes connections, then gives it its routes.
    pub(crate) fn start(peer: &'static dyn Peer, setup: Setup<'a>, place: Place) -> Result<Self> {
        std::fs::create_dir_all(&setup.folder)?;
        let process = match peer.program(&setup)? {
            None => None,
            Some(program) => {
                let log = setup.folder.join("log");
                Some(Process::start(&program, place, &log)?)
            }
        };
        let port = if process.is_some() {
            setup.port
        } else {
            setup.origin
        };
        let mut running = Self {
            peer,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            setup,
            process,
        };
        running.listens()?;
        peer.prepare(&running.setup)?;
        Ok(running)
    }

    fn listens(&mut self) -> Result<()> {
        // A large configuration takes its time.
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            if std::net::TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if let Some(process) = &mut self.process {
                process.alive()?;
                if Instant::now() > deadline {
                    return Err(format!("it does not listen: {}", process.said()).into());
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whose time and memory is taken: this process's if there is no proxy.
    pub(crate) fn pid(&self) -> u32 {
        let process = self.process.as_ref();
        process.map_or_else(std::process::id, Process::pid)
    }

    /// The end of its log, for an error.
    pub(crate) fn said(&self) -> String {
        self.process.as_ref().map(Process::said).unwrap_or_default()
    }
}

/// Ports that are free now; nobody else is told of them, but somebody may take one.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
