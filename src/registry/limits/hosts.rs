//! How many hosts the routes are for.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use super::give_back;
use crate::route::HostPattern;

/// How many routes are for each host, by its hash. The texts would take more memory than all else here; two
/// hosts of one hash, which has 64 bits and a key that nobody knows, count as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts(HashMap<u64, isize>);

impl Hosts {
    pub(super) fn hash(host: &HostPattern) -> u64 {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        KEY.hash_one(host)
    }

    fn routes(&self, host: u64) -> isize {
        self.0.get(&host).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, host: u64, routes: isize) {
        let own = self.0.entry(host).or_default();
        *own += routes;
        if *own == 0 {
            self.0.remove(&host);
        }
    }

    /// Adds what a change moves.
    pub(super) fn merge(&mut self, change: &Self) {
        for (host, routes) in &change.0 {
            self.add(*host, *routes);
        }
        give_back(&mut self.0);
    }

    /// How many more hosts there are than before, `there` being what there was.
    pub(super) fn gained(&self, there: [&Self; 2]) -> isize {
        let gained = self.0.iter().map(|(host, added)| {
            let before: isize = there.iter().map(|hosts| hosts.routes(*host)).sum();
            isize::from(before + added > 0) - isize::from(before > 0)
        });
        gained.sum()
    }
}
