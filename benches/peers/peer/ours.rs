//! The proxy itself: its binary as it is deployed, and variants of it, to tell what a choice is worth.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::{Needs, Peer, Places, Registrar, Registration, Setup};
use crate::client::{Address, Client, json};
use crate::process::Program;
use crate::{Result, machine, origin, routes};

pub(crate) struct Ours {
    name: &'static str,
    /// The variant's own binary.
    binary: Option<PathBuf>,
    /// A line of its configuration.
    line: Option<String>,
}

impl Ours {
    pub(super) const DEPLOYED: Self = Self {
        name: super::OURS,
        binary: None,
        line: None,
    };

    /// How many threads serve its requests, each on a core.
    fn threads(&self) -> usize {
        let threads = self
            .line
            .as_deref()
            .and_then(|line| line.strip_prefix("threads:"));
        threads
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(1)
    }
}

/// `NAME=FILE` is another binary under a name, `NAME=KEY: VALUE` another line in the configuration.
impl FromStr for Ours {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("write NAME=FILE or NAME=KEY: VALUE")?;
        let (binary, line) = if value.contains(": ") {
            (None, Some(value.to_owned()))
        } else if Path::new(value).is_file() {
            (Some(value.into()), None)
        } else {
            return Err(format!("{value} is neither a file nor KEY: VALUE"));
        };
        // It is named as long as the bench runs.
        let name = String::leak(name.to_owned());
        Ok(Self { name, binary, line })
    }
}

impl Peer for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self, places: &Places) -> Result<String> {
        let proxy = self.binary.as_deref().unwrap_or(&places.proxy);
        let said = machine::run(&proxy.display().to_string(), &["--version"])?;
        Ok(said.replace("dynamic-reverse-proxy ", ""))
    }

    fn cores(&self) -> usize {
        self.threads()
    }

    fn lacks(&self, _needs: &Needs) -> Option<&'static str> {
        None
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let (port, identity) = (setup.port, setup.identity);
        let front = if setup.needs.tls {
            format!(
                "listen: ['127.0.0.1:{}']\ntls:\n  listen: ['127.0.0.1:{port}']\n  \
                 certificates: [{{name: bench, certificate: {}, key: {}, default: true}}]",
                setup.control,
                identity.certificate.display(),
                identity.key.display()
            )
        } else {
            format!("listen: ['127.0.0.1:{port}']")
        };
        // Routes in the configuration go to targets without TLS; the one over TLS is put once it runs.
        let routes = if setup.needs.https || setup.needs.no_route || setup.needs.churn {
            "routes: []".to_owned()
        } else {
            format!("routes: [{{prefix: /, port: {}}}]", setup.origin)
        };
        let targets = if setup.needs.https {
            let certificate = identity.certificate.display();
            format!("targets: {{tls: [{{name: bench, ca: {certificate}}}]}}")
        } else {
            String::new()
        };
        let text = setup.fill(
            include_str!("../conf/ours.yaml"),
            &[
                ("threads", self.threads().to_string()),
                (
                    "line",
                    self.line
                        .clone()
                        .filter(|line| !line.starts_with("threads:"))
                        .unwrap_or_default(),
                ),
                ("front", front),
                ("targets", targets),
                ("routes", routes),
            ],
        );
        let path = setup.folder.join("ours.yaml");
        std::fs::write(&path, text)?;
        let path = path.display().to_string();
        let proxy = self.binary.as_deref().unwrap_or(&setup.places.proxy);
        Ok(Some(Program::new(proxy, ["--conf", &path])))
    }

    fn prepare(&self, setup: &Setup<'_>) -> Result<()> {
        let control = control(setup)?;
        if setup.needs.grpc {
            let (prefix, _) = origin::METHOD.rsplit_once('/').ok_or("no service")?;
            let body = format!(
                r#"{{"instances":[{{"port":{},"protocol":"h2c"}}]}}"#,
                setup.grpc
            );
            let path = format!("/v1/routes/*{prefix}");
            Client::connect(&control)?.ask(&json("PUT", &path, &body))?;
        }
        if setup.needs.https {
            let body = format!(
                r#"{{"instances":[{{"port":{},"https":{{"server_name":"localhost","profile":"bench"}}}}]}}"#,
                setup.https
            );
            Client::connect(&control)?.ask(&json("PUT", "/v1/routes/*/", &body))?;
        }
        let more = if setup.needs.leases {
            r#","ttl":"1h""#
        } else {
            ""
        };
        routes::load(&control, setup.needs.routes, setup.origin, more)
    }

    fn registration(&self, setup: &Setup<'_>) -> Option<Registration> {
        // The contract of apps: on the public port, without TLS.
        let port = if setup.needs.tls {
            setup.control
        } else {
            setup.port
        };
        let request = if setup.needs.leases {
            |number, port| routes::registration(number, port, r#","ttl":"1h""#)
        } else {
            |number, port| routes::registration(number, port, "")
        };
        Some(Registration {
            address: Address::Tcp(port),
            request,
        })
    }

    fn registrar(&self, setup: &Setup<'_>) -> Option<Registrar> {
        Some(Registrar {
            register: Address::Tcp(setup.port),
            deregister: Address::Unix(setup.folder.join("control")),
            one_at_a_time: false,
            ttl: Some(TTL),
            no_route: 501,
            registrations: |number, port| {
                let ttl = format!(r#","ttl":"{}s""#, TTL.as_secs());
                vec![routes::registration(number, port, &ttl)]
            },
            deregistration: |number| {
                let path = format!("/v1/routes/*{}", routes::prefix(number));
                json("DELETE", &path, "")
            },
        })
    }
}

/// How long a registration of an app that comes and goes holds.
const TTL: Duration = Duration::from_secs(2);

/// The control socket, once it takes connections: it is opened a moment after the public port.
fn control(setup: &Setup<'_>) -> Result<Address> {
    let address = Address::Unix(setup.folder.join("control"));
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Client::connect(&address) {
            Ok(_) => return Ok(address),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("its control socket: {error}").into());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
