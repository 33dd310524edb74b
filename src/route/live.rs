//! The table that requests see, and the one way to change it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::Table;

/// A value that is never changed once others see it, and the current one of it. Readers take it without
/// waiting, whatever writers do, and write nothing that another reader reads. Writers come one after
/// the other.
pub struct Live<T> {
    current: ArcSwap<T>,
    writer: Mutex<()>,
}

/// The current [`Table`].
pub type LiveTable = Live<Table>;

impl<T: Clone> Live<T> {
    /// Publishes a value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self {
            current: ArcSwap::from_pointee(value),
            writer: Mutex::new(()),
        }
    }

    /// The value as it is now, to look up in. A thread should hold no more than a few at a time, each
    /// for a short time; keep a [`snapshot`](Self::snapshot) instead.
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<T>> {
        self.current.load()
    }

    /// The value as it is now, to keep.
    #[must_use]
    pub fn snapshot(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Makes changes and publishes them all at once. Every `load` that begins after this returns sees
    /// them. Nothing is published if `change` panics.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let _turn = self.writer.lock();
        let mut value = T::clone(&self.current.load());
        let result = change(&mut value);
        self.current.store(Arc::new(value));
        result
    }

    /// Changes the value by a function that can fail.
    ///
    /// # Errors
    /// What `change` returns; nothing is published then.
    pub fn try_update<R, E>(&self, change: impl FnOnce(&mut T) -> Result<R, E>) -> Result<R, E> {
        let _turn = self.writer.lock();
        let mut value = T::clone(&self.current.load());
        let result = change(&mut value)?;
        self.current.store(Arc::new(value));
        Ok(result)
    }
}

impl<T: Clone + fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&**self.load()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::super::{Generation, HostPattern, Instance, PathPrefix, Route, RouteKey, Target};
    use super::*;

    fn route(prefix: &str, generation: u64) -> Arc<Route> {
        let key = RouteKey {
            host: HostPattern::Any,
            prefix: PathPrefix::parse(prefix).unwrap(),
        };
        let target = Target::new("localhost", NonZeroU16::MIN, []);
        let instance = Arc::new(Instance::new(target));
        Arc::new(Route::new(key, instance, Generation(generation)))
    }

    #[test]
    fn a_change_is_seen_once_it_is_made() {
        let live = LiveTable::new(Table::default());
        let before = live.snapshot();
        assert!(live.update(|table| table.insert(route("/a", 1))).is_none());
        assert!(live.load().lookup("", "/a/b").is_some());
        assert!(before.is_empty());
    }

    #[test]
    fn a_change_that_fails_or_panics_is_not_published() {
        let live = LiveTable::new(Table::default());
        let failed: Result<(), &str> = live.try_update(|table| {
            table.insert(route("/a", 1));
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            live.update(|table| {
                table.insert(route("/a", 1));
                panic!("no");
            });
        }));
        assert!(panicked.is_err());
        assert!(live.load().is_empty());
        assert_eq!(
            live.try_update(|table| Ok::<_, ()>(table.insert(route("/a", 1)))),
            Ok(None)
        );
        assert_eq!(live.load().len(), 1);
    }

    /// One route is replaced all the time, others come and go around it, and both writers also split
    /// and join the nodes that it lies in. Readers find it each time, never an older one than before.
    #[test]
    fn a_route_that_is_replaced_is_never_missing() {
        let live = LiveTable::new(Table::default());
        live.update(|table| table.insert(route("/stays", 0)));
        let done = AtomicBool::new(false);
        let read = || {
            let mut newest = Generation(0);
            let mut found = 0_u64;
            while !done.load(Ordering::Relaxed) {
                let table = live.load();
                let route = table.lookup("", "/stays/here").expect("the route");
                assert!(route.generation >= newest, "went back");
                newest = route.generation;
                found += 1;
            }
            found
        };
        let come_and_go = |writer: u64| {
            for round in 1..300 {
                let routes: Vec<_> = (0..20)
                    .map(|n| route(&format!("/{writer}-{n}"), 0))
                    .collect();
                for route in &routes {
                    live.update(|table| table.insert(Arc::clone(route)));
                }
                if writer == 0 {
                    live.update(|table| table.insert(route("/stays", round)));
                }
                live.update(|table| routes.iter().for_each(|r| drop(table.remove(&r.key()))));
            }
        };
        thread::scope(|scope| {
            let readers = [scope.spawn(read), scope.spawn(read)];
            let writers = [0, 1].map(|writer| scope.spawn(move || come_and_go(writer)));
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
            assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
        });
        assert_eq!(live.load().len(), 1);
    }
}
