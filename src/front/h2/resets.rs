//! A budget against clients that open streams only to reset them (CVE-2023-44487): each makes the
//! proxy ask an origin for nothing.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// How many streams a client may reset beyond those that it lets finish.
const BUDGET: i32 = 200;

/// Whoever waits so long before giving up costs no more than a client of HTTP/1 that does: the number
/// of open streams bounds it. Calls of gRPC whose deadlines pass, one after another, are no attack.
const LONG_LIVED: Duration = Duration::from_secs(1);

/// The budget of one connection: a stream that is reset before it is answered costs one, one that is
/// answered to its end gives one back.
#[derive(Debug)]
pub(super) struct Resets(AtomicI32);

impl Default for Resets {
    fn default() -> Self {
        Self(AtomicI32::new(BUDGET))
    }
}

impl Resets {
    /// A stream was reset by the client before its end, after so long.
    pub(super) fn spend(&self, after: Duration) {
        if after < LONG_LIVED {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A stream was answered to its end.
    pub(super) fn earn(&self) {
        if self.0.load(Ordering::Relaxed) < BUDGET {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the client has gone too far.
    pub(super) fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_its_answers_may_reset_as_many_again() {
        let resets = Resets::default();
        for _ in 0..10 * BUDGET {
            resets.earn();
            resets.spend(Duration::ZERO);
        }
        for _ in 0..10 * BUDGET {
            resets.spend(LONG_LIVED);
        }
        assert!(!resets.are_too_many());
        for _ in 0..BUDGET {
            resets.spend(Duration::ZERO);
        }
        assert!(resets.are_too_many());
    }
}
