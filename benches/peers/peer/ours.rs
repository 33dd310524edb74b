//! The proxy itself: its binary as it is deployed.

use std::path::Path;

use super::{Needs, Peer, Registration, Setup};
use crate::client::{Address, Client, json};
use crate::process::Program;
use crate::{Result, machine, origin, routes};

pub(super) struct Ours;

impl Peer for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn version(&self, _npm: &Path, proxy: &Path) -> Result<String> {
        let said = machine::run(&proxy.display().to_string(), &["--version"])?;
        Ok(said.replace("dynamic-reverse-proxy ", ""))
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
        let text = setup.fill(
            include_str!("../conf/ours.yaml"),
            &[
                ("front", front),
                (
                    "routes",
                    format!("routes: [{{prefix: /, port: {}}}]", setup.origin),
                ),
            ],
        );
        let path = setup.folder.join("ours.yaml");
        std::fs::write(&path, text)?;
        let path = path.display().to_string();
        Ok(Some(Program::new(setup.proxy, ["--conf", &path])))
    }

    fn prepare(&self, setup: &Setup<'_>) -> Result<()> {
        let control = control(setup);
        if setup.needs.grpc {
            let (prefix, _) = origin::METHOD.rsplit_once('/').ok_or("no service")?;
            let body = format!(
                r#"{{"instances":[{{"port":{},"protocol":"h2c"}}]}}"#,
                setup.grpc
            );
            let path = format!("/v1/routes/*{prefix}");
            Client::connect(&control)?.ask(&json("PUT", &path, &body))?;
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
}

fn control(setup: &Setup<'_>) -> Address {
    Address::Unix(setup.folder.join("control"))
}
