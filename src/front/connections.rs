//! How many clients are connected, when the last of them has gone, and what they have in flight.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;
use std::thread;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::abort::AbortHandle;

thread_local! {
    /// Each thread has a shard of its own, as long as there are enough.
    static NUMBER: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// The connections of a proxy: counted, since a stop waits until there are none, and with what they
/// have in flight at hand, to end it.
///
/// Threads keep them apart, in shards: a connection, or a stream of HTTP/2, that begins or ends writes
/// nothing that another thread writes, not even the count of those who hold this.
#[derive(Debug)]
pub struct Connections {
    shards: Box<[Arc<Shard>]>,
    stop: Arc<Stop>,
}

/// The part of one thread. On lines of its own, two by two, since processors also fetch a line's
/// neighbour.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    begun: AtomicUsize,
    ended: AtomicUsize,
    handles: Mutex<Slab<Arc<AbortHandle>>>,
    stop: Arc<Stop>,
}

/// Whoever waits until all have gone. Written when somebody does, and only read before.
#[derive(Debug, Default)]
struct Stop {
    is_awaited: AtomicBool,
    none_in_shard: Notify,
}

impl Default for Connections {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let stop = Arc::<Stop>::default();
        // Two for each core: the threads of other services and of the library's user count as well.
        let shards = (0..(2 * cores).clamp(4, 512)).map(|_| Arc::new(Shard::new(&stop)));
        Self {
            shards: shards.collect(),
            stop,
        }
    }
}

impl Connections {
    /// How many connections are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        // Ends first: if the sums are equal, there was a moment between them without a connection.
        let ended = self.sum(|shard| &shard.ended);
        let begun = self.sum(|shard| &shard.begun);
        begun.saturating_sub(ended)
    }

    fn sum(&self, count: impl Fn(&Shard) -> &AtomicUsize) -> usize {
        let shards = self.shards.iter();
        shards
            .map(|shard| count(shard).load(Ordering::SeqCst))
            .sum()
    }

    /// Returns once no connection is open.
    pub async fn all_closed(&self) {
        // A connection that ends after this wakes us; one that has ended before is in the sums.
        self.stop.is_awaited.store(true, Ordering::SeqCst);
        loop {
            let closed = self.stop.none_in_shard.notified();
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
        self.each(|abort| abort.cut(serial))
    }

    /// Ends everything that is in flight on any instance, as [`Connections::cut`] does.
    #[must_use = "says how many exchanges were cut"]
    pub fn cut_all(&self) -> usize {
        self.each(AbortHandle::abort_any)
    }

    /// Wakes the task of every connection.
    pub(super) fn wake(&self) {
        self.each(|abort| {
            abort.wake();
            false
        });
    }

    fn each(&self, mut cut: impl FnMut(&AbortHandle) -> bool) -> usize {
        let count = |shard: &Arc<Shard>| {
            let handles = shard.handles.lock();
            handles.iter().filter(|(_, abort)| cut(abort)).count()
        };
        self.shards.iter().map(count).sum()
    }

    /// Counts one connection until the guard is dropped.
    pub(crate) fn enter(&self) -> ConnectionGuard {
        let shard = self.shard().map(Arc::clone);
        if let Some(shard) = &shard {
            shard.begun.fetch_add(1, Ordering::SeqCst);
        }
        ConnectionGuard(shard)
    }

    /// An abort handle for exchanges that the task of `waker` drives, found until the guard is dropped.
    pub(crate) fn abort(&self, waker: Waker) -> AbortGuard {
        let abort = Arc::new(AbortHandle::new(waker));
        let place = self.shard().map(|shard| {
            let key = shard.handles.lock().insert(Arc::clone(&abort));
            (Arc::clone(shard), key)
        });
        AbortGuard { place, abort }
    }

    /// Makes all writes to this state that one connection with one exchange makes, from its beginning to its
    /// end, for `benches/contention.rs`.
    #[doc(hidden)]
    pub fn pass(&self, serial: u64) {
        let _counted = self.enter();
        let abort = self.abort(Waker::noop().clone());
        abort.reset();
        abort.bind(serial);
    }

    /// This thread's shard; there is always one.
    fn shard(&self) -> Option<&Arc<Shard>> {
        let number = NUMBER.with(|number| *number);
        self.shards.get(number % self.shards.len().max(1))
    }
}

impl Shard {
    fn new(stop: &Arc<Stop>) -> Self {
        Self {
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            handles: Mutex::default(),
            stop: Arc::clone(stop),
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct ConnectionGuard(Option<Arc<Shard>>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let Some(shard) = &self.0 else { return };
        let ended = shard.ended.fetch_add(1, Ordering::SeqCst) + 1;
        // The last of a shard may be the last of all: whoever waits looks again.
        if shard.stop.is_awaited.load(Ordering::SeqCst)
            && ended == shard.begun.load(Ordering::SeqCst)
        {
            shard.stop.none_in_shard.notify_waiters();
        }
    }
}

/// An abort handle that can be found.
#[derive(Debug)]
pub(crate) struct AbortGuard {
    place: Option<(Arc<Shard>, usize)>,
    abort: Arc<AbortHandle>,
}

impl Deref for AbortGuard {
    type Target = Arc<AbortHandle>;

    fn deref(&self) -> &Arc<AbortHandle> {
        &self.abort
    }
}

impl Drop for AbortGuard {
    fn drop(&mut self) {
        let place = self.place.take();
        let abort = place.and_then(|(shard, key)| shard.handles.lock().try_remove(key));
        // Outside of the lock: the waker may hold the last of its task.
        drop(abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leash_is_found_until_it_is_dropped() {
        let connections = Arc::new(Connections::default());
        let handles: Vec<_> = (1..=3)
            .map(|serial| {
                let abort = connections.abort(Waker::noop().clone());
                abort.bind(serial % 2 + 1);
                abort
            })
            .collect();
        assert_eq!(connections.cut(2), 2);
        assert_eq!(connections.cut(1), 1);
        assert_eq!(connections.cut(3), 0);
        assert!(handles.iter().all(|abort| abort.is_aborted()));
        assert_eq!(connections.cut_all(), 3);
        drop(handles);
        assert_eq!(connections.cut_all(), 0);
    }

    #[test]
    fn a_connection_begins_and_ends_on_lines_that_no_other_thread_writes() {
        let connections = Arc::new(Connections::default());
        let guards = (
            connections.enter(),
            connections.abort(Waker::noop().clone()),
        );
        assert_eq!(
            (connections.open(), Arc::strong_count(&connections)),
            (1, 1)
        );
        assert_eq!(size_of::<Shard>() % 128, 0);
        assert!(connections.shards.len() >= 4);
        drop(guards);
        assert_eq!(connections.open(), 0);
    }

    /// Connections that begin on one thread and end on another, while somebody waits for the end.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn whoever_waits_learns_that_the_last_connection_has_gone() {
        for round in 0..200 {
            let connections = Arc::new(Connections::default());
            let guards: Vec<_> = (0..8).map(|_| connections.enter()).collect();
            let waiting = tokio::spawn({
                let connections = Arc::clone(&connections);
                async move { connections.all_closed().await }
            });
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            let ending: Vec<_> = guards
                .into_iter()
                .map(|guard| tokio::spawn(async move { drop(guard) }))
                .collect();
            for ended in ending {
                ended.await.unwrap();
            }
            let waited = tokio::time::timeout(std::time::Duration::from_secs(10), waiting);
            waited.await.expect("it is told").unwrap();
            assert_eq!(connections.open(), 0);
        }
    }
}
