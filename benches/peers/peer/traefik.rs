//! Traefik, from `PyPI`, with its routes in a file.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{Needs, Peer, Places, Setup, Source};
use crate::client::{Address, Client, get};
use crate::process::Program;
use crate::{Result, routes};

pub(super) struct Traefik;

impl Peer for Traefik {
    fn name(&self) -> &'static str {
        "traefik"
    }

    fn version(&self, places: &Places) -> Result<String> {
        let said = places.says(Source::Pypi, "traefik", "version")?;
        let version = said.lines().find_map(|line| line.strip_prefix("Version:"));
        Ok(version.ok_or("no version")?.trim().to_owned())
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.routes > 1000 {
            Some("it tries its routes one after the other: 1,000 at most here")
        } else if needs.dynamic || needs.churn {
            Some("its API only reads")
        } else if needs.leases {
            Some("no leases")
        } else {
            needs.beyond_plain()
        }
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let program = setup.places.program(Source::Pypi, "traefik")?;
        let identity = setup.identity;
        let (tls, certificates) = if setup.needs.tls {
            let (certificate, key) = (identity.certificate.display(), identity.key.display());
            let file = format!("{{certFile: {certificate}, keyFile: {key}}}");
            (
                ", tls: {}",
                format!("tls:\n  stores: {{default: {{defaultCertificate: {file}}}}}"),
            )
        } else {
            ("", String::new())
        };
        let mut list = String::new();
        for number in 0..setup.needs.routes {
            let prefix = routes::prefix(number);
            write!(
                list,
                "route-{number}: {{rule: \"PathPrefix(`{prefix}/`)\", service: origin, \
                 entryPoints: [front]{tls}}}\n    "
            )?;
        }
        let text = setup.fill(
            include_str!("../conf/traefik-routes.yaml"),
            &[
                ("tls", tls.to_owned()),
                ("routes", list),
                ("certificates", certificates),
            ],
        );
        std::fs::write(setup.folder.join("traefik-routes.yaml"), text)?;
        let text = setup.fill(include_str!("../conf/traefik.yaml"), &[]);
        let path = setup.folder.join("traefik.yaml");
        std::fs::write(&path, text)?;
        let argument = format!("--configFile={}", path.display());
        Ok(Some(
            Program::new(program, [argument]).env("GOMAXPROCS", "1"),
        ))
    }

    /// Waits for its routes, which it reads once it listens: among them is one for this.
    fn prepare(&self, setup: &Setup<'_>) -> Result<()> {
        let address = Address::Tcp(setup.control);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answered = Client::connect(&address).and_then(|mut to| to.ask(&get("/ping")));
            match answered {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(format!("its routes: {error}").into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}
