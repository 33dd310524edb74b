//! Caddy, as this machine has it and as `PyPI` does.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Needs, Peer, Places, Registrar, Setup, Source};
use crate::client::{Address, json};
use crate::process::Program;
use crate::{Result, routes};

pub(super) struct Caddy {
    name: &'static str,
    source: Source,
}

impl Caddy {
    pub(super) const MACHINE: Self = Self {
        name: "caddy",
        source: Source::Machine,
    };
    pub(super) const PYPI: Self = Self {
        name: "caddy-pypi",
        source: Source::Pypi,
    };
}

impl Peer for Caddy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self, places: &Places) -> Result<String> {
        let said = places.says(self.source, "caddy", "version")?;
        Ok(said.split(' ').next().unwrap_or_default().to_owned())
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.routes > 1000 {
            Some("it tries its routes one after the other: 1,000 at most here")
        } else if needs.dynamic {
            Some("each change starts its API anew and cuts the others that are on their way")
        } else if needs.leases {
            Some("no leases")
        } else {
            needs.beyond_plain()
        }
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let program = setup.places.program(self.source, "caddy")?;
        let (adapter, path) = if setup.needs.churn {
            let text = setup.fill(include_str!("../conf/caddy-api.json"), &[]);
            let path = setup.folder.join("caddy.json");
            std::fs::write(&path, text)?;
            (None, path)
        } else {
            (Some("caddyfile"), caddyfile(setup)?)
        };
        let path = path.display().to_string();
        let home = setup.folder.display().to_string();
        let mut arguments = vec!["run", "--config", &path];
        arguments.extend(adapter.iter().flat_map(|adapter| ["--adapter", adapter]));
        Ok(Some(
            Program::new(program, arguments)
                .env("GOMAXPROCS", "1")
                .env("HOME", home.as_str())
                .env("XDG_DATA_HOME", home.as_str())
                .env("XDG_CONFIG_HOME", home),
        ))
    }

    fn registrar(&self, setup: &Setup<'_>) -> Option<Registrar> {
        Some(Registrar {
            register: Address::Tcp(setup.control),
            deregister: Address::Tcp(setup.control),
            // A change starts the API anew, which cuts others that are on their way.
            one_at_a_time: true,
            ttl: None,
            no_route: 404,
            registrations,
            deregistration,
        })
    }
}

/// Replaces the route, or puts it before the others if there is none.
fn registrations(number: usize, port: u16) -> Vec<Vec<u8>> {
    let prefix = routes::prefix(number);
    let route = format!(
        r#"{{"@id":"app-{number}","match":[{{"path":["{prefix}/*"]}}],"terminal":true,"handle":[{{"handler":"reverse_proxy","upstreams":[{{"dial":"127.0.0.1:{port}"}}]}}]}}"#
    );
    vec![
        json("PATCH", &format!("/id/app-{number}"), &route),
        json("PUT", "/config/apps/http/servers/front/routes/0", &route),
    ]
}

fn deregistration(number: usize) -> Vec<u8> {
    json("DELETE", &format!("/id/app-{number}"), "")
}

/// Writes the Caddyfile.
fn caddyfile(setup: &Setup<'_>) -> Result<PathBuf> {
    let site = if setup.needs.tls { "https" } else { "http" };
    let tls = if setup.needs.tls {
        let identity = setup.identity;
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        format!("tls {certificate} {key}")
    } else {
        String::new()
    };
    let mut list = String::new();
    for number in 0..setup.needs.routes {
        let prefix = routes::prefix(number);
        writeln!(list, "reverse_proxy {prefix}/* 127.0.0.1:{}", setup.origin)?;
    }
    let host = if setup.needs.tls { "localhost" } else { "" };
    let text = setup.fill(
        include_str!("../conf/Caddyfile"),
        &[
            ("site", format!("{site}://{host}:{}", setup.port)),
            ("tls", tls),
            ("routes", list),
        ],
    );
    let path = setup.folder.join("Caddyfile");
    std::fs::write(&path, text)?;
    Ok(path)
}
