//! A relay of bytes: this very program, as a process of its own.

use std::net::SocketAddr;

use super::{Needs, Peer, Places, Setup};
use crate::Result;
use crate::process::Program;
use crate::relay::Settings;

pub(super) struct Relay;

impl Peer for Relay {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn version(&self, _places: &Places) -> Result<String> {
        Ok("no proxy: bytes passed on, unread".to_owned())
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.tls || needs.https {
            Some("it has no TLS")
        } else if needs.routes > 0 || needs.dynamic || needs.churn {
            Some("it has no routes")
        } else {
            needs.beyond_routes()
        }
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let settings = Settings {
            port: setup.port,
            target: SocketAddr::from(([127, 0, 0, 1], setup.origin)),
        };
        let settings = serde_json::to_string(&settings)?;
        let program = std::env::current_exe()?;
        Ok(Some(Program::new(program, ["--relay", &settings])))
    }
}
