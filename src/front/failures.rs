//! Connections that came to nothing before their first request, and requests that no service has seen:
//! there may be thousands in a second, so they are counted, and have a line in the log now and then.

use std::fmt::Display;
use std::time::{Duration, Instant};

use log::{debug, info};
use parking_lot::Mutex;

/// The shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Counts what came to nothing.
#[derive(Debug)]
pub(super) struct Failures {
    /// Their outcome, for the log.
    outcome: &'static str,
    since: Mutex<Since>,
}

/// Since the last line.
#[derive(Debug, Default)]
struct Since {
    logged: Option<Instant>,
    count: u64,
}

impl Failures {
    pub(super) fn new(outcome: &'static str) -> Self {
        Self {
            outcome,
            since: Mutex::default(),
        }
    }

    /// Notes one; only some get a line for all to see.
    pub(super) fn note(&self, peer: Option<impl Display>, reason: &dyn Display) {
        let peer = peer.map_or_else(|| "a client".to_owned(), |peer| peer.to_string());
        let outcome = self.outcome;
        match self.since.lock().count(Instant::now()) {
            Some(0) => info!("{peer}: {outcome}: {reason}"),
            Some(others) => info!("{peer}: {outcome}: {reason} ({others} others before)"),
            None => debug!("{peer}: {outcome}: {reason}"),
        }
    }
}

impl Since {
    /// How many have had no line, if this one has one.
    fn count(&mut self, now: Instant) -> Option<u64> {
        if self.logged.is_some_and(|logged| now < logged + PAUSE) {
            self.count += 1;
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_has_few_lines() {
        let (mut since, start) = (Since::default(), Instant::now());
        assert_eq!(since.count(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(since.count(start), None);
        }
        assert_eq!(since.count(start + PAUSE), Some(1000));
        assert_eq!(since.count(start + 2 * PAUSE), Some(0));
    }
}
