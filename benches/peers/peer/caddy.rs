//! Caddy, as Debian has it.

use std::fmt::Write as _;
use std::path::Path;

use super::{Needs, Peer, Setup};
use crate::process::Program;
use crate::{Result, machine, routes};

pub(super) struct Caddy;

impl Peer for Caddy {
    fn name(&self) -> &'static str {
        "caddy"
    }

    fn version(&self, _npm: &Path, _proxy: &Path) -> Result<String> {
        let said = machine::run("caddy", &["version"])?;
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
        let path = path.display().to_string();
        let home = setup.folder.display().to_string();
        let arguments = ["run", "--adapter", "caddyfile", "--config", &path];
        Ok(Some(
            Program::new("caddy", arguments)
                .env("GOMAXPROCS", "1")
                .env("HOME", home.as_str())
                .env("XDG_DATA_HOME", home.as_str())
                .env("XDG_CONFIG_HOME", home),
        ))
    }
}
