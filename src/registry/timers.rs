//! The times at which leases and drains end.

use std::collections::{BTreeSet, HashMap};

use crate::route::{Route, RouteKey};

/// The ends of some instances, by their serial numbers. Nothing is ever scanned: the next end is the
/// first of an ordered set, and an instance that leaves takes its entry along.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(u64, u64)>,
    by_serial: HashMap<u64, (u64, RouteKey)>,
}

impl Timers {
    /// An instance of a route ends at a time; an earlier entry for it is replaced.
    pub(super) fn set(&mut self, serial: u64, ends: u64, key: RouteKey) {
        if let Some((before, _)) = self.by_serial.insert(serial, (ends, key)) {
            self.by_time.remove(&(before, serial));
        }
        self.by_time.insert((ends, serial));
    }

    /// The leases of a route's instances begin.
    pub(super) fn begin(&mut self, route: &Route) {
        for instance in route.instances() {
            if let Some(lease) = &instance.lease {
                self.set(instance.serial, lease.ends(), route.key());
            }
        }
    }

    /// An instance has no end any more.
    pub(super) fn remove(&mut self, serial: u64) {
        if let Some((ends, _)) = self.by_serial.remove(&serial) {
            self.by_time.remove(&(ends, serial));
        }
    }

    /// When the next one ends.
    pub(super) fn next(&self) -> Option<u64> {
        self.by_time.first().map(|(ends, _)| *ends)
    }

    /// Takes the entries out whose time has come, at most `most` of them.
    pub(super) fn due(&mut self, now: u64, most: usize) -> Vec<(u64, RouteKey)> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some((ends, serial)) = self.by_time.first().copied()
            && ends <= now
        {
            self.by_time.pop_first();
            due.extend(self.by_serial.remove(&serial).map(|(_, key)| (serial, key)));
        }
        due
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    /// All entries, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &RouteKey)> {
        self.by_serial
            .iter()
            .map(|(serial, (_, key))| (*serial, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{HostPattern, PathPrefix};

    #[test]
    fn entries_come_out_in_their_order_and_once() {
        let key = |n: u64| RouteKey {
            host: HostPattern::Any,
            prefix: PathPrefix::parse(&format!("/{n}")).unwrap(),
        };
        let mut timers = Timers::default();
        for n in 0..10 {
            timers.set(n, 100 - n, key(n));
        }
        timers.set(3, 500, key(3));
        timers.remove(9);
        assert_eq!(timers.next(), Some(92));
        let due: Vec<u64> = timers.due(98, 100).into_iter().map(|(n, _)| n).collect();
        assert_eq!(due, [8, 7, 6, 5, 4, 2]);
        assert_eq!(timers.due(1000, 1).len(), 1);
        assert_eq!(timers.due(1000, 100).len(), 2);
        assert!(timers.is_empty() && timers.next().is_none());
    }
}
