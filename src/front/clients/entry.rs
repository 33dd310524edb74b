//! One client, and what it has taken.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// One client.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its address, or that of its network.
    pub(super) network: IpAddr,
    connections: AtomicUsize,
    streams: AtomicUsize,
    /// When its next connection would be in time, if it may open so many a second and no more at once.
    next: Mutex<Option<Instant>>,
}

/// One request of HTTP/2 in progress.
#[derive(Debug)]
pub(crate) struct StreamGuard(Arc<Entry>);

impl Entry {
    pub(super) fn new(network: IpAddr) -> Self {
        Self {
            network,
            connections: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            next: Mutex::default(),
        }
    }

    /// Counts one more connection, if it may have so many.
    pub(super) fn connect(&self, most: usize) -> bool {
        take(&self.connections, most)
    }

    /// The number of its connections.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts the end of a connection; whether it was the last.
    pub(super) fn disconnect(&self) -> bool {
        self.connections.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Whether one more connection now is within the rate: at most `rate` at once, and `rate` a second
    /// from then on (the generic cell rate algorithm, ITU-T I.371).
    pub(super) fn is_in_time(&self, rate: NonZeroU32, now: Instant) -> bool {
        let (second, step) = (Duration::from_secs(1), Duration::from_secs(1) / rate.get());
        let mut next = self.next.lock();
        let due = next.map_or(now, |next| next.max(now));
        if due + step > now + second {
            return false;
        }
        *next = Some(due + step);
        true
    }

    /// Whether it has a connection, or has had so many of late that it is still to be known.
    pub(super) fn is_needed(&self, now: Instant) -> bool {
        let is_recent = || self.next.lock().is_some_and(|next| next > now);
        self.connections.load(Ordering::Relaxed) > 0 || is_recent()
    }

    /// Counts one request of HTTP/2 until the guard is dropped; none if it has as many as it may.
    pub(super) fn stream(self: &Arc<Self>, most: usize) -> Option<StreamGuard> {
        take(&self.streams, most).then(|| StreamGuard(Arc::clone(self)))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds one to a count that may become `most`; whether it could.
pub(super) fn take(count: &AtomicUsize, most: usize) -> bool {
    let is_taken = count.fetch_add(1, Ordering::Relaxed) < most;
    if !is_taken {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    is_taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_so_many_at_once_and_so_many_a_second() {
        let entry = Entry::new(IpAddr::from([192, 0, 2, 1]));
        let rate = NonZeroU32::new(10).unwrap();
        let start = Instant::now();
        let passed = |at: Instant, count: usize| -> usize {
            (0..count).filter(|_| entry.is_in_time(rate, at)).count()
        };
        assert_eq!(passed(start, 30), 10);
        assert!(entry.is_needed(start));
        assert_eq!(passed(start + Duration::from_millis(100), 5), 1);
        assert_eq!(passed(start + Duration::from_millis(600), 30), 5);
        assert_eq!(passed(start + Duration::from_mins(1), 30), 10);
        assert!(!entry.is_needed(start + Duration::from_mins(2)));
    }

    #[test]
    fn streams_are_given_back() {
        let entry = Arc::new(Entry::new(IpAddr::from([192, 0, 2, 1])));
        let guards = [entry.stream(2), entry.stream(2)];
        assert!(guards.iter().all(Option::is_some) && entry.stream(2).is_none());
        drop(guards);
        assert!(entry.stream(1).is_some());
    }
}
