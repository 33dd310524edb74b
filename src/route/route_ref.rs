//! How a thread holds routes for its requests without writing where other threads write.
//!
//! To clone an `Arc<Route>` is to write the count beside the route, and to drop it is to write it
//! again: a line of memory that all cores that serve the route take from each other, twice for each
//! request. So each thread has handles of its own on the routes that it serves most, and its requests
//! are counted there. What is looked up, for each request, is the table; a handle says nothing about
//! what the table has.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

use super::Route;

/// A thread has 64 sets of 4 places for handles: a route's address says which set it belongs to. So
/// dozens of busy routes have a place each, whatever their addresses; those that find none are counted
/// as if there were no handles.
const SETS: usize = 64;
const WAYS: usize = 4;

/// A route, held for a request: it goes on however the table changes.
#[derive(Clone, Debug)]
pub struct RouteRef(By);

#[derive(Clone, Debug)]
enum By {
    /// By a handle of the thread that looked it up.
    Handle(Arc<Handle>),
    /// By the count that all threads write.
    Route(Arc<Route>),
}

/// One thread's handle on a route. With the counts in front of it it is as large as a cache line, so
/// that an allocator that puts chunks of this size on lines puts nothing of another thread beside it.
#[derive(Debug)]
struct Handle {
    route: Arc<Route>,
    _rest_of_line: [u64; 5],
}

/// One thread's handles. A route gets one when it is asked for a second time, and loses it when nobody
/// has asked for it in one round of all places, of which each lookup passes one: a route that has left
/// the table is kept for at most 512 requests more.
struct Handles {
    sets: [[Place; WAYS]; SETS],
    passed: usize,
}

struct Place {
    /// Of the route, which may be gone as long as there is no handle; 0 for none.
    address: usize,
    handle: Option<Arc<Handle>>,
    /// Whether it was asked for in this round.
    is_used: bool,
}

thread_local! {
    static HANDLES: RefCell<Handles> = const { RefCell::new(Handles::NONE) };
}

impl RouteRef {
    /// Holds a route, by a handle of this thread if it has one or gets one now.
    #[must_use]
    pub fn new(route: &Arc<Route>) -> Self {
        let handle = HANDLES.try_with(|handles| handles.try_borrow_mut().ok()?.handle(route));
        match handle {
            Ok(Some(handle)) => Self(By::Handle(handle)),
            // No place; or the thread is about to end.
            Ok(None) | Err(_) => Arc::clone(route).into(),
        }
    }
}

impl From<Arc<Route>> for RouteRef {
    fn from(route: Arc<Route>) -> Self {
        Self(By::Route(route))
    }
}

impl Deref for RouteRef {
    type Target = Arc<Route>;

    fn deref(&self) -> &Arc<Route> {
        match &self.0 {
            By::Handle(handle) => &handle.route,
            By::Route(route) => route,
        }
    }
}

impl Handles {
    const NONE: Self = Self {
        sets: [const { [const { Place::EMPTY }; WAYS] }; SETS],
        passed: 0,
    };

    fn handle(&mut self, route: &Arc<Route>) -> Option<Arc<Handle>> {
        self.pass();
        let address = Arc::as_ptr(route).addr();
        let set = self.sets.get_mut(set_of(address))?;
        if let Some(place) = set.iter_mut().find(|place| place.address == address) {
            place.is_used = true;
            let handle = place.handle.get_or_insert_with(|| Handle::new(route));
            // A handle keeps its route, so that no other can be at that address.
            return Some(Arc::clone(handle));
        }
        let free = set.iter_mut().find(|place| !place.is_used)?;
        *free = Place {
            address,
            handle: None,
            is_used: true,
        };
        None
    }

    /// Looks at the next place, and empties it if nobody has asked for its route since the last time.
    fn pass(&mut self) {
        self.passed = (self.passed + 1) % (SETS * WAYS);
        let set = self.sets.get_mut(self.passed / WAYS);
        if let Some(place) = set.and_then(|set| set.get_mut(self.passed % WAYS)) {
            if place.is_used {
                place.is_used = false;
            } else if place.address != 0 {
                *place = Place::EMPTY;
            }
        }
    }
}

impl Place {
    const EMPTY: Self = Self {
        address: 0,
        handle: None,
        is_used: false,
    };
}

impl Handle {
    fn new(route: &Arc<Route>) -> Arc<Self> {
        Arc::new(Self {
            route: Arc::clone(route),
            _rest_of_line: [0; 5],
        })
    }
}

/// Routes lie side by side, so the low bits of their addresses alone would leave most sets empty.
fn set_of(address: usize) -> usize {
    let mixed = (address as u64).wrapping_mul(MIX) >> (u64::BITS - SETS.ilog2());
    usize::try_from(mixed).unwrap_or(0)
}

/// An odd number whose bits are well mixed (2^64 divided by the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::sync::Weak;

    use proptest::prelude::*;

    use super::super::{
        Generation, HostPattern, Instance, LiveTable, PathPrefix, RouteKey, Table, Target,
    };
    use super::*;

    fn route(number: usize) -> Arc<Route> {
        let key = RouteKey {
            host: HostPattern::Any,
            prefix: PathPrefix::parse(&format!("/{number}")).unwrap(),
        };
        let target = Target::new("localhost", NonZeroU16::MIN, []);
        let instance = Arc::new(Instance::new(target));
        Arc::new(Route::new(key, instance, Generation(0)))
    }

    /// Does something on a thread without handles.
    fn on_a_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap()
    }

    fn held_twice(route: &Arc<Route>) -> RouteRef {
        drop(RouteRef::new(route));
        RouteRef::new(route)
    }

    fn is_by_handle(held: &RouteRef) -> bool {
        matches!(held.0, By::Handle(_))
    }

    #[test]
    fn a_request_does_not_write_the_count_that_all_threads_share() {
        let route = route(0);
        on_a_thread(|| {
            assert!(!is_by_handle(&RouteRef::new(&route)), "once is not busy");
            let first = RouteRef::new(&route);
            let count = Arc::strong_count(&route);
            let more: Vec<_> = (0..100).map(|_| RouteRef::new(&route)).collect();
            assert!(more.iter().all(is_by_handle));
            assert!(more.iter().all(|held| Arc::ptr_eq(held, &first)));
            assert_eq!(Arc::strong_count(&route), count);
        });
        let [one, other] = [(); 2].map(|()| on_a_thread(|| held_twice(&route)));
        assert!(is_by_handle(&one) && is_by_handle(&other));
        assert!(Arc::ptr_eq(&one, &other), "one route");
        assert!(
            !std::ptr::eq(&raw const *one, &raw const *other),
            "two handles"
        );
    }

    #[test]
    fn a_handle_is_a_cache_line() {
        let counts = size_of::<[usize; 2]>();
        assert_eq!(counts + size_of::<Handle>(), 64);
    }

    #[test]
    fn a_route_that_is_gone_is_kept_for_no_more_than_two_rounds() {
        let (gone, other) = (route(0), route(1));
        on_a_thread(move || {
            let weak = Arc::downgrade(&gone);
            drop(held_twice(&gone));
            drop(gone);
            assert!(weak.upgrade().is_some(), "it was busy");
            for _ in 0..2 * SETS * WAYS {
                drop(RouteRef::new(&other));
            }
            assert!(weak.upgrade().is_none());
            assert!(is_by_handle(&RouteRef::new(&other)), "it still is");
        });
    }

    #[test]
    fn a_request_keeps_its_route_when_its_thread_has_ended() {
        let route = route(0);
        let held = on_a_thread(|| held_twice(&route));
        let weak = Arc::downgrade(&route);
        drop(route);
        assert!(is_by_handle(&held) && weak.upgrade().is_some());
        drop(held);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn dozens_of_busy_routes_have_handles() {
        let routes: Vec<_> = (0..32).map(route).collect();
        let count = on_a_thread(|| {
            let held: Vec<_> = routes.iter().map(held_twice).collect();
            held.iter().filter(|held| is_by_handle(held)).count()
        });
        assert!(count >= 30, "{count}");
    }

    /// A change of a table, or the start or the end of a request.
    #[derive(Clone, Debug)]
    enum Step {
        Replace(usize),
        Remove(usize),
        Begin(usize),
        End(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..600_usize).prop_map(Step::Replace),
            (0..600_usize).prop_map(Step::Remove),
            (0..600_usize).prop_map(Step::Begin),
            (0..8_usize).prop_map(Step::Begin),
            any::<usize>().prop_map(Step::End),
        ];
        prop::collection::vec(step, 1..3000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever is replaced and removed meanwhile: a request has the route that the table has at
        /// that moment, keeps it, and no route is left once table and handles are gone.
        #[test]
        fn what_is_held_is_what_the_table_has(steps in steps()) {
            let mut made: Vec<Weak<Route>> = Vec::new();
            let run = || -> Result<(), TestCaseError> {
                let live = LiveTable::new(Table::default());
                let mut requests: Vec<(RouteRef, Weak<Route>)> = Vec::new();
                for step in steps {
                    match step {
                        Step::Replace(number) => {
                            let route = route(number);
                            made.push(Arc::downgrade(&route));
                            live.update(|table| table.insert(route));
                        }
                        Step::Remove(number) => {
                            live.update(|table| table.remove(&route(number).key()));
                        }
                        Step::Begin(number) => {
                            let table = live.load();
                            let Some(found) = table.lookup("", &format!("/{number}")) else {
                                continue;
                            };
                            let held = RouteRef::new(found);
                            prop_assert!(Arc::ptr_eq(&held, found));
                            requests.push((held, Arc::downgrade(found)));
                        }
                        Step::End(_) if requests.is_empty() => {}
                        Step::End(any) => drop(requests.swap_remove(any % requests.len())),
                    }
                    for (held, route) in &requests {
                        prop_assert!(std::ptr::eq(Arc::as_ptr(held), route.as_ptr()));
                    }
                }
                Ok(())
            };
            // The handles go with their thread.
            on_a_thread(run)?;
            prop_assert!(made.iter().all(|route| route.upgrade().is_none()));
        }
    }
}
