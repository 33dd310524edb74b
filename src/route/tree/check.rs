//! The invariants of every tree.

use std::hash::BuildHasher;

use super::super::key::{BITS, branch_at, first_segment};
use super::super::leaf::LEAF_MAX;
use super::super::node::{JOIN_MAX, Node};
use super::Tree;

impl<S: BuildHasher> Tree<S> {
    /// Checks what every tree holds to, and tells how many nodes of each kind it has.
    pub(in super::super) fn check(&self) -> [usize; 3] {
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
