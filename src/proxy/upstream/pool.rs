//! The idle connections to upstreams.
//!
//! A task looks after them: it closes those that have been idle for too long, and those that their upstreams
//! have closed. While connections come and go it looks now and then, so that a request costs it nothing. Once
//! none has come between two looks, it sleeps until one of them is closed or its time is over.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::key::{KeyRef, Origin, UpstreamKey};

/// The longest time between two looks at the idle connections: so long one may stay open that its
/// target has closed.
const LONGEST_PERIOD: Duration = Duration::from_secs(1);

/// The shortest.
const SHORTEST_PERIOD: Duration = Duration::from_millis(20);

/// A connection that can be kept for another request.
pub(in crate::proxy) trait Poolable: Send + 'static {
    /// Where it leads.
    fn origin(&self) -> &Origin;

    /// Whether an idle one can be used, as far as is known.
    fn is_usable(&mut self) -> bool;

    /// Ready once an idle one can no longer be used: then it is to be closed, since what its upstream has sent
    /// may be lost.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// The idle connections, by where they lead: all routes to an app share them. An instance is given none
/// that is older than itself, so that an app that registers again, which may be another process at the
/// same port, gets new ones. The latest is used first; when there are too many, the one that has been idle
/// for longest goes.
#[derive(Debug)]
pub(in crate::proxy) struct Pool<C> {
    idle: Mutex<Idle<C>>,
    most: usize,
    limit: Option<Duration>,
    /// Tells the task that sleeps that another connection has come.
    has_come: Arc<Notify>,
}

#[derive(Debug)]
struct Idle<C> {
    /// Those to each key, in the order in which they became idle. A key that has none any more stays
    /// until the next look.
    to: HashMap<UpstreamKey, VecDeque<Entry<C>>, RandomState>,
    count: usize,
    /// All of them in that order. Those that have been used since are still there, until they are more
    /// than the others.
    order: VecDeque<(u64, UpstreamKey)>,
    next: u64,
    /// The value of `next` at the last look.
    seen: u64,
    /// Whether somebody looks after them.
    is_watched: bool,
    /// Whether that task sleeps until something happens to one of them.
    is_asleep: bool,
}

/// The state of the pool after a look that has left connections in it.
struct Left {
    /// Whether none has come since the last look.
    is_quiet: bool,
    /// When the first of them has been idle for too long.
    next: Option<Instant>,
}

/// How many connections that have been used since may stay in the order, besides as many as are idle.
const MOST_USED: usize = 256;

#[derive(Debug)]
struct Entry<C> {
    /// Which one it was to become idle.
    stamp: u64,
    connection: C,
    since: Instant,
}

impl<C: Poolable> Pool<C> {
    /// A pool of at most so many connections, each kept for so long.
    pub(in crate::proxy) fn new(most: usize, limit: Option<Duration>) -> Self {
        Self {
            idle: Mutex::new(Idle::new()),
            most,
            limit,
            has_come: Arc::default(),
        }
    }

    /// A connection that has been idle and can be used, for an instance with this serial number.
    pub(in crate::proxy) fn take(&self, key: KeyRef<'_>, serial: u64) -> Option<C> {
        loop {
            let mut entry = self.idle.lock().take(key, serial)?;
            if entry.connection.is_usable() {
                return Some(entry.connection);
            }
        }
    }

    /// Keeps a connection; it must be called within a runtime.
    pub(in crate::proxy) fn keep(self: &Arc<Self>, connection: C) {
        if self.most == 0 {
            return;
        }
        let since = Instant::now();
        let mut idle = self.idle.lock();
        let evicted = if idle.count < self.most {
            None
        } else {
            idle.take_oldest()
        };
        idle.put(connection, since);
        let is_watched = std::mem::replace(&mut idle.is_watched, true);
        let is_asleep = std::mem::take(&mut idle.is_asleep);
        drop(idle);
        // Closed outside of the lock.
        drop(evicted);
        if !is_watched {
            tokio::spawn(watch(Arc::downgrade(self), self.period()));
        } else if is_asleep {
            self.has_come.notify_one();
        }
    }

    fn period(&self) -> Duration {
        let limit = self.limit.unwrap_or(LONGEST_PERIOD);
        (limit / 4).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
    }

    /// Closes what has been idle for too long, or was closed by its upstream; `None` if no others are left. The
    /// task is woken when one of these is closed.
    fn sweep(&self, context: &mut Context<'_>) -> Option<Left> {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let is_over = |entry: &mut Entry<C>| {
            let age = now.duration_since(entry.since);
            self.limit.is_some_and(|limit| age >= limit)
                || entry.connection.poll_over(context).is_ready()
        };
        let closed = idle.take_all(is_over);
        idle.is_watched = idle.count > 0;
        idle.is_asleep = idle.is_watched && idle.seen == idle.next;
        idle.seen = idle.next;
        let left = idle.is_watched.then(|| Left {
            is_quiet: idle.is_asleep,
            next: self
                .limit
                .and_then(|limit| idle.oldest()?.checked_add(limit)),
        });
        drop(idle);
        drop(closed);
        left
    }
}

impl<C: Poolable> Idle<C> {
    fn new() -> Self {
        Self {
            to: HashMap::default(),
            count: 0,
            order: VecDeque::new(),
            next: 0,
            seen: 0,
            is_watched: false,
            is_asleep: false,
        }
    }

    fn put(&mut self, connection: C, since: Instant) {
        let stamp = self.next;
        self.next += 1;
        self.count += 1;
        let key = connection.origin().key.clone();
        let entry = Entry {
            stamp,
            connection,
            since,
        };
        match self.to.get_mut(&key) {
            Some(entries) => entries.push_back(entry),
            None => {
                self.to.insert(key.clone(), VecDeque::from([entry]));
            }
        }
        self.order.push_back((stamp, key));
        if self.order.len() > 2 * self.count + MOST_USED {
            self.forget_used();
        }
    }

    /// Of those to an address that an instance may use, the one that became idle last.
    fn take(&mut self, key: KeyRef<'_>, serial: u64) -> Option<Entry<C>> {
        let entries = self.to.get_mut(&key)?;
        let index = entries
            .iter()
            .rposition(|entry| entry.connection.origin().newest >= serial)?;
        let entry = entries.remove(index)?;
        self.count -= 1;
        Some(entry)
    }

    /// The one of all that became idle first.
    fn take_oldest(&mut self) -> Option<Entry<C>> {
        while let Some((stamp, key)) = self.order.pop_front() {
            if let Some(entries) = self.to.get_mut(&key)
                && let Some(entry) = entries.pop_front_if(|first| first.stamp == stamp)
            {
                self.count -= 1;
                return Some(entry);
            }
        }
        None
    }

    /// When the one of them became idle that has been so for longest.
    fn oldest(&self) -> Option<Instant> {
        let first = |entries: &VecDeque<Entry<C>>| Some(entries.front()?.since);
        self.to.values().filter_map(first).min()
    }

    /// All of which this holds.
    fn take_all(&mut self, mut holds: impl FnMut(&mut Entry<C>) -> bool) -> Vec<Entry<C>> {
        let mut taken = Vec::new();
        self.to.retain(|_, entries| {
            for index in (0..entries.len()).rev() {
                if entries.get_mut(index).is_some_and(&mut holds) {
                    taken.extend(entries.remove(index));
                }
            }
            !entries.is_empty()
        });
        self.count -= taken.len();
        self.forget_used();
        taken
    }

    fn forget_used(&mut self) {
        let to = &self.to;
        self.order.retain(|(stamp, key)| {
            let entries = to.get(key);
            entries.is_some_and(|e| e.binary_search_by_key(stamp, |entry| entry.stamp).is_ok())
        });
    }
}

/// Looks after the idle connections for as long as there are any.
async fn watch<C: Poolable>(pool: Weak<Pool<C>>, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        let goes_on = match look(&pool) {
            None => false,
            Some(left) if left.is_quiet => sleep(&pool).await,
            Some(_) => true,
        };
        if !goes_on {
            return;
        }
    }
}

/// Looks without being woken later.
fn look<C: Poolable>(pool: &Weak<Pool<C>>) -> Option<Left> {
    let mut nobody = Context::from_waker(Waker::noop());
    pool.upgrade()?.sweep(&mut nobody)
}

/// Closes connections as they are over, until another comes; whether any are left.
async fn sleep<C: Poolable>(pool: &Weak<Pool<C>>) -> bool {
    let Some(has_come) = pool.upgrade().map(|pool| Arc::clone(&pool.has_come)) else {
        return false;
    };
    let mut has_come = pin!(has_come.notified());
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    poll_fn(|context| {
        loop {
            if has_come.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            let Some(left) = pool.upgrade().and_then(|pool| pool.sweep(context)) else {
                return Poll::Ready(false);
            };
            if !left.is_quiet {
                return Poll::Ready(true);
            }
            let Some(next) = left.next else {
                return Poll::Pending;
            };
            timer.as_mut().reset(next);
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests;
