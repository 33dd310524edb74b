//! How fast a client is while it is waited for.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::timeouts::Now;

/// After how long a wait, in all, a client's pace is looked at.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time for which one side of an exchange was waited for, and the bytes that came of it.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Pace {
    since: Option<Instant>,
    waited: Duration,
    before: u64,
    moved: u64,
}

impl Pace {
    /// Notes whether the side is waited for now, and how many bytes have moved so far; whether it has been
    /// slower than `rate` bytes a second, on average over its waits.
    pub(in crate::proxy) fn note(
        &mut self,
        is_waiting: bool,
        bytes: u64,
        rate: Option<NonZeroU32>,
        now: &mut Now,
    ) -> bool {
        let Some(rate) = rate else {
            return false;
        };
        if let Some(since) = self.since.take() {
            self.waited += now.get().saturating_duration_since(since);
            self.moved += bytes - self.before.min(bytes);
        }
        self.before = bytes;
        if is_waiting {
            self.since = Some(now.get());
        }
        let wanted = self.waited.as_secs_f64() * f64::from(rate.get());
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let moved = self.moved as f64;
        self.waited > PATIENCE && moved < wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a client lasts that moves `piece` bytes every `pause`.
    async fn lasts(piece: u64, pause: Duration, rate: Option<NonZeroU32>) -> Option<Duration> {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        for turn in 0..1000 {
            if pace.note(true, turn * piece, rate, &mut Now::default()) {
                return Some(begin.elapsed());
            }
            tokio::time::sleep(pause).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_below_the_rate_is_told_after_half_a_minute() {
        let (second, rate) = (Duration::from_secs(1), NonZeroU32::new(128));
        assert_eq!(lasts(127, second, rate).await, Some(31 * second));
        assert_eq!(lasts(128, second, rate).await, None);
        assert_eq!(lasts(1, second, None).await, None);
        assert_eq!(lasts(10_000, 50 * second, rate).await, None);
        assert_eq!(lasts(1_000, 50 * second, rate).await, Some(50 * second));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_nobody_waits_for_it_does_not_count() {
        let (mut pace, rate) = (Pace::default(), NonZeroU32::new(128));
        for turn in 0..100 {
            assert!(!pace.note(turn % 20 == 0, turn, rate, &mut Now::default()));
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}
