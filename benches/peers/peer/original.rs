//! dynamic-reverse-proxy 0.6.0, the original, from npm: in a program as its README has it.

use super::configurable_http_proxy::package_version;
use super::{Needs, Peer, Places, Registration, Setup};
use crate::client::{Address, json};
use crate::process::Program;
use crate::{Result, machine, routes};

pub(super) struct Original;

const PACKAGE: &str = "node_modules/dynamic-reverse-proxy";

impl Peer for Original {
    fn name(&self) -> &'static str {
        "original"
    }

    fn version(&self, places: &Places) -> Result<String> {
        let node = machine::run("node", &["--version"])?;
        let version = package_version(&places.npm.join(PACKAGE))?;
        Ok(format!("dynamic-reverse-proxy {version}, Node {node}"))
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.tls {
            Some("no TLS")
        } else if needs.websocket {
            Some("no WebSocket")
        } else if needs.grpc {
            Some("no HTTP/2")
        } else if needs.churn {
            Some("routes cannot be taken back over its API")
        } else if needs.leases {
            Some("no leases")
        } else if needs.routes > 100_000 {
            Some("it tries its routes one after the other: 100,000 at most here")
        } else {
            needs.beyond_plain()
        }
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let path = setup.folder.join("original.js");
        std::fs::write(&path, include_str!("../conf/original.js"))?;
        let arguments = [
            // The target is `localhost`, and the origin listens on IPv4.
            "--dns-result-order=ipv4first".to_owned(),
            path.display().to_string(),
            setup.port.to_string(),
            setup.origin.to_string(),
            setup.needs.routes.to_string(),
        ];
        let modules = setup.places.npm.join("node_modules");
        Ok(Some(
            Program::new("node", arguments).env("NODE_PATH", modules.display().to_string()),
        ))
    }

    fn registration(&self, setup: &Setup<'_>) -> Option<Registration> {
        Some(Registration {
            address: Address::Tcp(setup.port),
            request,
        })
    }
}

fn request(number: usize, port: u16) -> Vec<u8> {
    let prefix = routes::prefix(number);
    let body = format!(r#"{{"prefix":"{prefix}","port":{port}}}"#);
    json("POST", "/register", &body)
}
