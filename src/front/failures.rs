//! Connections that came to nothing before their first request: there may be thousands in a second,
//! so they are counted, and have a line in the log now and then.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{debug, info};
use parking_lot::Mutex;

/// The shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Counts the connections that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Since>);

/// Since the last line.
#[derive(Debug, Default)]
struct Since {
    logged: Option<Instant>,
    count: u64,
}

impl Failures {
    /// Notes one; only some get a line for all to see.
    pub(super) fn note(&self, peer: Option<SocketAddr>, reason: &dyn Display) {
        let peer = peer.map_or_else(|| "a client".to_owned(), |peer| peer.to_string());
        match self.0.lock().count(Instant::now()) {
            Some(0) => info!("{peer}: no connection: {reason}"),
            Some(others) => info!("{peer}: no connection: {reason} ({others} others before)"),
            None => debug!("{peer}: no connection: {reason}"),
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
