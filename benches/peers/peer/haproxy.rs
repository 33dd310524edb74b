//! `HAProxy`, as this machine has it and as Debian trixie does. Its routes are a map from prefixes to backends, the way to have many.

use std::fmt::Write as _;

use super::{Needs, Peer, Places, Setup, Source};
use crate::process::Program;
use crate::{Result, routes};

pub(super) struct Haproxy {
    name: &'static str,
    source: Source,
}

impl Haproxy {
    pub(super) const MACHINE: Self = Self {
        name: "haproxy",
        source: Source::Machine,
    };
    pub(super) const TRIXIE: Self = Self {
        name: "haproxy-trixie",
        source: Source::Trixie,
    };
}

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self, places: &Places) -> Result<String> {
        let said = places.says(self.source, "haproxy", "-v")?;
        Ok(said.split(' ').nth(2).unwrap_or_default().to_owned())
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        let dynamic = needs.dynamic || needs.churn;
        let dynamic = dynamic.then_some("no API for routes");
        dynamic.or_else(|| needs.beyond_plain())
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let program = setup.places.program(self.source, "haproxy")?;
        let mut use_map = String::new();
        if setup.needs.routes > 0 {
            let mut map = String::new();
            for number in 0..setup.needs.routes {
                writeln!(map, "{}/ origin", routes::prefix(number))?;
            }
            let path = setup.folder.join("routes.map");
            std::fs::write(&path, map)?;
            let path = path.display();
            use_map = format!("use_backend %[path,map_beg({path},origin)]");
        }
        let both = setup.identity.both.display();
        let tls = match (setup.needs.tls, setup.needs.no_sessions) {
            (false, _) => String::new(),
            (true, false) => format!(" ssl crt {both} alpn h2,http/1.1"),
            (true, true) => format!(" ssl crt {both} alpn h2,http/1.1 no-tls-tickets"),
        };
        let scheme = if setup.needs.tls { "https" } else { "http" };
        let cache = if setup.needs.no_sessions {
            "tune.ssl.cachesize 0"
        } else {
            ""
        };
        let text = setup.fill(
            include_str!("../conf/haproxy.cfg"),
            &[
                ("tls", tls),
                ("scheme", scheme.to_owned()),
                ("cache", cache.to_owned()),
                ("routes", use_map),
            ],
        );
        let path = setup.folder.join("haproxy.cfg");
        std::fs::write(&path, text)?;
        let path = path.display().to_string();
        Ok(Some(Program::new(program, ["-db", "-f", &path])))
    }
}
