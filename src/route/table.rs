//! The table: which route takes a request.
//!
//! A table is a value that is never changed once others see it. A change is made to a clone, which
//! costs nothing, and which is then published in one step ([`LiveTable`](super::LiveTable)); so readers
//! never wait, and each sees the table before a change or after it. Under it is a persistent tree: a
//! change makes anew the few nodes on its own path and shares all others with the tables before it, so
//! that its cost does not grow with the table's size. The leaves of the tree are matchit routers of a
//! handful of routes each.
//!
//! Why not one matchit router? It has no cheap copy: a clone of 100,000 routes takes 107 ms and one of
//! 1,000,000 takes 2.4 s, for each registration. To change it in place under a lock takes under a
//! microsecond, but lets one reader or writer that the system has put to sleep hold up every other.

use std::borrow::Cow;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use ahash::RandomState;

use super::case_sensitivity::CaseSensitivity;
use super::escape::in_one_spelling;
use super::key::{Item, Probe, ProbeBuffer, key_text};
use super::tree::Tree;
use super::{Generation, HostPattern, Route, RouteKey};

/// The routes. A clone takes no time, shares what it can, and is not affected by later changes.
#[derive(Clone)]
pub struct Table<S = RandomState> {
    tree: Tree<S>,
    case: CaseSensitivity,
    /// How many routes are for one host, and for a wildcard: without any, there is nothing to look up.
    exact: usize,
    wildcard: usize,
    /// How many prefixes have an escape: without any, no path need be brought to their spelling.
    escaped: usize,
    generation: Generation,
}

impl Table {
    /// A table without routes.
    #[must_use]
    pub fn new(case: CaseSensitivity) -> Self {
        Self::with_hasher(case, RandomState::new())
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new(CaseSensitivity::default())
    }
}

impl<S: BuildHasher> Table<S> {
    /// A table without routes that spreads them with this hasher, which should be keyed: with one that
    /// can be foreseen, names can be chosen that make the table slow.
    #[must_use]
    pub fn with_hasher(case: CaseSensitivity, hasher: S) -> Self {
        Self {
            tree: Tree::new(hasher),
            case,
            exact: 0,
            wildcard: 0,
            escaped: 0,
            generation: Generation::default(),
        }
    }

    /// The number of the last change.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Goes on from the number of a change that was made earlier.
    pub fn resume(&mut self, generation: Generation) {
        self.generation = generation;
    }

    /// Begins a change: the number that it and its routes bear.
    pub fn advance(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }

    /// Adds a route; if one with the same key was there, it is replaced and returned.
    pub fn insert(&mut self, route: Arc<Route>) -> Option<Arc<Route>> {
        let key = key_text(&route.host, &route.prefix, self.case).into();
        let (host, is_escaped) = (route.host.clone(), route.prefix.has_escape());
        let replaced = self.tree.insert(Item { key, route });
        if replaced.is_none() {
            self.escaped += usize::from(is_escaped);
            if let Some(count) = self.count_of(&host) {
                *count += 1;
            }
        }
        replaced
    }

    /// Replaces all routes by these; of several with one key the last one counts. Quicker than to
    /// insert them one by one.
    pub fn fill(&mut self, routes: impl IntoIterator<Item = Arc<Route>>) {
        let mut items: Vec<Item> = routes
            .into_iter()
            .map(|route| Item {
                key: key_text(&route.host, &route.prefix, self.case).into(),
                route,
            })
            .collect();
        items.sort_by(|a, b| a.key.cmp(&b.key));
        items.dedup_by(|later, kept| {
            let is_same = later.key == kept.key;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        (self.exact, self.wildcard, self.escaped) = (0, 0, 0);
        for item in &items {
            self.escaped += usize::from(item.route.prefix.has_escape());
            if let Some(count) = self.count_of(&item.route.host) {
                *count += 1;
            }
        }
        self.tree.fill(items);
    }

    /// Removes and returns the route with this key.
    pub fn remove(&mut self, key: &RouteKey) -> Option<Arc<Route>> {
        let removed = self
            .tree
            .remove(&key_text(&key.host, &key.prefix, self.case))?;
        self.escaped -= usize::from(removed.prefix.has_escape());
        if let Some(count) = self.count_of(&key.host) {
            *count -= 1;
        }
        Some(removed)
    }

    /// The route with this key.
    #[must_use]
    pub fn get(&self, key: &RouteKey) -> Option<&Arc<Route>> {
        self.tree.get(&key_text(&key.host, &key.prefix, self.case))
    }

    /// The route that takes a request. `host` is spelt as a [`RequestHost`](super::RequestHost), or
    /// empty if the request has none; `path` as a [`RequestPath`](super::RequestPath).
    #[must_use]
    pub fn lookup(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        if !path.starts_with('/') {
            return None;
        }
        let path = if self.escaped > 0 {
            in_one_spelling(path)
        } else {
            Cow::Borrowed(path)
        };
        let mut buffer = ProbeBuffer::new();
        let mut probe = Probe::new(&mut buffer, (host, &path), self.case);
        if self.exact > 0
            && let Some(route) = self.tree.find(probe.exact())
        {
            return Some(route);
        }
        if self.wildcard > 0 {
            let mut dots = memchr::memchr_iter(b'.', host.as_bytes());
            if let Some(route) = dots.find_map(|dot| self.tree.find(probe.wildcard(dot))) {
                return Some(route);
            }
        }
        if self.exact + self.wildcard == self.len() {
            return None;
        }
        self.tree.find(probe.any())
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All routes, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.tree.routes()
    }

    /// How prefixes match.
    #[must_use]
    pub fn case(&self) -> CaseSensitivity {
        self.case
    }

    fn count_of(&mut self, host: &HostPattern) -> Option<&mut usize> {
        match host {
            HostPattern::Any => None,
            HostPattern::Exact(_) => Some(&mut self.exact),
            HostPattern::Wildcard(_) => Some(&mut self.wildcard),
        }
    }
}

/// The size only: a table can be large.
impl<S: BuildHasher> fmt::Debug for Table<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("routes", &self.len())
            .field("case", &self.case)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
