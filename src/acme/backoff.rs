//! When to try again: later and later, and not all at the same moment.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::time::{self, seconds};

/// After the first failure of a host, and at most. Let's Encrypt allows five failures an hour: this is
/// after 1, 3, 9 and 27 minutes.
const HOST: (Duration, u32, Duration) = (Duration::from_mins(1), 3, Duration::from_hours(24));

/// The pause after a try in which the authority could not be reached, which costs it nothing.
const AUTHORITY: (Duration, u32, Duration) = (Duration::from_secs(4), 2, Duration::from_hours(1));

/// A process that starts does not wait for longer than this after the last failure: somebody may have
/// removed the cause.
const AT_START: Duration = Duration::from_mins(10);

/// After this a failure counts no more.
const FORGOTTEN: Duration = Duration::from_hours(7 * 24);

/// The failures of each host since its last success.
pub(super) type Tries = BTreeMap<String, Tried>;

/// Failures in a row. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Tried {
    pub(super) failures: u32,
    last: u64,
    next: u64,
    /// The earliest time for the next attempt by the authority's `Retry-After`; 0 without one.
    #[serde(default)]
    after: u64,
}

impl Tried {
    /// Notes a failure of a host; says when to try again.
    pub(super) fn fail_host(&mut self, now: SystemTime, after: Option<SystemTime>) -> SystemTime {
        self.fail(HOST, now, after)
    }

    /// Notes a failure of the authority.
    pub(super) fn fail_authority(
        &mut self,
        now: SystemTime,
        after: Option<SystemTime>,
    ) -> SystemTime {
        self.fail(AUTHORITY, now, after)
    }

    fn fail(
        &mut self,
        (first, factor, most): (Duration, u32, Duration),
        now: SystemTime,
        after: Option<SystemTime>,
    ) -> SystemTime {
        let times = factor.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        let wait = first.saturating_mul(times).min(most);
        let wait = wait.mul_f64(0.8 + 0.4 * fastrand::f64());
        let next = now + wait;
        let next = after.map_or(next, |after| after.max(next));
        self.last = seconds(now);
        self.next = seconds(next).saturating_add(1);
        self.after = after.map_or(0, |after| seconds(after).saturating_add(1));
        next
    }

    /// Whether it is time. A clock that was set back does not prolong a wait.
    pub(super) fn is_ready(&self, now: SystemTime) -> bool {
        let now = seconds(now);
        now >= self.next || now < self.last
    }

    /// When it is time.
    pub(super) fn next(&self) -> SystemTime {
        time::at(self.next)
    }

    /// When the last failure was: seconds since 1970.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether this is newer.
    pub(super) fn is_after(&self, other: &Self) -> bool {
        self.last > other.last
    }

    /// Whether the last failure was long ago: the host may not be wanted any more.
    pub(super) fn is_forgotten(&self, now: SystemTime) -> bool {
        self.last.saturating_add(FORGOTTEN.as_secs()) < seconds(now)
    }

    /// As it holds for a process that starts.
    pub(super) fn at_start(self) -> Self {
        let next = self.next.min(self.last.saturating_add(AT_START.as_secs()));
        let next = next.max(self.after);
        Self { next, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn waits_grow_up_to_a_day() {
        let mut tried = Tried::default();
        assert!(tried.is_ready(at(1_000_000)));
        let mut waits = Vec::new();
        for _ in 0..12 {
            let now = at(1_000_000);
            let next = tried.fail_host(now, None);
            waits.push(next.duration_since(now).unwrap().as_secs_f64());
            assert!(!tried.is_ready(now));
            assert!(tried.is_ready(next + Duration::from_secs(1)));
        }
        assert!((48.0..=72.0).contains(&waits[0]), "{waits:?}");
        assert!((144.0..=216.0).contains(&waits[1]), "{waits:?}");
        let day = 86_400.0;
        assert!(waits.iter().all(|wait| *wait <= 1.2 * day), "{waits:?}");
        assert!(*waits.last().unwrap() >= 0.8 * day, "{waits:?}");
        // Half an hour and a bit for the first five: no more than the authority allows.
        assert!(waits[..4].iter().sum::<f64>() > 30.0 * 60.0, "{waits:?}");
    }

    #[test]
    fn what_the_authority_wants_counts_if_it_is_later() {
        let mut tried = Tried::default();
        let now = at(1_000_000);
        let after = at(1_010_000);
        assert_eq!(tried.fail_host(now, Some(after)), after);
        assert!(!tried.is_ready(at(1_009_999)));
        assert!(tried.fail_host(now, Some(at(1))) > now);
    }

    #[test]
    fn a_clock_that_is_set_back_and_a_restart_shorten_a_wait() {
        let mut tried = Tried::default();
        for _ in 0..20 {
            tried.fail_host(at(1_000_000), None);
        }
        assert!(!tried.is_ready(at(1_000_700)));
        assert!(tried.is_ready(at(999_999)));
        let started = tried.at_start();
        assert!(!started.is_ready(at(1_000_500)));
        assert!(started.is_ready(at(1_000_601)));
        // But not what the authority has said.
        tried.fail_host(at(1_000_000), Some(at(1_100_000)));
        assert!(!tried.at_start().is_ready(at(1_099_999)));
        assert!(tried.at_start().is_ready(at(1_100_001)));
    }
}
