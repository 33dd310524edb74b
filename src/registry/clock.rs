//! The registry's clock: milliseconds that go on only while the proxy runs.

use std::time::{Duration, Instant, SystemTime};

/// A clock that never jumps, whatever becomes of the machine's date, and that goes on after a restart
/// from where the store last saw it: the time that the proxy was down costs no lease anything.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: u64,
    started: Instant,
}

impl Clock {
    /// A clock that shows `base` now.
    #[must_use]
    pub fn from(base: u64) -> Self {
        Self {
            base,
            started: Instant::now(),
        }
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.base.saturating_add(millis(self.started.elapsed()))
    }

    /// The date of a moment of this clock, as of now.
    #[must_use]
    pub fn date(&self, moment: u64) -> SystemTime {
        let (now, date) = (self.now(), SystemTime::now());
        let shifted = if moment <= now {
            date.checked_sub(Duration::from_millis(now - moment))
        } else {
            date.checked_add(Duration::from_millis(moment - now))
        };
        shifted.unwrap_or(date)
    }

    /// The moment of a date, as of now; the clock's beginning for an earlier one.
    #[must_use]
    pub fn moment(&self, date: SystemTime) -> u64 {
        let now = self.now();
        match SystemTime::now().duration_since(date) {
            Ok(ago) => now.saturating_sub(millis(ago)),
            Err(ahead) => now.saturating_add(millis(ahead.duration())),
        }
    }
}

/// A duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
