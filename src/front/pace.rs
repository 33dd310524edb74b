//! How fast a client is while it is waited for.

use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::clients::ClientLimit;

/// After how long a wait, in all, a client's pace is looked at.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// The time for which one side of an exchange was waited for, and the bytes that came of it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    since: Option<Instant>,
    waited: Duration,
    before: u64,
    moved: u64,
}

impl Pace {
    /// Notes whether the side is waited for now, and how many bytes have moved so far; whether it has been
    /// slower than `rate` bytes a second, on average over its waits.
    pub(crate) fn note(
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
        self.waited > GRACE_PERIOD && moved < wanted
    }
}

/// The time of one poll, asked for at most once.
#[derive(Debug, Default)]
pub(crate) struct Now(Option<Instant>);

impl Now {
    pub(crate) fn get(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}

/// The client is slower than its limit allows.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client is too slow ({})", .0.key())]
pub(crate) struct TooSlow(pub(crate) ClientLimit);

impl From<TooSlow> for io::Error {
    fn from(slow: TooSlow) -> Self {
        Self::new(io::ErrorKind::TimedOut, slow)
    }
}

/// The fewest bytes a second that the client of a request has to send of its body, and to take of the response; 0
/// for no limit. Shared with the proxy's phases, which see the connection only as `&dyn IO`.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    upload: AtomicU32,
    download: AtomicU32,
}

impl Rates {
    /// Sets both for the request in progress.
    pub(crate) fn set(&self, upload: Option<NonZeroU32>, download: Option<NonZeroU32>) {
        let number = |rate: Option<NonZeroU32>| rate.map_or(0, NonZeroU32::get);
        self.upload.store(number(upload), Ordering::Relaxed);
        self.download.store(number(download), Ordering::Relaxed);
    }

    fn upload(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.upload.load(Ordering::Relaxed))
    }

    fn download(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.download.load(Ordering::Relaxed))
    }
}

/// Both paces of a client whose requests Pingora serves: its reads and writes are all that is seen of them.
#[derive(Debug, Default)]
pub(super) struct Paces {
    upload: Pace,
    download: Pace,
    received: u64,
    sent: u64,
}

impl Paces {
    /// Notes what a read of a request's body gave; `None` while it waits. Once the response `has_begun`, a body
    /// that pauses may be half of a conversation.
    pub(super) fn note_read(
        &mut self,
        (rates, has_begun): (&Rates, bool),
        read: Option<usize>,
    ) -> Result<(), TooSlow> {
        self.received += read.unwrap_or(0) as u64;
        let is_awaited = read.is_none() && !has_begun;
        let rate = rates.upload();
        let is_slow = self
            .upload
            .note(is_awaited, self.received, rate, &mut Now::default());
        if is_slow {
            return Err(TooSlow(ClientLimit::UploadRate));
        }
        Ok(())
    }

    /// Notes how many bytes a write of a response has handed over; `None` while it waits.
    pub(super) fn note_write(
        &mut self,
        rates: &Rates,
        written: Option<usize>,
    ) -> Result<(), TooSlow> {
        self.sent += written.unwrap_or(0) as u64;
        let rate = rates.download();
        let is_slow = self
            .download
            .note(written.is_none(), self.sent, rate, &mut Now::default());
        if is_slow {
            return Err(TooSlow(ClientLimit::DownloadRate));
        }
        Ok(())
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
