//! How many clients are connected, when the last of them has gone, and what they have in flight.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::leash::Leash;

/// How many parts the leashes are kept in, so that threads do not wait for each other.
const SHARDS: usize = 16;

thread_local! {
    /// Each thread has a part of its own, as long as there are enough.
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

/// The connections of a proxy: counted, since a stop waits until there are none, and with what they
/// have in flight at hand, to end it.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    all_closed: Notify,
    leashes: [Mutex<Slab<Arc<Leash>>>; SHARDS],
}

impl Connections {
    /// How many connections are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Returns once no connection is open.
    pub async fn all_closed(&self) {
        loop {
            let closed = self.all_closed.notified();
            if self.open() == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Ends what is in flight on the instance with this serial number, and says how many exchanges
    /// that are; they end on their own tasks, after this call.
    ///
    /// A WebSocket gets a Close frame with the status 1001 on both sides (RFC 6455, 7.4.1), between
    /// two frames, and at most a second for it. A request that waits for its answer is answered with
    /// the code `DRAINED`. Any other exchange breaks off, unfinished. Connections that have no request
    /// in flight on the instance are not touched. The cost grows with the number of connections.
    #[must_use = "says how many exchanges were cut"]
    pub fn cut(&self, serial: u64) -> usize {
        self.each(|leash| leash.cut(serial))
    }

    /// Ends everything that is in flight on any instance, as [`Connections::cut`] does.
    #[must_use = "says how many exchanges were cut"]
    pub fn cut_all(&self) -> usize {
        self.each(Leash::cut_any)
    }

    /// Has every connection look around.
    pub(super) fn wake(&self) {
        self.each(|leash| {
            leash.wake();
            false
        });
    }

    fn each(&self, mut cut: impl FnMut(&Leash) -> bool) -> usize {
        let count = |shard: &Mutex<Slab<Arc<Leash>>>| {
            let leashes = shard.lock();
            leashes.iter().filter(|(_, leash)| cut(leash)).count()
        };
        self.leashes.iter().map(count).sum()
    }

    /// Counts one connection until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> ConnectionGuard {
        self.open.fetch_add(1, Ordering::AcqRel);
        ConnectionGuard(Arc::clone(self))
    }

    /// A leash for exchanges that the task of `waker` drives, found until the guard is dropped.
    pub(crate) fn leash(self: &Arc<Self>, waker: Waker) -> LeashGuard {
        let leash = Arc::new(Leash::new(waker));
        let shard = SHARD.with(|shard| *shard);
        let key = match self.leashes.get(shard) {
            Some(leashes) => leashes.lock().insert(Arc::clone(&leash)),
            None => 0,
        };
        LeashGuard {
            connections: Arc::clone(self),
            shard,
            key,
            leash,
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct ConnectionGuard(Arc<Connections>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.all_closed.notify_waiters();
        }
    }
}

/// A leash that can be found.
#[derive(Debug)]
pub(crate) struct LeashGuard {
    connections: Arc<Connections>,
    shard: usize,
    key: usize,
    leash: Arc<Leash>,
}

impl Deref for LeashGuard {
    type Target = Arc<Leash>;

    fn deref(&self) -> &Arc<Leash> {
        &self.leash
    }
}

impl Drop for LeashGuard {
    fn drop(&mut self) {
        let leash = self
            .connections
            .leashes
            .get(self.shard)
            .and_then(|leashes| leashes.lock().try_remove(self.key));
        // Outside of the lock: the waker may hold the last of its task.
        drop(leash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leash_is_found_until_it_is_dropped() {
        let connections = Arc::new(Connections::default());
        let leashes: Vec<_> = (1..=3)
            .map(|serial| {
                let leash = connections.leash(Waker::noop().clone());
                leash.serve(serial % 2 + 1);
                leash
            })
            .collect();
        assert_eq!(connections.cut(2), 2);
        assert_eq!(connections.cut(1), 1);
        assert_eq!(connections.cut(3), 0);
        assert!(leashes.iter().all(|leash| leash.is_cut()));
        assert_eq!(connections.cut_all(), 3);
        drop(leashes);
        assert_eq!(connections.cut_all(), 0);
    }
}
