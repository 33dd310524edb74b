//! The last events, numbered, for readers that come back.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Event;

/// How many events are kept: a reader that lags behind by more has missed some.
const KEPT: usize = 8192;

/// The last events. Whoever adds one never waits for a reader, and a reader holds nothing but a number.
#[derive(Debug)]
pub struct History {
    epoch: u32,
    kept: Mutex<Kept>,
    next: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    /// The number of the first event that is kept.
    first: u64,
    events: VecDeque<Event>,
}

/// A reading.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reading {
    /// How many events there were that are not kept any more.
    pub missed: u64,
    /// The events, each with its number.
    pub events: Vec<(u64, Event)>,
    /// The number to go on from.
    pub next: u64,
}

impl Default for History {
    fn default() -> Self {
        let kept = Kept {
            first: 1,
            events: VecDeque::new(),
        };
        Self {
            epoch: fastrand::u32(..),
            kept: Mutex::new(kept),
            next: watch::Sender::new(1),
        }
    }
}

impl History {
    pub(super) fn add(&self, event: Event) {
        let mut kept = self.kept.lock();
        if kept.events.len() == KEPT {
            kept.events.pop_front();
            kept.first += 1;
        }
        kept.events.push_back(event);
        let next = kept.first + kept.events.len() as u64;
        drop(kept);
        self.next.send_replace(next);
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
        let next = kept.first + kept.events.len() as u64;
        let start = from.clamp(kept.first, next);
        let skip = usize::try_from(start - kept.first).unwrap_or(usize::MAX);
        let events: Vec<(u64, Event)> = (start..)
            .zip(kept.events.iter().skip(skip).take(most))
            .map(|(number, event)| (number, event.clone()))
            .collect();
        Reading {
            missed: start.saturating_sub(from),
            next: start + events.len() as u64,
            events,
        }
    }

    /// Returns once there is an event with this number, or a later one.
    pub async fn wait_for(&self, number: u64) {
        let mut next = self.next.subscribe();
        if next.wait_for(|next| *next > number).await.is_err() {
            log::debug!("the history of events is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{RegisterError, RegisterFailure};
    use std::sync::Arc;

    fn event() -> Event {
        Event::RegisterError(Arc::new(RegisterFailure {
            error: RegisterError::MethodNotAllowed,
            peer: None,
        }))
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed() {
        let history = History::default();
        for _ in 0..KEPT + 10 {
            history.add(event());
        }
        let reading = history.read(1, 5);
        assert_eq!((reading.missed, reading.events.len()), (10, 5));
        assert_eq!(reading.events[0].0, 11);
        assert_eq!(reading.next, 16);
        let last = history.read(history.next() - 1, 5);
        assert_eq!((last.missed, last.events.len()), (0, 1));
        assert_eq!(history.read(last.next, 5).events.len(), 0);
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next_event() {
        let history = Arc::new(History::default());
        let next = history.next();
        let waiting = tokio::spawn({
            let history = Arc::clone(&history);
            async move { history.wait_for(next).await }
        });
        history.add(event());
        waiting.await.unwrap();
        assert_eq!(history.read(next, 1).events.len(), 1);
    }
}
