//! The gateway's state of one request on its way through Pingora.

use std::time::{Duration, Instant};

use log::Level;
use pingora_core::{Error, ErrorType, Result};

use super::error::ONLY_INTERIM;
use crate::proxy::admission::OwnReply;
use crate::proxy::options::Timeouts;
use crate::proxy::peer::Kind;
use crate::proxy::record::Record;
use crate::proxy::rules::failure::Failure;

/// How many interim responses an app may send before the final one.
const MOST_INTERIM: u32 = 100;

/// One request on its way.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own.
pub struct Exchange {
    /// Information about it; none before its head has been read.
    pub(in crate::proxy) record: Option<Record>,
    /// Whether the client is a proxy whose word is kept.
    pub(in crate::proxy) is_trusted: bool,
    /// Whether the client has shown a certificate.
    pub(in crate::proxy) has_certificate: bool,
    /// Who keeps the limits on the app's pauses.
    pub(in crate::proxy) kind: Kind,
    /// Which address is tried: those of the chosen instance, the preferred one first, then those of the
    /// route's other instances.
    pub(in crate::proxy) attempt: usize,
    /// The index of the instance that is tried.
    pub(in crate::proxy) aimed: usize,
    /// Whether the route has to be decided on again before the next try.
    pub(in crate::proxy) is_stale: bool,
    /// Set once the request was sent again, over a new connection.
    pub(in crate::proxy) is_resent: bool,
    /// The reply of the proxy's own, if the decision about sending the request again has led to one.
    pub(in crate::proxy) own: Option<Box<OwnReply>>,
    /// Why an address could not be connected to, if that says more than that nobody listens there.
    pub(in crate::proxy) unreachable: Option<Failure>,
    /// Whether the app has begun its response.
    pub(in crate::proxy) has_begun: bool,
    /// Whether the response has no body.
    pub(in crate::proxy) is_bodiless: bool,
    /// The limits of this exchange.
    pub(in crate::proxy) timeouts: Timeouts,
    /// Whether the limits are those of a call of gRPC with a deadline.
    pub(in crate::proxy) has_deadline: bool,
    began: Began,
    interim: u32,
}

/// A moment whose default is now.
#[derive(Clone, Copy, Debug)]
struct Began(Instant);

impl Default for Began {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Exchange {
    /// How long ago the request came.
    pub(in crate::proxy) fn age(&self) -> Duration {
        self.began.0.elapsed()
    }

    /// Whether an interim response has come.
    pub(in crate::proxy) fn has_interim(&self) -> bool {
        self.interim > 0
    }

    /// Counts an interim response. They are no reason to wait for the final one without an end; for a
    /// request without a body the time for that began when it came.
    pub(in crate::proxy) fn count_interim(&mut self) -> Result<()> {
        self.interim += 1;
        let is_waiting = self.kind == Kind::Plain && !self.has_deadline;
        let is_late = self
            .timeouts
            .first_byte
            .is_some_and(|limit| self.age() > limit);
        let error = if self.interim > MOST_INTERIM {
            Error::explain(ErrorType::InvalidHTTPHeader, "too many interim responses")
        } else if is_waiting && is_late {
            Error::explain(ErrorType::ReadTimedout, ONLY_INTERIM)
        } else {
            return Ok(());
        };
        Err(error.into_up())
    }

    /// Writes a line about the request into the log.
    pub(in crate::proxy) fn log(&self, level: Level, text: &dyn std::fmt::Display) {
        if let Some(record) = &self.record {
            log::log!(level, "{record}: {text}");
        }
    }
}
