//! The last events, numbered, for readers that come back.
//!
//! Changes and failures have a ring each, and one order of numbers: strangers can cause any number of
//! failures, which push out one another, and never a change. Only some failures of one code are kept in a
//! second; the next one says how many were not.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Event;
use super::sampler::Sampler;

/// How many changes are kept: a reader that lags behind by more has missed some.
const CHANGES: usize = 8192;

/// How many failures are kept.
const FAILURES: usize = 1024;

/// The last events. Whoever adds one never waits for a reader, and a reader holds nothing but a number.
#[derive(Debug)]
pub struct History {
    epoch: u32,
    kept: Mutex<Kept>,
    next: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    /// The number that the next event will have.
    next: u64,
    changes: Ring,
    failures: Ring,
    sampler: Sampler,
}

/// The last events of one kind, by their numbers.
#[derive(Debug)]
struct Ring {
    most: usize,
    entries: VecDeque<Recorded>,
    /// The number of the last event that is no longer kept; 0 if there is none.
    last_lost: u64,
}

/// An event that is kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// The event's number.
    pub number: u64,
    /// The event.
    pub event: Event,
    /// How many failures of the same code there were since the last that was kept, which are not.
    pub suppressed: u64,
}

/// Events, one behind the other, that are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// How many there were.
    pub count: u64,
    /// The number of the last of them.
    pub last: u64,
    /// Whether changes may be among them; otherwise they were failures.
    pub may_be_changes: bool,
}

/// A reading.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reading {
    /// The events in their order, each with those before it that are no longer kept.
    pub events: Vec<(Option<Missed>, Recorded)>,
    /// The number to go on from.
    pub next: u64,
}

impl Default for History {
    fn default() -> Self {
        let kept = Kept {
            next: 1,
            changes: Ring::new(CHANGES),
            failures: Ring::new(FAILURES),
            sampler: Sampler::default(),
        };
        Self {
            epoch: fastrand::u32(..),
            kept: Mutex::new(kept),
            next: watch::Sender::new(1),
        }
    }
}

impl History {
    /// Keeps at most so many failures of one code in a second; all with `None`.
    pub(super) fn sample(&self, most: Option<NonZeroU32>) {
        self.kept.lock().sampler = Sampler::new(most);
    }

    pub(super) fn add(&self, event: Event) {
        let code = event.failure_code();
        let mut kept = self.kept.lock();
        let suppressed = match code {
            None => Some(0),
            Some(code) => kept.sampler.admit(code, Instant::now()),
        };
        let Some(suppressed) = suppressed else {
            return;
        };
        let number = kept.next;
        kept.next += 1;
        let ring = match code {
            None => &mut kept.changes,
            Some(_) => &mut kept.failures,
        };
        ring.push(Recorded {
            number,
            event,
            suppressed,
        });
        drop(kept);
        // Another thread may have been faster.
        self.next.send_if_modified(|next| {
            let is_later = *next <= number;
            *next = (*next).max(number + 1);
            is_later
        });
    }

    /// A number that tells this history from one of another process.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The number that the next event will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        *self.next.borrow()
    }

    /// At most `most` events from number `from` on.
    #[must_use]
    pub fn read(&self, from: u64, most: usize) -> Reading {
        let kept = self.kept.lock();
        let mut next = from.clamp(1, kept.next);
        let mut changes = kept.changes.from(next).peekable();
        let mut failures = kept.failures.from(next).peekable();
        let mut events = Vec::new();
        while events.len() < most {
            let is_change = match (changes.peek(), failures.peek()) {
                (Some(change), Some(failure)) => change.number < failure.number,
                (change, _) => change.is_some(),
            };
            let entry = if is_change {
                changes.next()
            } else {
                failures.next()
            };
            let Some(entry) = entry else {
                break;
            };
            events.push((kept.missed(next, entry.number), entry.clone()));
            next = entry.number + 1;
        }
        Reading { events, next }
    }

    /// Returns once there is an event with this number, or a later one.
    pub async fn wait_for(&self, number: u64) {
        let mut next = self.next.subscribe();
        if next.wait_for(|next| *next > number).await.is_err() {
            log::debug!("the history of events is gone");
        }
    }
}

impl Kept {
    /// The events from number `from` on that were before `until` and are no longer kept.
    fn missed(&self, from: u64, until: u64) -> Option<Missed> {
        (from < until).then(|| Missed {
            count: until - from,
            last: until - 1,
            may_be_changes: from <= self.changes.last_lost,
        })
    }
}

impl Ring {
    fn new(most: usize) -> Self {
        Self {
            most,
            entries: VecDeque::new(),
            last_lost: 0,
        }
    }

    fn push(&mut self, entry: Recorded) {
        if self.entries.len() == self.most
            && let Some(lost) = self.entries.pop_front()
        {
            self.last_lost = lost.number;
        }
        self.entries.push_back(entry);
    }

    /// The entries from this number on.
    fn from(&self, number: u64) -> impl Iterator<Item = &Recorded> {
        let start = self.entries.partition_point(|entry| entry.number < number);
        self.entries.range(start..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Counts, RegisterError, RegisterFailure, RoutesEvent};
    use crate::route::Generation;
    use std::sync::Arc;

    fn failure() -> Event {
        Event::RegisterError(Arc::new(RegisterFailure {
            error: RegisterError::MethodNotAllowed,
            peer: None,
        }))
    }

    fn change() -> Event {
        Event::Routes(RoutesEvent {
            counts: Counts::default(),
            generation: Generation(0),
        })
    }

    /// The numbers of a reading: `Err` for those that are missed, with their count.
    fn numbers(reading: &Reading) -> Vec<Result<u64, (u64, u64, bool)>> {
        let numbers = reading.events.iter().flat_map(|(missed, entry)| {
            let missed = missed.map(|m| Err((m.count, m.last, m.may_be_changes)));
            missed.into_iter().chain([Ok(entry.number)])
        });
        numbers.collect()
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed() {
        let history = History::default();
        for _ in 0..CHANGES + 10 {
            history.add(change());
        }
        let reading = history.read(1, 5);
        let expected = [Err((10, 10, true)), Ok(11), Ok(12), Ok(13), Ok(14), Ok(15)];
        assert_eq!(numbers(&reading), expected);
        assert_eq!(reading.next, 16);
        let last = history.read(history.next() - 1, 5);
        assert_eq!(numbers(&last), [Ok(history.next() - 1)]);
        assert_eq!(history.read(last.next, 5).events.len(), 0);
        assert_eq!(history.read(u64::MAX, 5).next, history.next());
    }

    #[test]
    fn failures_push_out_no_change() {
        let history = History::default();
        history.sample(None);
        let lost = FAILURES as u64 + 5;
        history.add(change());
        (0..lost).for_each(|_| history.add(failure()));
        history.add(change());
        (0..FAILURES).for_each(|_| history.add(failure()));
        let reading = history.read(1, 3);
        let second = lost + 2;
        let expected = [
            Ok(1),
            Err((lost, second - 1, false)),
            Ok(second),
            Ok(second + 1),
        ];
        assert_eq!(numbers(&reading), expected);
        // Every number is either read or missed.
        let reading = history.read(1, usize::MAX);
        let missed = reading.events.iter().filter_map(|(missed, _)| *missed);
        let missed: u64 = missed.map(|missed| missed.count).sum();
        assert_eq!(missed + reading.events.len() as u64, history.next() - 1);
        assert_eq!(reading.next, history.next());
    }

    #[test]
    fn the_next_failure_that_is_kept_says_how_many_were_not() {
        let history = History::default();
        history.sample(NonZeroU32::new(2));
        (0..100).for_each(|_| history.add(failure()));
        history.add(change());
        let numbers: Vec<_> = history
            .read(1, 10)
            .events
            .iter()
            .map(|(_, e)| e.number)
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        history.add(failure());
        let reading = history.read(4, 10);
        let suppressed: Vec<_> = reading.events.iter().map(|(_, e)| e.suppressed).collect();
        assert_eq!(suppressed, [98]);
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next_event() {
        let history = Arc::new(History::default());
        let next = history.next();
        let waiting = tokio::spawn({
            let history = Arc::clone(&history);
            async move { history.wait_for(next).await }
        });
        history.add(change());
        waiting.await.unwrap();
        assert_eq!(history.read(next, 1).events.len(), 1);
    }
}
