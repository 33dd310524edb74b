//! The inner nodes of the tree.

use std::hash::BuildHasher;
use std::mem;
use std::sync::Arc;

use super::Route;
use super::key::{BITS, Cursor, Item, branch_at, first_segment, shared_segments};
use super::leaf::{LEAF_MAX, Leaf};

/// A node left with this many routes becomes a leaf again: half of what a leaf holds, so that one
/// route that comes and goes does not split and join each time.
pub(super) const JOIN_MAX: usize = LEAF_MAX / 2;

const BRANCHES: usize = 1 << BITS;

#[derive(Clone)]
pub(super) enum Node {
    Leaf(Leaf),
    Segments(Segments),
    Split(Split),
}

/// One or more segments that all routes below share.
#[derive(Clone)]
pub(super) struct Segments {
    pub(super) text: Box<str>,
    /// The route whose key ends with these segments.
    pub(super) here: Option<Item>,
    /// The others; `None` only while the node is taken apart.
    pub(super) below: Option<Arc<Node>>,
    pub(super) len: usize,
}

/// Branches by some bits of the hash of the next segment. The hash is keyed, so that nobody can choose
/// names that fall into one branch.
#[derive(Clone, Default)]
pub(super) struct Split {
    pub(super) branches: [Option<Arc<Node>>; BRANCHES],
    pub(super) len: usize,
}

impl Node {
    pub(super) fn leaf(items: Vec<Item>, at: usize) -> Arc<Self> {
        Arc::new(Self::Leaf(Leaf::new(items, at)))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.items().len(),
            Self::Segments(segments) => segments.len,
            Self::Split(split) => split.len,
        }
    }

    pub(super) fn items(&self) -> Items<'_> {
        Items {
            nodes: vec![self],
            items: Vec::new(),
        }
    }

    /// Adds a route to this leaf, or splits it.
    pub(super) fn insert_here<S: BuildHasher>(
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

    /// The nodes for these routes of different keys, the first `at` bytes of which, and `shift` bits of
    /// the hash of the segment behind them, the nodes above stand for. Goes as deep as the segments that
    /// more routes share than a leaf holds.
    pub(super) fn build<S: BuildHasher>(
        items: Vec<Item>,
        at: usize,
        shift: u32,
        hasher: &S,
    ) -> Self {
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
    pub(super) fn part<S: BuildHasher>(
        &mut self,
        shared: Option<usize>,
        cursor: &Cursor<'_>,
        hasher: &S,
    ) {
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
            let is_there = !group.is_empty();
            is_there.then(|| Arc::new(Node::build(group, at, shift + BITS, hasher)))
        });
        Self { branches, len }
    }

    pub(super) fn branch(&self, branch: usize) -> Option<&Node> {
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
pub(super) struct Items<'t> {
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
