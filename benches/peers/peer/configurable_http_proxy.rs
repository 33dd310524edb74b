//! configurable-http-proxy, `JupyterHub`'s, from npm.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::{Needs, Peer, Places, Registrar, Registration, Setup};
use crate::client::{Address, json};
use crate::load::Slot as _;
use crate::load::change::{Change, Next};
use crate::process::Program;
use crate::{Result, load, machine, routes};

pub(super) struct ConfigurableHttpProxy;

const PACKAGE: &str = "node_modules/configurable-http-proxy";

impl Peer for ConfigurableHttpProxy {
    fn name(&self) -> &'static str {
        "configurable-http-proxy"
    }

    fn version(&self, places: &Places) -> Result<String> {
        let node = machine::run("node", &["--version"])?;
        Ok(format!(
            "{}, Node {node}",
            package_version(&places.npm.join(PACKAGE))?
        ))
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.http2 || needs.grpc {
            Some("no HTTP/2")
        } else if needs.leases {
            Some("no leases")
        } else if needs.routes > 100_000 {
            Some("a million routes take it minutes to be told")
        } else {
            needs.beyond_plain()
        }
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let command = setup
            .places
            .npm
            .join(PACKAGE)
            .join("bin/configurable-http-proxy");
        let mut arguments = vec![
            command.display().to_string(),
            "--ip=127.0.0.1".to_owned(),
            format!("--port={}", setup.port),
            "--api-ip=127.0.0.1".to_owned(),
            format!("--api-port={}", setup.control),
            "--keep-alive-timeout=600000".to_owned(),
            "--log-level=error".to_owned(),
        ];
        if !setup.needs.churn {
            arguments.push(format!(
                "--default-target=http://127.0.0.1:{}",
                setup.origin
            ));
        }
        if setup.needs.tls {
            let (key, certificate) = (&setup.identity.key, &setup.identity.certificate);
            arguments.push(format!("--ssl-key={}", key.display()));
            arguments.push(format!("--ssl-cert={}", certificate.display()));
        }
        Ok(Some(Program::new("node", arguments)))
    }

    fn prepare(&self, setup: &Setup<'_>) -> Result<()> {
        if setup.needs.routes == 0 {
            return Ok(());
        }
        let registration = self.registration(setup).ok_or("no API")?;
        let next = Next::New(Arc::new(AtomicUsize::new(0)));
        load::runtime()?.block_on(async {
            let mut change = Change::connect(registration, next, [setup.origin; 2]).await?;
            for _ in 0..setup.needs.routes {
                change.ask().await?;
            }
            Ok(())
        })
    }

    fn registration(&self, setup: &Setup<'_>) -> Option<Registration> {
        Some(Registration {
            address: Address::Tcp(setup.control),
            request,
        })
    }

    fn registrar(&self, setup: &Setup<'_>) -> Option<Registrar> {
        Some(Registrar {
            register: Address::Tcp(setup.control),
            deregister: Address::Tcp(setup.control),
            one_at_a_time: false,
            ttl: None,
            no_route: 404,
            registrations: |number, port| vec![request(number, port)],
            deregistration: |number| {
                let path = format!("/api/routes{}", routes::prefix(number));
                json("DELETE", &path, "")
            },
        })
    }
}

fn request(number: usize, port: u16) -> Vec<u8> {
    let path = format!("/api/routes{}", routes::prefix(number));
    let body = format!(r#"{{"target":"http://127.0.0.1:{port}"}}"#);
    json("POST", &path, &body)
}

/// What a package's own file says.
pub(super) fn package_version(folder: &Path) -> Result<String> {
    let path = folder.join("package.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; `make bench` installs it", path.display()))?;
    let package: serde_json::Value = serde_json::from_str(&text)?;
    let version = package.get("version").and_then(|version| version.as_str());
    Ok(version.ok_or("a package without a version")?.to_owned())
}
