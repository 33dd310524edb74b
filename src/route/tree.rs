//! The tree under the table: a persistent hash trie over the segments of the routes' keys, with small
//! leaves ([`Leaf`](super::leaf::Leaf)). A change copies the nodes on its own path, as far as another
//! version shares them; what is not on it stays shared. Every walk is a loop, since keys can be a
//! thousand segments deep.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::Route;
use super::key::{Cursor, Item, Meeting};
use super::node::{JOIN_MAX, Node};

/// The most segments of a key that is built into a tree with many others: nodes are built by recursion.
const MOST_BUILT: usize = 64;

/// A map from keys to routes that finds the longest key in front of a text.
#[derive(Clone)]
pub(super) struct Tree<S> {
    root: Option<Arc<Node>>,
    hasher: S,
}

impl<S: BuildHasher> Tree<S> {
    pub(super) fn new(hasher: S) -> Self {
        Self { root: None, hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.root.as_deref().map_or(0, Node::len)
    }

    /// The route with the longest key in front of `text`, which a [`Probe`](super::key::Probe) made.
    pub(super) fn find(&self, text: &str) -> Option<&Arc<Route>> {
        let mut cursor = Cursor::new(text);
        let mut longest = None;
        let mut node = self.root.as_deref();
        while let Some(current) = node {
            node = match current {
                Node::Leaf(leaf) => {
                    longest = leaf.find(text, cursor.at()).or(longest);
                    None
                }
                Node::Segments(segments) if cursor.pass(&segments.text) => {
                    longest = segments.here.as_ref().or(longest);
                    segments.below.as_deref()
                }
                Node::Segments(_) => None,
                Node::Split(split) => split.branch(cursor.branch(|s| self.hasher.hash_one(s))),
            };
        }
        longest.map(|item| &item.route)
    }

    /// The route with this key.
    pub(super) fn get(&self, key: &str) -> Option<&Arc<Route>> {
        let mut cursor = Cursor::new(key);
        let mut node = self.root.as_deref()?;
        loop {
            node = match node {
                Node::Leaf(leaf) => return leaf.get(key).map(|item| &item.route),
                Node::Segments(segments) => match cursor.meets(&segments.text) {
                    Meeting::Same => return segments.here.as_ref().map(|item| &item.route),
                    _ if cursor.pass(&segments.text) => segments.below.as_deref()?,
                    _ => return None,
                },
                Node::Split(split) => split.branch(cursor.branch(|s| self.hasher.hash_one(s)))?,
            };
        }
    }

    /// Adds a route, or puts it in the place of the one with its key, which is returned.
    pub(super) fn insert(&mut self, item: Item) -> Option<Arc<Route>> {
        let added = usize::from(self.get(&item.key).is_none());
        let key = Arc::clone(&item.key);
        let mut cursor = Cursor::new(&key);
        let Some(mut node) = self.root.as_mut() else {
            self.root = Some(Node::leaf(vec![item], 0));
            return None;
        };
        loop {
            let current = Arc::make_mut(node);
            if let Node::Segments(segments) = current
                && let Meeting::Apart(shared) = cursor.meets(&segments.text)
            {
                current.part(shared, &cursor, &self.hasher);
            }
            match current {
                Node::Leaf(_) => return current.insert_here(item, &cursor, &self.hasher),
                Node::Segments(segments) => {
                    segments.len += added;
                    if !cursor.pass(&segments.text) {
                        return segments.here.replace(item).map(|old| old.route);
                    }
                    node = segments
                        .below
                        .get_or_insert_with(|| Node::leaf(Vec::new(), cursor.at()));
                }
                Node::Split(split) => {
                    split.len += added;
                    let branch = cursor.branch(|s| self.hasher.hash_one(s));
                    match split.branches.get_mut(branch)? {
                        Some(below) => node = below,
                        empty => {
                            *empty = Some(Node::leaf(vec![item], cursor.at()));
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Makes this the tree of these routes, whose keys are all different: quicker than one by one.
    pub(super) fn fill(&mut self, items: Vec<Item>) {
        let segments = |item: &Item| item.key.bytes().filter(|byte| *byte == b'/').count();
        let (items, deep): (Vec<_>, Vec<_>) = items
            .into_iter()
            .partition(|item| segments(item) <= MOST_BUILT);
        let is_any = !items.is_empty();
        self.root = is_any.then(|| Arc::new(Node::build(items, 0, 0, &self.hasher)));
        for item in deep {
            self.insert(item);
        }
    }

    /// Removes the route with this key.
    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Route>> {
        let found = Arc::clone(self.get(key)?);
        let mut cursor = Cursor::new(key);
        let mut place = &mut self.root;
        loop {
            let left = place.as_deref()?.len() - 1;
            if left == 0 {
                *place = None;
                return Some(found);
            }
            let node = place.as_mut()?;
            if left <= JOIN_MAX && !matches!(**node, Node::Leaf(_)) {
                let items = node
                    .items()
                    .filter(|item| *item.key != *key)
                    .cloned()
                    .collect();
                *node = Node::leaf(items, cursor.at());
                return Some(found);
            }
            match Arc::make_mut(node) {
                Node::Leaf(leaf) => return leaf.remove(key, cursor.at()),
                Node::Segments(segments) => {
                    segments.len = left;
                    if !cursor.pass(&segments.text) {
                        return segments.here.take().map(|item| item.route);
                    }
                    place = &mut segments.below;
                }
                Node::Split(split) => {
                    split.len = left;
                    let branch = cursor.branch(|s| self.hasher.hash_one(s));
                    place = split.branches.get_mut(branch)?;
                }
            }
        }
    }

    /// All routes, in no particular order.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.root
            .iter()
            .flat_map(|root| root.items())
            .map(|item| &item.route)
    }
}

#[cfg(test)]
mod check;
