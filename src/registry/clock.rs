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

    /// The time that it shows.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.base.saturating_add(millis(self.started.elapsed()))
    }

    /// The date of a moment of this clock, as of now.
    #[must_use]
    pub fn date(&self, moment: u64) -> SystemTime {
        let begun = self.begun();
        let shifted = match moment.checked_sub(self.base) {
            Some(after) => begun.checked_add(Duration::from_millis(after)),
            None => begun.checked_sub(Duration::from_millis(self.base - moment)),
        };
        shifted.unwrap_or(begun)
    }

    /// The moment of a date, as of now; the clock's beginning for an earlier one.
    #[must_use]
    pub fn moment(&self, date: SystemTime) -> u64 {
        match date.duration_since(self.begun()) {
            Ok(after) => self.base.saturating_add(millis(after)),
            Err(before) => self.base.saturating_sub(millis(before.duration())),
        }
    }

    /// When it began, by the date as it is now. To the nanosecond: a moment has one date then, however
    /// often it is asked for.
    fn begun(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.started.elapsed()).unwrap_or(now)
    }
}

/// A duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_one_date() {
        for base in [0, 1_000_000] {
            let clock = Clock::from(base);
            let moment = clock.now();
            let first = clock.date(moment);
            std::thread::sleep(Duration::from_micros(700));
            let second = clock.date(moment);
            let apart = second.duration_since(first);
            let apart = apart.unwrap_or_else(|earlier| earlier.duration());
            assert!(apart < Duration::from_micros(200), "{apart:?}");
            assert!(clock.moment(first).abs_diff(moment) <= 1);
            let later = clock.moment(first + Duration::from_secs(5));
            assert!(later.abs_diff(moment + 5000) <= 1, "{later}");
            let before = first - Duration::from_hours(1000);
            assert!(clock.moment(before) <= base);
        }
    }
}
