//! Which of a route's instances a request goes to.

use super::Route;
use super::per_thread::thread_number;

/// Chooses among a route's instances, all of which are ready. One implementation serves all routes, so
/// it keeps nothing about any of them.
pub trait Balance: Send + Sync {
    /// The index of the instance for a request. `turn` counts the route's requests on this thread.
    fn choose(&self, route: &Route, turn: u64) -> usize;
}

/// One after the other, for each route and each thread. Each thread begins with another one, so that
/// a few requests do not all go to the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin;

impl Balance for RoundRobin {
    fn choose(&self, route: &Route, turn: u64) -> usize {
        let turn = turn.wrapping_add(thread_number() as u64);
        usize::try_from(turn % route.instance_count() as u64).unwrap_or_default()
    }
}
