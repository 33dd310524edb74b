//! A bare `ProxyHttp`: this very program, as a process of its own.

use std::net::SocketAddr;

use super::{Needs, Peer, Places, Setup};
use crate::Result;
use crate::bare::Settings;
use crate::process::Program;

pub(super) struct Bare;

impl Peer for Bare {
    fn name(&self) -> &'static str {
        super::BARE
    }

    fn version(&self, _places: &Places) -> Result<String> {
        Ok("a bare ProxyHttp on Pingora 0.9.1".to_owned())
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        // Whatever the path, it has one target: with routes it shows what they cost the others.
        let dynamic = needs.dynamic || needs.churn;
        let dynamic = dynamic.then_some("it has one target and no routes");
        dynamic.or_else(|| needs.beyond_plain())
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let identity = setup.identity;
        let files = (identity.certificate.clone(), identity.key.clone());
        let target = if setup.needs.grpc {
            setup.grpc
        } else {
            setup.origin
        };
        let settings = Settings {
            port: setup.port,
            tls: setup.needs.tls.then_some(files),
            target: SocketAddr::from(([127, 0, 0, 1], target)),
            h2c: setup.needs.grpc,
        };
        let settings = serde_json::to_string(&settings)?;
        let program = std::env::current_exe()?;
        Ok(Some(Program::new(program, ["--bare", &settings])))
    }
}
