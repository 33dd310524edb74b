//! Counters that many threads write and that are seldom read.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A value for each thread that writes one, made when it first does: no thread writes where another
/// does, so a counter costs a request no wait for another core. What nobody has written takes 16
/// bytes. With more threads than cores some share a value, which therefore has to be atomic.
pub(super) struct PerThread<T> {
    slots: OnceLock<Box<[OnceLock<Box<T>>]>>,
}

thread_local! {
    static THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The number of this thread: threads that never count take none.
pub(super) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    THREAD.get().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        THREAD.set(Some(number));
        number
    })
}

/// At least as many as there are cores, and no more than 256.
fn slot_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        cores.next_power_of_two().clamp(2, 256)
    })
}

impl<T: Default> PerThread<T> {
    /// This thread's value; `None` only if the machine has no room for slots.
    pub(super) fn local(&self) -> Option<&T> {
        let slots = self
            .slots
            .get_or_init(|| (0..slot_count()).map(|_| OnceLock::new()).collect());
        let slot = slots.get(thread_number() % slots.len().max(1))?;
        Some(slot.get_or_init(Box::default))
    }

    /// All values that there are.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots
            .get()
            .into_iter()
            .flatten()
            .filter_map(|slot| slot.get().map(|value| &**value))
    }
}

impl<T> Default for PerThread<T> {
    fn default() -> Self {
        Self {
            slots: OnceLock::new(),
        }
    }
}

impl<T> fmt::Debug for PerThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerThread").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counter = PerThread::<AtomicU64>::default();
        assert_eq!(counter.iter().count(), 0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.local().unwrap().fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let sum: u64 = counter
            .iter()
            .map(|value| value.load(Ordering::Relaxed))
            .sum();
        assert_eq!(sum, 8000);
    }
}
