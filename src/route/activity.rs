//! The activity behind a route, counted without slowing it down.

use std::sync::atomic::{AtomicU64, Ordering};

use super::per_thread::PerThread;

/// How requests of a route have ended: one for each class of status, and one for those whose client
/// got no answer.
pub const OUTCOMES: usize = 6;

/// The activity behind a route since it was made, or since the process began. It outlives a change
/// of the route's targets. Times are milliseconds of the registry's clock.
#[derive(Debug)]
pub struct Activity {
    created: u64,
    tallies: PerThread<Tally>,
}

/// The part that one thread counts, on cache lines of its own; what most requests count is on the first.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Tally {
    started: AtomicU64,
    last: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    ended: [AtomicU64; OUTCOMES],
}

/// The sums at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// When a request began or ended, or a byte passed, for the last time; the making of the route
    /// before that. Milliseconds of the registry's clock.
    pub last_activity: u64,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// Requests that have ended, by the class of their status: 1xx (a WebSocket) to 5xx, then those
    /// that ended without an answer.
    pub ended: [u64; OUTCOMES],
    /// Bytes of bodies, from clients.
    pub received: u64,
    /// Bytes of bodies, to clients.
    pub sent: u64,
}

impl Activity {
    /// Nothing has gone on yet.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            created: now,
            tallies: PerThread::default(),
        }
    }

    /// A request begins. Returns how many have begun on this thread before: a turn that no other
    /// thread counts.
    pub fn begin(&self, now: u64) -> u64 {
        self.tallies.local().map_or(0, |tally| {
            tally.last.store(now, Ordering::Relaxed);
            tally.started.fetch_add(1, Ordering::Relaxed)
        })
    }

    /// The request that has just begun on this thread does not go to this route after all.
    pub fn take_back(&self) {
        if let Some(tally) = self.tallies.local() {
            tally.started.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A piece of the request's body has come.
    pub fn receive(&self, bytes: usize, now: u64) {
        if let Some(tally) = self.tallies.local() {
            tally.received.fetch_add(bytes as u64, Ordering::Relaxed);
            tally.last.store(now, Ordering::Relaxed);
        }
    }

    /// A piece of the answer's body goes to the client.
    pub fn send(&self, bytes: usize, now: u64) {
        if let Some(tally) = self.tallies.local() {
            tally.sent.fetch_add(bytes as u64, Ordering::Relaxed);
            tally.last.store(now, Ordering::Relaxed);
        }
    }

    /// A request ends with a status, or without an answer.
    pub fn end(&self, status: Option<u16>, now: u64) {
        let class = match status {
            Some(status @ 100..=599) => usize::from(status / 100) - 1,
            _ => OUTCOMES - 1,
        };
        if let Some(tally) = self.tallies.local() {
            tally.last.store(now, Ordering::Relaxed);
            if let Some(count) = tally.ended.get(class) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The sums. While requests run they are those of no single moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            last_activity: self.created,
            ..Totals::default()
        };
        let mut started = 0;
        for tally in self.tallies.iter() {
            // What has ended has begun: read in this order, nothing in flight is negative.
            for (sum, count) in totals.ended.iter_mut().zip(&tally.ended) {
                *sum += count.load(Ordering::Relaxed);
            }
            started += tally.started.load(Ordering::Relaxed);
            totals.received += tally.received.load(Ordering::Relaxed);
            totals.sent += tally.sent.load(Ordering::Relaxed);
            totals.last_activity = totals.last_activity.max(tally.last.load(Ordering::Relaxed));
        }
        let ended: u64 = totals.ended.iter().sum();
        totals.in_flight = started.saturating_sub(ended);
        totals
    }
}

/// How many requests are on their way to one instance.
#[derive(Debug, Default)]
pub(super) struct Flight(PerThread<Balance>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Balance {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Flight {
    pub(super) fn begin(&self) {
        if let Some(balance) = self.0.local() {
            balance.begun.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(super) fn end(&self) {
        if let Some(balance) = self.0.local() {
            balance.ended.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn count(&self) -> u64 {
        // Ends first: a request that ends meanwhile counts as in flight rather than below zero.
        let ended: u64 = self.0.iter().map(|b| b.ended.load(Ordering::Acquire)).sum();
        let begun: u64 = self.0.iter().map(|b| b.begun.load(Ordering::SeqCst)).sum();
        begun.saturating_sub(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_their_end() {
        let activity = Activity::new(5);
        assert_eq!(activity.totals().last_activity, 5);
        assert_eq!(
            [activity.begin(10), activity.begin(11), activity.begin(12)],
            [0, 1, 2]
        );
        activity.receive(3, 13);
        activity.send(4, 14);
        activity.end(Some(200), 15);
        activity.end(None, 16);
        let totals = activity.totals();
        assert_eq!(totals.in_flight, 1);
        assert_eq!(totals.ended, [0, 1, 0, 0, 0, 1]);
        assert_eq!((totals.received, totals.sent), (3, 4));
        assert_eq!(totals.last_activity, 16);
    }

    #[test]
    fn a_flight_may_begin_and_end_on_different_threads() {
        let flight = Flight::default();
        flight.begin();
        flight.begin();
        std::thread::scope(|scope| {
            scope.spawn(|| flight.end());
        });
        assert_eq!(flight.count(), 1);
    }
}
