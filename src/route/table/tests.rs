use std::collections::BTreeMap;
use std::hash::Hasher;
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::super::{Generation, Instance, PathPrefix, Target};
use super::*;

fn host(text: &str) -> HostPattern {
    if text == "*" {
        HostPattern::Any
    } else {
        HostPattern::parse(text).unwrap()
    }
}

fn key(host_text: &str, prefix: &str) -> RouteKey {
    RouteKey {
        host: host(host_text),
        prefix: PathPrefix::parse(prefix).unwrap(),
    }
}

fn route(key: RouteKey, generation: u64) -> Arc<Route> {
    let target = Target::new("localhost", NonZeroU16::MIN, []);
    let instance = Arc::new(Instance::new(target));
    Arc::new(Route::new(key, instance, Generation(generation)))
}

fn table_of(case: CaseSensitivity, keys: &[(&str, &str)]) -> Table {
    let mut table = Table::new(case);
    for (host, prefix) in keys {
        table.insert(route(key(host, prefix), 0));
    }
    table.tree.check();
    table
}

fn found<S: BuildHasher>(table: &Table<S>, host: &str, path: &str) -> Option<String> {
    table
        .lookup(host, path)
        .map(|route| route.key().to_string())
}

#[test]
fn the_longest_prefix_of_whole_segments_wins() {
    let keys = [
        ("*", "/"),
        ("*", "/shop"),
        ("*", "/shop/cart"),
        ("*", "/shop//x"),
        ("*", "/-"),
    ];
    let table = table_of(CaseSensitivity::Insensitive, &keys);
    let cases = [
        ("/", "*/"),
        ("/shop", "*/shop"),
        ("/shop/", "*/shop"),
        ("/SHOP/Cart", "*/shop/cart"),
        ("/shop/cart/1", "*/shop/cart"),
        ("/shop/carts", "*/shop"),
        ("/shopping", "*/"),
        ("/shop//x/y", "*/shop//x"),
        ("/shop//y", "*/shop"),
        ("//shop", "*/"),
        ("/-", "*/-"),
        ("/{a}/%zz", "*/"),
    ];
    for (path, winner) in cases {
        assert_eq!(
            found(&table, "a.com", path).as_deref(),
            Some(winner),
            "{path}"
        );
    }
}

#[test]
fn an_exact_host_goes_before_a_wildcard_and_both_before_any() {
    let keys = [
        ("a.b.com", "/x"),
        ("*.b.com", "/x/y"),
        ("*.com", "/x/y"),
        ("*.com", "/w"),
        ("*", "/x/y/z"),
        ("[::1]", "/x"),
    ];
    let table = table_of(CaseSensitivity::Insensitive, &keys);
    let cases = [
        ("a.b.com", "/x/y/z", Some("a.b.com/x")),
        ("a.b.com", "/w", Some("*.com/w")),
        ("c.b.com", "/x/y/z", Some("*.b.com/x/y")),
        ("d.c.b.com", "/x/y", Some("*.b.com/x/y")),
        ("b.com", "/x/y", Some("*.com/x/y")),
        ("com", "/x/y", None),
        ("com", "/x/y/z", Some("*/x/y/z")),
        ("[::1]", "/x/y/z", Some("[::1]/x")),
        ("", "/x/y/z", Some("*/x/y/z")),
        ("", "/x", None),
    ];
    for (host, path, winner) in cases {
        assert_eq!(
            found(&table, host, path).as_deref(),
            winner,
            "{host} {path}"
        );
    }
}

#[test]
fn case_counts_if_the_table_says_so() {
    let keys = [("*", "/Shop"), ("*", "/shop"), ("A.com", "/Shop")];
    let table = table_of(CaseSensitivity::Sensitive, &keys);
    assert_eq!(table.len(), 3);
    assert_eq!(found(&table, "", "/Shop/x").as_deref(), Some("*/Shop"));
    assert_eq!(
        found(&table, "a.com", "/Shop").as_deref(),
        Some("a.com/Shop")
    );
    assert_eq!(found(&table, "", "/SHOP"), None);
    assert_eq!(table_of(CaseSensitivity::Insensitive, &keys).len(), 2);
}

#[test]
fn a_path_that_is_none_finds_nothing() {
    let table = table_of(CaseSensitivity::Insensitive, &[("*", "/"), ("ab", "/")]);
    assert_eq!(found(&table, "a", "b"), None);
    assert_eq!(found(&table, "ab", ""), None);
}

#[test]
fn the_same_key_replaces() {
    let mut table = table_of(CaseSensitivity::Insensitive, &[("a.com", "/x")]);
    let replaced = table.insert(route(key("A.com", "/X/"), 7));
    assert_eq!(replaced.unwrap().generation, Generation(0));
    assert_eq!(
        table.get(&key("a.com", "/x")).unwrap().generation,
        Generation(7)
    );
    assert_eq!(table.len(), 1);
    assert_eq!(
        table.remove(&key("a.com", "/x")).unwrap().generation,
        Generation(7)
    );
    assert_eq!(table.remove(&key("a.com", "/x")), None);
    assert!(table.is_empty());
}

/// Nests of prefixes a thousand segments deep, on a stack that recursion would overflow.
#[test]
fn deep_prefixes_fit_on_a_small_stack() {
    let work = || {
        let mut table = Table::default();
        let deepest = "/a".repeat(1024);
        for depth in 1..=1024 {
            table.insert(route(key("*", &deepest[..2 * depth]), depth as u64));
        }
        let before = table.clone();
        for name in 0..17 {
            let sharing = format!("{}/{name}", "/a".repeat(1000));
            table.insert(route(key("*", &sharing), 0));
        }
        for depth in 1..=1024 {
            let at = table
                .lookup("", &format!("{}/b", &deepest[..2 * depth]))
                .unwrap();
            assert_eq!(at.generation, Generation(depth as u64));
        }
        for depth in 1..=1000 {
            assert!(table.remove(&key("*", &deepest[..2 * depth])).is_some());
        }
        table.tree.check();
        assert_eq!((before.len(), table.len()), (1024, 41));
    };
    std::thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_table_grows_into_nodes_and_shrinks_back() {
    let mut table = Table::default();
    let names: Vec<_> = (0..5_000)
        .map(|n| key("*", &format!("/user/{n}")))
        .collect();
    for name in &names {
        table.insert(route(name.clone(), 0));
    }
    let [leaves, segments, splits] = table.tree.check();
    assert!(
        leaves > 300 && segments >= 1 && splits > 20,
        "{leaves} {segments} {splits}"
    );
    for name in &names[8..] {
        assert!(table.remove(name).is_some());
    }
    assert_eq!(table.tree.check(), [1, 0, 0]);
    for name in &names[..8] {
        assert!(table.remove(name).is_some());
    }
    assert_eq!(table.tree.check(), [0, 0, 0]);
}

/// Few hashes, or one: what must still be right when names collide.
#[derive(Clone)]
struct FewHashes(u64);

struct Few(u64, u64);

impl BuildHasher for FewHashes {
    type Hasher = Few;

    fn build_hasher(&self) -> Few {
        Few(0, self.0)
    }
}

impl Hasher for Few {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, &b| sum + u64::from(b));
    }

    fn finish(&self) -> u64 {
        (self.0 % self.1) << 60
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(RouteKey),
    Remove(RouteKey),
    RemoveSome(usize),
    Keep,
    Lookup(String, String),
}

/// The naive table: a list, asked host by host, and of all prefixes that match the longest is taken.
#[derive(Clone, Default)]
struct List {
    routes: BTreeMap<(String, Vec<String>), Arc<Route>>,
    case: CaseSensitivity,
}

impl List {
    fn segments(&self, path: &str) -> Vec<String> {
        let path = path.replace('|', "%7C").replace("%c3", "%C3");
        let path = match self.case {
            CaseSensitivity::Insensitive => path.to_lowercase(),
            CaseSensitivity::Sensitive => path,
        };
        path.split('/').skip(1).map(str::to_owned).collect()
    }

    fn key(&self, key: &RouteKey) -> (String, Vec<String>) {
        let segments = if key.prefix.is_root() {
            vec![]
        } else {
            self.segments(key.prefix.as_str())
        };
        (key.host.to_string(), segments)
    }

    fn lookup(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let labels: Vec<_> = host.split('.').collect();
        let mut hosts = vec![host.to_owned()];
        hosts.extend((1..labels.len()).map(|i| format!("*.{}", labels[i..].join("."))));
        hosts.push("*".into());
        let path = self.segments(path);
        hosts.iter().find_map(|host| {
            let of_host = self
                .routes
                .iter()
                .filter(|((h, p), _)| h == host && path.starts_with(p));
            of_host
                .max_by_key(|((_, prefix), _)| prefix.len())
                .map(|(_, route)| route)
        })
    }
}

fn text_of_segments(most: usize) -> impl Strategy<Value = String> {
    let names = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "A", "", "*", "ab", "-", "*rest", "%C3", "%c3", "a|", "%7C"]).prop_map(str::to_owned),
        3 => (0..80_u8).prop_map(|n| format!("n{n}")),
    ];
    prop::collection::vec(names, 0..most).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn route_key() -> impl Strategy<Value = RouteKey> {
    let hosts = prop::sample::select(vec![
        "*",
        "*",
        "*",
        "a.com",
        "b.a.com",
        "com",
        "*.a.com",
        "*.com",
        "*.b.a.com",
    ]);
    (hosts, text_of_segments(5)).prop_map(|(host, prefix)| key(host, &prefix))
}

fn step() -> impl Strategy<Value = Step> {
    let hosts = prop::sample::select(vec!["a.com", "b.a.com", "c.b.a.com", "com", "x", ""]);
    prop_oneof![
        12 => route_key().prop_map(Step::Insert),
        2 => route_key().prop_map(Step::Remove),
        4 => any::<usize>().prop_map(Step::RemoveSome),
        1 => Just(Step::Keep),
        8 => (hosts, text_of_segments(7)).prop_map(|(h, p)| Step::Lookup(h.into(), p)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..400)
}

/// Does the steps on a table and on the list, and compares all answers.
fn run<S: BuildHasher + Clone>(case: CaseSensitivity, hasher: S, steps: Vec<Step>) {
    let mut table = Table::with_hasher(case, hasher);
    let mut list = List {
        case,
        ..List::default()
    };
    let mut kept = Vec::new();
    for (generation, step) in (0..).zip(steps) {
        match step {
            Step::Insert(key) => {
                let new = route(key.clone(), generation);
                let expected = list.routes.insert(list.key(&key), Arc::clone(&new));
                assert_eq!(table.insert(new), expected);
            }
            Step::Remove(key) => remove(&mut table, &mut list, &key),
            Step::RemoveSome(place) => {
                let key = list
                    .routes
                    .values()
                    .nth(place % list.routes.len().max(1))
                    .map(|r| r.key());
                if let Some(key) = key {
                    remove(&mut table, &mut list, &key);
                }
            }
            Step::Keep => kept.push((table.clone(), list.clone())),
            Step::Lookup(host, path) => {
                assert_eq!(
                    table.lookup(&host, &path),
                    list.lookup(&host, &path),
                    "{host} {path}"
                );
            }
        }
        assert_eq!(table.len(), list.routes.len());
    }
    kept.push((table.clone(), list.clone()));
    for (table, list) in &kept {
        same(table, list);
    }
    // The same routes at once, and some of them twice.
    let mut filled = table.clone();
    let older = list.routes.values().take(5).map(|old| route(old.key(), 0));
    filled.fill(older.chain(list.routes.values().cloned()));
    same(&filled, &list);
    assert_eq!(
        (filled.exact, filled.wildcard),
        (table.exact, table.wildcard)
    );
    for key in list.routes.clone().values().map(|route| route.key()) {
        remove(&mut table, &mut list, &key);
        table.tree.check();
    }
    assert_eq!(table.tree.check(), [0; 3]);
    assert_eq!((table.exact, table.wildcard), (0, 0));
}

#[test]
fn a_table_is_filled_with_keys_of_any_depth() {
    let mut table = table_of(CaseSensitivity::Insensitive, &[("*", "/before")]);
    let mut list = List::default();
    let prefix = |depth: usize, place: usize| format!("{}/{place}", "/a".repeat(depth));
    for depth in (0..1000).step_by(37) {
        for place in 0..40 {
            let key = key("*", &prefix(depth, place));
            let route = route(key.clone(), 1);
            list.routes.insert(list.key(&key), route);
        }
    }
    table.fill(list.routes.values().cloned());
    same(&table, &list);
    table.fill([]);
    assert!(table.is_empty());
}

fn remove<S: BuildHasher + Clone>(table: &mut Table<S>, list: &mut List, key: &RouteKey) {
    assert_eq!(table.remove(key), list.routes.remove(&list.key(key)));
    assert_eq!(table.get(key), None);
}

fn same<S: BuildHasher>(table: &Table<S>, list: &List) {
    table.tree.check();
    let mut routes: Vec<_> = table.iter().map(|route| route.generation).collect();
    let mut expected: Vec<_> = list.routes.values().map(|route| route.generation).collect();
    routes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(routes, expected);
    for route in list.routes.values() {
        assert!(
            table
                .get(&route.key())
                .is_some_and(|found| Arc::ptr_eq(found, route))
        );
        let host = route.host.to_string().replace('*', "z");
        let path = format!("{}/x", route.prefix);
        assert_eq!(
            table.lookup(&host, &path),
            list.lookup(&host, &path),
            "{host} {path}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn answers_as_a_list_would(steps in steps()) {
        run(CaseSensitivity::Insensitive, RandomState::new(), steps);
    }

    #[test]
    fn answers_as_a_list_would_by_case(steps in steps()) {
        run(CaseSensitivity::Sensitive, RandomState::new(), steps);
    }

    #[test]
    fn answers_as_a_list_would_with_few_hashes(steps in steps(), hashes in 1..5_u64) {
        run(CaseSensitivity::Insensitive, FewHashes(hashes), steps);
    }
}
