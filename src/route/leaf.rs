//! The leaves of the tree: a few routes, found by matchit.

use std::sync::Arc;

use matchit::Router;

use super::Route;
use super::key::{Item, encloses, first_segment};

/// The most routes in one leaf. Measured (`benches/route_table.rs`): leaves of 32 make a change up to
/// four times as dear, leaves of 8 make a table of a million routes a tenth heavier.
pub(super) const LEAF_MAX: usize = 16;

/// At most [`LEAF_MAX`] routes, filed under what the nodes above do not stand for of their keys.
///
/// Each route is one matchit pattern, `<rest>/{*rest}`, whose value is the route's place in `items`;
/// so a new target for a known key leaves the routers as they are. Routes that lie one within the
/// other go to different routers, by how many others of this leaf enclose them: asked from the
/// innermost on, the first that matches is the longest prefix, and matchit never has to keep a place to
/// come back to, for which it would allocate.
#[derive(Clone)]
pub(super) struct Leaf {
    items: Vec<Item>,
    routers: Option<Arc<[Router<usize>]>>,
    firsts: Firsts,
}

/// By some bits of a hash, which keys have a first segment: none, the one at a place, or several. So a
/// router is asked only where there is a choice: neither for what is not here, such as a host without
/// routes of its own, nor for a route whose first segment has these bits alone. Each router's node that is
/// not visited is some lines of memory not fetched, in a table that is larger than a cache.
#[derive(Clone)]
struct Firsts([u8; 64]);

const NONE: u8 = u8::MAX;
const SEVERAL: u8 = NONE - 1;

impl Leaf {
    /// A leaf of these routes, the first `at` bytes of whose keys the nodes above stand for.
    pub(super) fn new(items: Vec<Item>, at: usize) -> Self {
        let mut leaf = Self {
            items,
            routers: None,
            firsts: Firsts::NONE,
        };
        leaf.file(at);
        leaf
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn into_items(self) -> Vec<Item> {
        self.items
    }

    /// The route with the longest prefix of `text`, which has the tail of a [`Probe`](super::key::Probe)
    /// and whose first `at` bytes the nodes above stand for.
    pub(super) fn find(&self, text: &str, at: usize) -> Option<&Item> {
        let rest = text.get(at..)?;
        match self.firsts.get(rest) {
            NONE => return None,
            SEVERAL => {}
            place => {
                let item = self.items.get(usize::from(place))?;
                return takes(&item.key, text).then_some(item);
            }
        }
        let Some(routers) = &self.routers else {
            return self.scan(text);
        };
        let place = routers
            .iter()
            .rev()
            .find_map(|router| router.at(rest).ok())?;
        self.items.get(*place.value)
    }

    /// Looks a prefix up without matchit, in case that it refused a pattern.
    fn scan(&self, text: &str) -> Option<&Item> {
        let matching = self.items.iter().filter(|item| takes(&item.key, text));
        matching.max_by_key(|item| item.key.len())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Item> {
        self.items.iter().find(|item| *item.key == *key)
    }

    /// Puts a route in the place of the one with its key; hands it back if there is none.
    pub(super) fn replace(&mut self, item: Item) -> Result<Arc<Route>, Item> {
        match self.items.iter_mut().find(|known| known.key == item.key) {
            Some(known) => Ok(std::mem::replace(&mut known.route, item.route)),
            None => Err(item),
        }
    }

    /// Adds a route whose key the leaf does not have.
    pub(super) fn add(&mut self, item: Item, at: usize) {
        let encloses_some = self
            .items
            .iter()
            .any(|known| encloses(&item.key, &known.key));
        let rank = rank(&self.items, &item.key);
        let pattern = pattern(&item.key, at);
        let place = self.items.len();
        self.firsts.add(item.key.get(at..).unwrap_or(""), place);
        self.items.push(item);
        let added = match &mut self.routers {
            Some(routers) if !encloses_some && rank < routers.len() => Arc::make_mut(routers)
                .get_mut(rank)
                .is_some_and(|router| router.insert(pattern, place).is_ok()),
            _ => false,
        };
        if !added {
            self.file(at);
        }
    }

    /// Removes a route. The routers are made anew: matchit keeps the nodes of what it removes.
    pub(super) fn remove(&mut self, key: &str, at: usize) -> Option<Arc<Route>> {
        let place = self.items.iter().position(|item| *item.key == *key)?;
        let removed = self.items.remove(place);
        self.file(at);
        Some(removed.route)
    }

    /// Makes anew what is derived from the routes.
    fn file(&mut self, at: usize) {
        self.firsts = Firsts::NONE;
        for (place, item) in self.items.iter().enumerate() {
            self.firsts.add(item.key.get(at..).unwrap_or(""), place);
        }
        self.routers = routers(&self.items, at);
    }
}

/// Whether a key takes a text that has the tail of a [`Probe`](super::key::Probe): something always follows.
fn takes(key: &str, text: &str) -> bool {
    let rest = text.strip_prefix(key);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// How many routes enclose this one.
fn rank(items: &[Item], key: &str) -> usize {
    items
        .iter()
        .filter(|other| *other.key != *key && encloses(&other.key, key))
        .count()
}

/// A router for each rank; `None` if matchit refuses a pattern, which it has no reason to.
fn routers(items: &[Item], at: usize) -> Option<Arc<[Router<usize>]>> {
    let mut routers = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let rank = rank(items, &item.key);
        if routers.len() <= rank {
            routers.resize_with(rank + 1, Router::new);
        }
        routers
            .get_mut(rank)?
            .insert(pattern(&item.key, at), place)
            .ok()?;
    }
    // A clone has no spare capacity.
    Some(routers.as_slice().into())
}

impl Firsts {
    const NONE: Self = Self([NONE; 64]);

    fn add(&mut self, text: &str, place: usize) {
        if let Some(known) = self.0.get_mut(index(text)) {
            *known = match u8::try_from(place) {
                Ok(place @ ..SEVERAL) if *known == NONE => place,
                _ => SEVERAL,
            };
        }
    }

    fn get(&self, text: &str) -> u8 {
        self.0.get(index(text)).copied().unwrap_or(SEVERAL)
    }
}

/// Six bits of a text's first segment. Names can be chosen that share them; they gain nothing but the
/// work that there would be without.
fn index(text: &str) -> usize {
    let segment = first_segment(text).as_bytes();
    let length = segment.len() as u64;
    let mix = |sum: u64, byte: &u8| (sum.rotate_left(8) ^ u64::from(*byte)).wrapping_mul(MIX);
    usize::from((segment.iter().take(8).fold(length, mix) >> 58) as u8)
}

/// An odd number whose bits are well mixed (2^64 divided by the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn pattern(key: &str, at: usize) -> String {
    format!("{}/{{*rest}}", key.get(at..).unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::super::{Generation, HostPattern, Instance, PathPrefix, RouteKey, Target};
    use super::*;

    fn item(key: &str) -> Item {
        let route_key = RouteKey {
            host: HostPattern::Any,
            prefix: PathPrefix::parse("/").unwrap(),
        };
        let target = Target::new("localhost", NonZeroU16::MIN, []);
        let instance = Arc::new(Instance::new(target));
        let route = Route::new(route_key, instance, Generation(0));
        Item {
            key: key.into(),
            route: Arc::new(route),
        }
    }

    fn found<'l>(leaf: &'l Leaf, text: &str) -> Option<&'l str> {
        leaf.find(text, 2).map(|item| &*item.key)
    }

    #[test]
    fn the_innermost_is_found_in_whatever_order_they_came() {
        let mut keys = ["*/a", "*/a/b", "*/a/b/c", "*/ab", "*/a/c"];
        for _ in 0..keys.len() {
            keys.rotate_left(1);
            let mut leaf = Leaf::new(Vec::new(), 2);
            for key in keys {
                leaf.add(item(key), 2);
            }
            assert_eq!(leaf.routers.as_ref().unwrap().len(), 3);
            assert_eq!(found(&leaf, "*/a/b/c/d/-"), Some("*/a/b/c"));
            assert_eq!(found(&leaf, "*/a/b/-"), Some("*/a/b"));
            assert_eq!(found(&leaf, "*/a/bc/-"), Some("*/a"));
            assert_eq!(found(&leaf, "*/abc/-"), None);
            assert!(leaf.remove("*/a", 2).is_some());
            assert_eq!(leaf.routers.as_ref().unwrap().len(), 2);
            assert_eq!(found(&leaf, "*/a/bc/-"), None);
        }
    }

    #[test]
    fn nothing_is_found_by_the_tail() {
        let leaf = Leaf::new(
            vec![item("*/a"), item("*/b//-"), item("*/b/{x"), item("*/-")],
            2,
        );
        for (text, expected) in [
            ("*/a/-", Some("*/a")),
            ("*/-/-", Some("*/-")),
            ("*/-", None),
            ("*/b//-", None),
            ("*/b//-/-", Some("*/b//-")),
        ] {
            assert_eq!(found(&leaf, text), expected, "{text}");
        }
    }

    #[test]
    fn a_pattern_that_matchit_refuses_is_found_all_the_same() {
        let mut leaf = Leaf::new(vec![item("*/a")], 2);
        leaf.add(item("*/a/{x"), 2);
        assert!(leaf.routers.is_none());
        assert_eq!(found(&leaf, "*/a/{x/y/-"), Some("*/a/{x"));
        assert_eq!(found(&leaf, "*/a/{y/-"), Some("*/a"));
        assert!(leaf.remove("*/a/{x", 2).is_some());
        assert!(leaf.routers.is_some());
    }
}
