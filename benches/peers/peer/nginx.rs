//! nginx, as this machine has it and as Debian trixie does.

use std::fmt::Write as _;

use super::{Needs, Peer, Places, Setup, Source};
use crate::process::Program;
use crate::{Result, routes};

pub(super) struct Nginx {
    name: &'static str,
    source: Source,
}

impl Nginx {
    pub(super) const MACHINE: Self = Self {
        name: super::NGINX,
        source: Source::Machine,
    };
    pub(super) const TRIXIE: Self = Self {
        name: super::NGINX_TRIXIE,
        source: Source::Trixie,
    };
}

/// The way to the origin over TLS: its certificate is verified, as the proxy does it. nginx before 1.23.4
/// leaves TLS 1.3 out unless told.
const HTTPS: &str = "proxy_pass https://https_origin;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {{certificate}};
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;";

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self, places: &Places) -> Result<String> {
        Ok(places
            .says(self.source, "nginx", "-v")?
            .replace("nginx version: nginx/", ""))
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.dynamic || needs.churn {
            Some("no API for routes")
        } else if needs.routes > 100_000 {
            Some("a million locations take it minutes to read")
        } else {
            needs.beyond_routes()
        }
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let program = setup.places.program(self.source, "nginx")?;
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
        let pass = if setup.needs.https {
            HTTPS
        } else {
            "proxy_pass http://origin;"
        };
        let text = setup.fill(
            // Before the rest, since it names the certificate.
            &include_str!("../conf/nginx.conf").replace("{{pass}}", pass),
            &[
                ("sessions", sessions.to_owned()),
                ("tls", tls.to_owned()),
                ("routes", locations),
            ],
        );
        let path = setup.folder.join("nginx.conf");
        std::fs::write(&path, text)?;
        let path = path.display().to_string();
        Ok(Some(Program::new(program, ["-c", &path])))
    }
}
