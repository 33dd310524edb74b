//! The tree under the table: a persistent hash trie over the segments of the routes' keys, with small
//! [`Leaf`]s. A change copies the nodes on its own path, as far as another version shares them; what is
//! not on it stays shared. Every walk is a loop, since keys can be a thousand segments deep.

use std::hash::BuildHasher;
use std::mem;
use std::sync::Arc;

use super::Route;
use super::key::{BITS, Cursor, Item, Meeting, branch_at, first_segment, shared_segments};
use super::leaf::{LEAF_MAX, Leaf};

/// A node left with this many routes becomes a leaf again: half of what a leaf holds, so that one
/// route that comes and goes does not split and join each time.
const JOIN_MAX: usize = LEAF_MAX / 2;

const BRANCHES: usize = 1 << BITS;

/// A map from keys to routes that finds the longest key in front of a text.
#[derive(Clone)]
pub(super) struct Tree<S> {
    root: Option<Arc<Node>>,
    hasher: S,
}

#[derive(Clone)]
enum Node {
    Leaf(Leaf),
    Segments(Segments),
    Split(Split),
}

/// One or more segments that all routes below share.
#[derive(Clone)]
struct Segments {
    text: Box<str>,
    /// The route whose key ends with these segments.
    here: Option<Item>,
    /// The others; `None` only while the node is taken apart.
    below: Option<Arc<Node>>,
    len: usize,
}

/// Branches by some bits of the hash of the next segment. The hash is keyed, so that nobody can choose
/// names that fall into one branch.
#[derive(Clone, Default)]
struct Split {
    branches: [Option<Arc<Node>>; BRANCHES],
    len: usize,
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

impl Node {
    fn leaf(items: Vec<Item>, at: usize) -> Arc<Self> {
        Arc::new(Self::Leaf(Leaf::new(items, at)))
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.items().len(),
            Self::Segments(segments) => segments.len,
            Self::Split(split) => split.len,
        }
    }

    fn items(&self) -> Items<'_> {
        Items {
            nodes: vec![self],
            items: Vec::new(),
        }
    }

    /// Adds a route to this leaf, or splits it.
    fn insert_here<S: BuildHasher>(
        &mut self,
        item: Item,
        cursor: &Cursor<'_>,
        hasher: &S,
    ) -> Option<Arc<Route>> {
        let Self::Leaf(leaf) = self else { return None };
        let item = match leaf.replace(item) {
            Ok(replaced) => return Some(replaced),
            Err(item) => item,
        };
        if leaf.items().len() < LEAF_MAX {
            leaf.add(item, cursor.at());
            return None;
        }
        let mut items = mem::replace(leaf, Leaf::new(Vec::new(), 0)).into_items();
        items.push(item);
        *self = Self::build(items, cursor.at(), cursor.shift(), hasher);
        None
    }

    /// The nodes for these routes, the first `at` bytes of whose keys, and `shift` bits of the hash of
    /// the segment behind them, the nodes above stand for. Goes as deep as the hash has bits, for a
    /// leaf is never more than one route too full.
    fn build<S: BuildHasher>(items: Vec<Item>, at: usize, shift: u32, hasher: &S) -> Self {
        if items.len() <= LEAF_MAX {
            return Self::Leaf(Leaf::new(items, at));
        }
        if let Some(text) = shared_text(&items, at) {
            return Self::Segments(Segments::build(items, text, at, hasher));
        }
        if shift >= u64::BITS {
            return Self::Leaf(Leaf::new(items, at));
        }
        Self::Split(Split::build(items, at, shift, hasher))
    }

    /// Makes room for a key that leaves these segments midway: behind what is shared, or at once.
    fn part<S: BuildHasher>(&mut self, shared: Option<usize>, cursor: &Cursor<'_>, hasher: &S) {
        match (&mut *self, shared) {
            (Self::Segments(segments), Some(shared)) => segments.cut(shared),
            (Self::Segments(segments), None) if cursor.shift() < u64::BITS => {
                let hash = hasher.hash_one(first_segment(&segments.text));
                let mut split = Split {
                    len: segments.len,
                    ..Split::default()
                };
                if let Some(branch) = split.branches.get_mut(branch_at(hash, cursor.shift())) {
                    let old = mem::replace(self, Self::Split(Split::default()));
                    *branch = Some(Arc::new(old));
                }
                *self = Self::Split(split);
            }
            // Two segments with one hash: there is nothing left to tell them apart by.
            (Self::Segments(_), None) => {
                let items = self.items().cloned().collect();
                *self = Self::Leaf(Leaf::new(items, cursor.at()));
            }
            _ => {}
        }
    }
}

/// The segments behind the first `at` bytes that all these keys share.
fn shared_text(items: &[Item], at: usize) -> Option<Box<str>> {
    let (first, others) = items.split_first()?;
    let first = first.key.get(at..)?;
    let mut shared = first.len();
    for other in others {
        shared = shared.min(shared_segments(first, other.key.get(at..)?)?);
    }
    first.get(..shared).map(Box::from)
}

impl Segments {
    fn build<S: BuildHasher>(items: Vec<Item>, text: Box<str>, at: usize, hasher: &S) -> Self {
        let len = items.len();
        let end = at + text.len();
        let (mut here, below): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| item.key.len() == end);
        let below = Some(Arc::new(Node::build(below, end + 1, 0, hasher)));
        Self {
            text,
            here: here.pop(),
            below,
            len,
        }
    }

    /// Leaves the first `shared` bytes here and moves the rest into a node below.
    fn cut(&mut self, shared: usize) {
        let (Some(upper), Some(lower)) = (self.text.get(..shared), self.text.get(shared + 1..))
        else {
            return;
        };
        let (upper, lower) = (Box::from(upper), Box::from(lower));
        let (here, below) = (self.here.take(), self.below.take());
        let below = Self {
            text: lower,
            here,
            below,
            len: self.len,
        };
        self.text = upper;
        self.below = Some(Arc::new(Node::Segments(below)));
    }
}

impl Split {
    fn build<S: BuildHasher>(items: Vec<Item>, at: usize, shift: u32, hasher: &S) -> Self {
        let len = items.len();
        let mut groups: [Vec<Item>; BRANCHES] = Default::default();
        for item in items {
            let hash = hasher.hash_one(first_segment(item.key.get(at..).unwrap_or("")));
            if let Some(group) = groups.get_mut(branch_at(hash, shift)) {
                group.push(item);
            }
        }
        let branches = groups.map(|group| {
            let below = || Arc::new(Node::build(group.clone(), at, shift + BITS, hasher));
            (!group.is_empty()).then(below)
        });
        Self { branches, len }
    }

    fn branch(&self, branch: usize) -> Option<&Node> {
        self.branches.get(branch)?.as_deref()
    }
}

/// Takes the nodes below apart in a loop: they can be thousands deep, and a thread's stack is not.
impl Drop for Segments {
    fn drop(&mut self) {
        let mut nodes: Vec<_> = self.below.take().into_iter().collect();
        while let Some(node) = nodes.pop() {
            match Arc::into_inner(node) {
                Some(Node::Segments(mut segments)) => nodes.extend(segments.below.take()),
                Some(Node::Split(mut split)) => {
                    nodes.extend(split.branches.iter_mut().filter_map(Option::take));
                }
                Some(Node::Leaf(_)) | None => {}
            }
        }
    }
}

/// All routes at and below a node.
struct Items<'t> {
    nodes: Vec<&'t Node>,
    items: Vec<&'t Item>,
}

impl<'t> Iterator for Items<'t> {
    type Item = &'t Item;

    fn next(&mut self) -> Option<&'t Item> {
        loop {
            if let Some(item) = self.items.pop() {
                return Some(item);
            }
            match self.nodes.pop()? {
                Node::Leaf(leaf) => self.items.extend(leaf.items()),
                Node::Segments(segments) => {
                    self.items.extend(&segments.here);
                    self.nodes.extend(segments.below.as_deref());
                }
                Node::Split(split) => {
                    self.nodes
                        .extend(split.branches.iter().filter_map(Option::as_deref));
                }
            }
        }
    }
}

#[cfg(test)]
impl<S: BuildHasher> Tree<S> {
    /// Checks what every tree holds to, and tells how many nodes of each kind it has.
    pub(super) fn check(&self) -> [usize; 3] {
        let mut kinds = [0; 3];
        let mut nodes: Vec<_> = self
            .root
            .iter()
            .map(|node| (&**node, String::new(), 0, true))
            .collect();
        while let Some((node, path, shift, is_root)) = nodes.pop() {
            assert_eq!(node.len(), node.items().count());
            assert!(node.items().all(|item| item.key.starts_with(&path)));
            assert!(node.len() > 0 || is_root, "an empty node");
            match node {
                Node::Leaf(leaf) => {
                    kinds[0] += 1;
                    assert!(
                        leaf.items().len() <= LEAF_MAX || shift >= u64::BITS,
                        "too full"
                    );
                }
                Node::Segments(segments) => {
                    kinds[1] += 1;
                    assert!(node.len() > JOIN_MAX);
                    let end = format!("{path}{}", segments.text);
                    assert!(segments.here.iter().all(|item| *item.key == *end));
                    let below = segments.below.as_deref().expect("a node below");
                    nodes.push((below, format!("{end}/"), 0, false));
                }
                Node::Split(split) => {
                    kinds[2] += 1;
                    assert!(node.len() > JOIN_MAX);
                    for (branch, below) in split.branches.iter().enumerate() {
                        let Some(below) = below.as_deref() else {
                            continue;
                        };
                        for item in below.items() {
                            let hash = self.hasher.hash_one(first_segment(&item.key[path.len()..]));
                            assert_eq!(branch_at(hash, shift), branch);
                        }
                        nodes.push((below, path.clone(), shift + BITS, false));
                    }
                }
            }
        }
        kinds
    }
}
