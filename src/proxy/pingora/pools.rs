//! Which idle connections a request may use: the groups of Pingora's pool.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::route::Instance;

/// How many instances at most share a counter.
const COUNTERS: usize = 64;

/// The groups of idle connections, one for each instance: those of a replaced instance are never used
/// again, and connections of different settings never meet.
#[derive(Debug)]
pub(in crate::proxy) struct Pools {
    /// Whether idle connections are kept.
    keeps: bool,
    /// How often idle connections of instances have been given up; an instance's counter is that at its
    /// serial number's remainder.
    given_up: [AtomicU64; COUNTERS],
}

impl Default for Pools {
    fn default() -> Self {
        Self {
            keeps: true,
            given_up: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Pools {
    /// Keeps no idle connections.
    pub(in crate::proxy) fn keep_none(&mut self) {
        self.keeps = false;
    }

    /// Whether idle connections are kept.
    pub(in crate::proxy) fn keeps(&self) -> bool {
        self.keeps
    }

    /// The group of an instance's connections; with `fresh`, one that nobody else has, so that the
    /// request meets a new connection.
    pub(in crate::proxy) fn group(&self, instance: &Instance, fresh: bool) -> u64 {
        if fresh || !self.keeps {
            return fastrand::u64(..);
        }
        let counter = self.counter(instance);
        let times = counter.map_or(0, |counter| counter.load(Ordering::Relaxed));
        // Odd multiples: each counter's next value is another group.
        instance
            .serial
            .wrapping_add(times.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Has nobody use the connections that lead to an instance by now: one of them may have bytes on their
    /// way that no response announces.
    pub(in crate::proxy) fn give_up(&self, instance: &Instance) {
        if let Some(counter) = self.counter(instance) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counter of an instance; there always is one.
    fn counter(&self, instance: &Instance) -> Option<&AtomicU64> {
        let index = usize::try_from(instance.serial % COUNTERS as u64);
        self.given_up.get(index.unwrap_or_default())
    }
}
