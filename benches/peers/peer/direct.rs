//! No proxy: the origin itself. It shows what the load alone can do, and that the origin is never what
//! is measured.

use super::{Needs, Peer, Places, Setup};
use crate::Result;
use crate::process::Program;

pub(super) struct Direct;

impl Peer for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn version(&self, _places: &Places) -> Result<String> {
        Ok("no proxy: the origin alone".to_owned())
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.tls || needs.https {
            Some("the load asks the origin without TLS")
        } else if needs.routes > 0 || needs.dynamic || needs.churn {
            Some("the origin has no routes")
        } else {
            needs.beyond_routes()
        }
    }

    fn program(&self, _setup: &Setup<'_>) -> Result<Option<Program>> {
        Ok(None)
    }
}
