//! nginx, as Debian has it.

use std::fmt::Write as _;
use std::path::Path;

use super::{Needs, Peer, Setup};
use crate::process::Program;
use crate::{Result, machine, routes};

pub(super) struct Nginx;

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
            needs.beyond_routes()
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
        Ok(Some(Program::new("nginx", ["-c", &path])))
    }
}
