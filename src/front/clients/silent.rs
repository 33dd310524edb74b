//! Connections on which no request has begun yet, the oldest first: they make room for others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

/// The silent connections, by the order in which they came.
#[derive(Debug, Default)]
pub(super) struct SilentConnections {
    next: u64,
    waiting: BTreeMap<u64, Arc<Silent>>,
}

/// A connection on which no request has begun yet.
#[derive(Debug, Default)]
pub(super) struct Silent {
    /// Whether it is to be closed, for another.
    is_evicted: AtomicBool,
    /// Wakes its task.
    waker: Mutex<Option<Waker>>,
}

impl SilentConnections {
    /// Adds one; its number.
    pub(super) fn add(&mut self) -> (u64, Arc<Silent>) {
        let (number, silent) = (self.next, Arc::<Silent>::default());
        self.next += 1;
        self.waiting.insert(number, Arc::clone(&silent));
        (number, silent)
    }

    /// Forgets one: it has begun a request, or has ended.
    pub(super) fn remove(&mut self, number: u64) {
        self.waiting.remove(&number);
    }

    /// Has the oldest closed; whether there is one.
    pub(super) fn evict(&mut self) -> bool {
        let Some((_number, oldest)) = self.waiting.pop_first() else {
            return false;
        };
        oldest.is_evicted.store(true, Ordering::Release);
        if let Some(waker) = oldest.waker.lock().take() {
            waker.wake();
        }
        true
    }
}

impl Silent {
    /// Whether it is to be closed; whoever asks is woken when that becomes so.
    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::Acquire)
    }

    /// The task to be woken.
    pub(super) fn watch(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_whoever_speaks_stays() {
        let mut connections = SilentConnections::default();
        let [(_, first), (second_number, second), (_, third)] =
            [(), (), ()].map(|()| connections.add());
        connections.remove(second_number);
        assert!(connections.evict() && first.is_evicted());
        assert!(!second.is_evicted() && !third.is_evicted());
        assert!(connections.evict() && third.is_evicted() && !second.is_evicted());
        assert!(!connections.evict());
    }
}
