//! The idle connections to targets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The longest time between two looks at the idle connections: so long one may stay open that its
/// target has closed.
const LONGEST_PERIOD: Duration = Duration::from_secs(1);

/// The shortest.
const SHORTEST_PERIOD: Duration = Duration::from_millis(20);

/// A connection that can be kept for another request.
pub(super) trait Kept: Send + 'static {
    /// Whether an idle one can be used, as far as is known.
    fn is_usable(&self) -> bool;
}

/// The idle connections, each for the instance that it leads to: a replaced one's are never used again.
/// The latest is used first; when there are too many, the one that has been idle for longest goes.
#[derive(Debug)]
pub(super) struct Pool<C> {
    idle: Mutex<Idle<C>>,
    most: usize,
    limit: Option<Duration>,
}

#[derive(Debug)]
struct Idle<C> {
    /// All of them, in the order in which they became idle.
    entries: BTreeMap<u64, Entry<C>>,
    /// Those of each instance, by its serial number.
    of: AHashMap<u64, VecDeque<u64>>,
    next: u64,
    /// Whether somebody looks after them.
    is_watched: bool,
}

#[derive(Debug)]
struct Entry<C> {
    serial: u64,
    connection: C,
    since: Instant,
}

impl<C: Kept> Pool<C> {
    /// A pool of at most so many connections, each kept for so long.
    pub(super) fn new(most: usize, limit: Option<Duration>) -> Self {
        Self {
            idle: Mutex::new(Idle::new()),
            most,
            limit,
        }
    }

    /// A connection to an instance that has been idle and can be used.
    pub(super) fn take(&self, serial: u64) -> Option<C> {
        loop {
            let entry = self.idle.lock().take(serial)?;
            if entry.connection.is_usable() {
                return Some(entry.connection);
            }
        }
    }

    /// Keeps a connection; it must be called within a runtime.
    pub(super) fn keep(self: &Arc<Self>, serial: u64, connection: C) {
        if self.most == 0 {
            return;
        }
        let since = Instant::now();
        let entry = Entry {
            serial,
            connection,
            since,
        };
        let mut idle = self.idle.lock();
        let evicted = if idle.entries.len() < self.most {
            None
        } else {
            idle.take_oldest()
        };
        idle.put(entry);
        let is_watched = std::mem::replace(&mut idle.is_watched, true);
        drop(idle);
        // Closed outside of the lock.
        drop(evicted);
        if !is_watched {
            tokio::spawn(watch(Arc::downgrade(self), self.period()));
        }
    }

    fn period(&self) -> Duration {
        let limit = self.limit.unwrap_or(LONGEST_PERIOD);
        (limit / 4).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
    }

    /// Closes what has been idle for too long, or was closed by its target; whether any are left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let is_over = |entry: &Entry<C>| {
            let age = now.duration_since(entry.since);
            self.limit.is_some_and(|limit| age >= limit) || !entry.connection.is_usable()
        };
        let over: Vec<u64> = idle
            .entries
            .iter()
            .filter(|(_, entry)| is_over(entry))
            .map(|(stamp, _)| *stamp)
            .collect();
        let closed: Vec<Option<Entry<C>>> = over.iter().map(|stamp| idle.remove(*stamp)).collect();
        idle.is_watched = !idle.entries.is_empty();
        let is_watched = idle.is_watched;
        drop(idle);
        drop(closed);
        is_watched
    }
}

impl<C> Idle<C> {
    fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            of: AHashMap::new(),
            next: 0,
            is_watched: false,
        }
    }

    fn put(&mut self, entry: Entry<C>) {
        let stamp = self.next;
        self.next += 1;
        self.of.entry(entry.serial).or_default().push_back(stamp);
        self.entries.insert(stamp, entry);
    }

    fn take(&mut self, serial: u64) -> Option<Entry<C>> {
        let stamp = *self.of.get(&serial)?.back()?;
        self.remove(stamp)
    }

    fn take_oldest(&mut self) -> Option<Entry<C>> {
        let stamp = *self.entries.keys().next()?;
        self.remove(stamp)
    }

    fn remove(&mut self, stamp: u64) -> Option<Entry<C>> {
        let entry = self.entries.remove(&stamp)?;
        if let Some(stamps) = self.of.get_mut(&entry.serial) {
            // The first or the last, nearly always.
            match stamps.binary_search(&stamp) {
                Ok(index) => drop(stamps.remove(index)),
                Err(_missing) => debug_assert!(false, "an entry without a stamp"),
            }
            if stamps.is_empty() {
                self.of.remove(&entry.serial);
            }
        }
        Some(entry)
    }
}

/// Looks after the idle connections for as long as there are any.
async fn watch<C: Kept>(pool: Weak<Pool<C>>, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        match pool.upgrade() {
            Some(pool) if pool.sweep() => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::super::socket::Socket;
    use super::*;

    fn pair() -> (Socket, UnixStream) {
        let (own, other) = UnixStream::pair().unwrap();
        (Socket::Unix(own), other)
    }

    /// Waits for the end of a connection.
    async fn ends(other: &mut UnixStream) {
        let mut byte = [0];
        let end = tokio::time::timeout(Duration::from_secs(10), other.read(&mut byte)).await;
        assert_eq!(end.expect("the end").unwrap(), 0);
    }

    fn count(pool: &Pool<Socket>) -> usize {
        let idle = pool.idle.lock();
        let of: usize = idle.of.values().map(VecDeque::len).sum();
        assert_eq!(of, idle.entries.len());
        of
    }

    #[tokio::test]
    async fn the_latest_of_an_instance_is_used_first_and_no_other_instances() {
        let pool = Arc::new(Pool::new(10, None));
        let (first, mut first_other) = pair();
        let (second, mut second_other) = pair();
        pool.keep(7, first);
        pool.keep(7, second);
        assert!(pool.take(8).is_none());
        for other in [&mut second_other, &mut first_other] {
            let mut taken = pool.take(7).expect("a connection");
            std::future::poll_fn(|context| taken.poll_write(context, b"x"))
                .await
                .unwrap();
            other.readable().await.unwrap();
            assert_eq!(other.try_read(&mut [0; 2]).unwrap(), 1);
        }
        assert!(pool.take(7).is_none());
    }

    #[tokio::test]
    async fn the_oldest_goes_when_there_are_too_many() {
        let pool = Arc::new(Pool::new(2, None));
        let pairs: Vec<_> = (0..3).map(|_| pair()).collect();
        let mut others = Vec::new();
        for (serial, (own, other)) in pairs.into_iter().enumerate() {
            pool.keep(serial as u64, own);
            others.push(other);
        }
        assert_eq!(count(&pool), 2);
        assert!(pool.take(0).is_none());
        assert!(pool.take(1).is_some() && pool.take(2).is_some());
    }

    #[tokio::test]
    async fn what_a_target_has_closed_or_spoken_on_is_not_used() {
        let pool = Arc::new(Pool::new(10, None));
        let (closed, other) = pair();
        let (spoken, mut speaker) = pair();
        pool.keep(1, closed);
        pool.keep(1, spoken);
        drop(other);
        speaker.write_all(b"x").await.unwrap();
        // The news has to reach the runtime.
        tokio::time::timeout(Duration::from_secs(10), async {
            while count(&pool) > 0 {
                if let Some(socket) = pool.take(1) {
                    pool.keep(1, socket);
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("both are gone");
    }

    #[tokio::test]
    async fn nothing_is_idle_for_ever() {
        let pool = Arc::new(Pool::new(10, Some(Duration::from_millis(50))));
        let (own, mut other) = pair();
        pool.keep(1, own);
        ends(&mut other).await;
        assert_eq!(count(&pool), 0);
        // And whoever comes later is looked after again.
        let (own, mut other) = pair();
        pool.keep(1, own);
        ends(&mut other).await;
    }
}
