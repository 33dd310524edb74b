//! nginx, as Debian has it.

use std::fmt::Write as _;
use std::path::Path;

use super::{Needs, Peer, Setup};
use crate::process::Program;
use crate::{Result, machine, routes};

pub(super) struct Nginx;

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        super::NGINX
    }

    fn version(&self, _npm: &Path, _proxy: &Path) -> Result<String> {
        Ok(machine::run("nginx", &["-v"])?.replace("nginx version: nginx/", ""))
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.dynamic {
            Some("no API for routes")
        } else if needs.routes > 100_000 {
            Some("a million locations take it minutes to read")
        } else {
            None
        }
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let sessions = if setup.needs.no_sessions {
            "ssl_session_tickets off;"
        } else {
            "ssl_session_cache shared:tls:10m;"
        };
        let mut locations = String::new();
        for number in 0..setup.needs.routes {
            let prefix = routes::prefix(number);
            writeln!(
                locations,
                "location {prefix}/ {{ proxy_pass http://origin; }}"
            )?;
        }
        let tls = if setup.needs.tls { " ssl http2" } else { "" };
        let text = setup.fill(
            include_str!("../conf/nginx.conf"),
            &[
                ("sessions", sessions.to_owned()),
                ("tls", tls.to_owned()),
                ("routes", locations),
            ],
        );
        let path = setup.folder.join("nginx.conf");
        std::fs::write(&path, text)?;
        let path = path.display().to_string();
        Ok(Some(Program::new("nginx", ["-c", &path])))
    }
}
