//! Limits on the table, beside what the table is.

use std::num::NonZeroU16;

use super::*;
use crate::registry::step::{Cause, Move};
use crate::route::{Activity, Generation, PathPrefix, RouteKey, Target};

fn route(prefix: &str, owners: &[Option<&str>]) -> Arc<Route> {
    let key = RouteKey {
        host: HostPattern::Any,
        prefix: PathPrefix::parse(prefix).unwrap(),
    };
    let instances = owners.iter().map(|owner| {
        let port = NonZeroU16::new(4000).unwrap();
        let mut instance = Instance::new(Target::new("localhost", port, Vec::new()));
        instance.owner = owner.map(Arc::from);
        Arc::new(instance)
    });
    let activity = Arc::new(Activity::new(0));
    Arc::new(Route::with_instances(key, instances, Generation(1), activity).unwrap())
}

fn moved_in(table: &Usage, before: Option<Arc<Route>>, after: Option<Arc<Route>>) -> Usage {
    let cause = Cause::Put;
    let step = Step::Move(Move {
        before,
        after,
        cause,
    });
    Usage::change(&[step], [table, &Usage::default()])
}

fn moved(before: Option<Arc<Route>>, after: Option<Arc<Route>>) -> Usage {
    moved_in(&Usage::default(), before, after)
}

fn check(limits: &Limits, table: &Usage, change: &Usage) -> Option<(Limit, usize)> {
    let account = Account {
        limits,
        table,
        pending: &Usage::default(),
    };
    let refused = account.check(change).err()?;
    Some((refused.limit, refused.wanted))
}

#[test]
fn a_table_is_the_sum_of_its_changes() {
    let (a, b) = (
        route("/a", &[None, Some("x")]),
        route("/b", &[Some("x"), Some("x")]),
    );
    let other = route("/b", &[Some("y")]);
    let mut usage = Usage::default();
    let add = |usage: &mut Usage, before: Option<&Arc<Route>>, after: Option<&Arc<Route>>| {
        usage.add(&moved_in(usage, before.cloned(), after.cloned()));
    };
    add(&mut usage, None, Some(&a));
    add(&mut usage, None, Some(&b));
    assert_eq!(usage, Usage::of([&a, &b]));
    let own = usage.owner(&Some("x".into())).unwrap();
    assert_eq!((own.routes, own.instances, own.hosts), (2, 3, 1));
    add(&mut usage, Some(&b), Some(&other));
    assert_eq!(usage, Usage::of([&a, &other]));
    add(&mut usage, Some(&a), None);
    add(&mut usage, Some(&other), None);
    assert_eq!(usage, Usage::default());
}

/// The counts by hashes are those of sets, whatever comes and goes, in however large commits.
#[test]
fn hosts_are_counted_once_each() {
    let name = |number: usize| HostPattern::parse(&format!("h{number}.example.com")).unwrap();
    let owners = [None, Some("x"), Some("y")];
    let mut routes: HashMap<(usize, usize), Arc<Route>> = HashMap::new();
    let (mut table, mut pending) = (Usage::default(), Usage::default());
    for _ in 0..3000 {
        let key = (fastrand::usize(..5), fastrand::usize(..4));
        let after = fastrand::bool().then(|| {
            let count = 1 + fastrand::usize(..2);
            let owners: Vec<_> = (0..count).map(|_| owners[fastrand::usize(..3)]).collect();
            let mut route = Route::clone(&route(&format!("/{}", key.1), &owners));
            route.host = name(key.0);
            Arc::new(route)
        });
        let before = match &after {
            Some(route) => routes.insert(key, Arc::clone(route)),
            None => routes.remove(&key),
        };
        let step = Step::Move(Move {
            before,
            after,
            cause: Cause::Put,
        });
        let change = Usage::change(&[step], [&table, &pending]);
        pending.add(&change);
        if fastrand::u8(..) < 60 {
            table.add(&std::mem::take(&mut pending));
            assert_eq!(table, Usage::of(routes.values()));
        }
        let sum = |amounts: [Option<&Amount>; 2]| -> isize {
            amounts.iter().flatten().map(|amount| amount.hosts).sum()
        };
        let count = |owner: Option<&Owner>| {
            let is_theirs = |route: &Route| {
                owner.is_none_or(|owner| route.instances().any(|one| one.owner == *owner))
            };
            let hosts = routes
                .values()
                .filter(|route| is_theirs(route))
                .map(|route| &route.host);
            hosts
                .collect::<std::collections::HashSet<_>>()
                .len()
                .cast_signed()
        };
        assert_eq!(sum([Some(&table.total), Some(&pending.total)]), count(None));
        for owner in owners.map(|owner| owner.map(Arc::from)) {
            assert_eq!(
                sum([table.owner(&owner), pending.owner(&owner)]),
                count(Some(&owner))
            );
        }
    }
}

#[test]
fn only_what_adds_is_refused() {
    let limits = Limits {
        routes: 2,
        routes_per_owner: 1,
        instances: 3,
        instances_per_owner: 2,
        ..Limits::default()
    };
    let (a, b) = (route("/a", &[Some("x")]), route("/b", &[Some("y")]));
    let table = Usage::of([&a, &b]);
    let new = |owners: &[Option<&str>]| moved(None, Some(route("/c", owners)));
    let verdict = |change: &Usage| check(&limits, &table, change);
    assert_eq!(verdict(&new(&[Some("z")])), Some((Limit::Routes, 3)));
    let more = |owners: &[Option<&str>]| moved(Some(Arc::clone(&a)), Some(route("/a", owners)));
    assert_eq!(verdict(&more(&[Some("x"), Some("x")])), None);
    let three = [Some("x"); 3];
    assert_eq!(verdict(&more(&three)), Some((Limit::Instances, 4)));
    assert_eq!(
        verdict(&more(&[Some("y")])),
        Some((Limit::RoutesPerOwner, 2))
    );
    // A table that is above a limit may shrink, and stay as large as it is.
    let tight = Limits {
        routes: 1,
        ..limits
    };
    assert_eq!(check(&tight, &table, &moved(Some(b), None)), None);
    assert_eq!(check(&tight, &table, &more(&[Some("x")])), None);
}

#[test]
fn long_prefixes_weigh_more() {
    let limits = Limits {
        route_memory: 4000,
        ..Limits::default()
    };
    let add = |prefix: &str| moved(None, Some(route(prefix, &[None])));
    assert_eq!(check(&limits, &Usage::default(), &add("/a")), None);
    let long = add(&format!("/{}", "a".repeat(1000)));
    let refused = check(&limits, &Usage::default(), &long).unwrap();
    assert_eq!(refused.0, Limit::RouteMemory);
}

/// An owner costs its own bytes as long as it has any instance, in the table or in a commit under way.
#[test]
fn an_owner_weighs_once() {
    let x: Owner = Some("x".into());
    let (a, b) = (route("/a", &[Some("x")]), route("/b", &[Some("x")]));
    let of = |route: &Arc<Route>| signed(route_bytes(route));
    let mut table = Usage::default();
    let first = moved_in(&table, None, Some(Arc::clone(&a)));
    assert_eq!(first.total.bytes, of(&a) + signed(owner_bytes(&x)));
    table.add(&first);
    let second = moved_in(&table, None, Some(Arc::clone(&b)));
    assert_eq!(second.total.bytes, of(&b));
    table.add(&second);
    let gone = moved_in(&table, Some(Arc::clone(&a)), None);
    assert_eq!(gone.total.bytes, -of(&a));
    table.add(&gone);
    table.add(&moved_in(&table, Some(b), None));
    assert_eq!(table, Usage::default());
    // The table of owners, at the moment at which its twice as large successor is there as well.
    let entry = size_of::<(Owner, Amount)>() + 1;
    for buckets in [1 << 10, 1 << 17] {
        let owners = buckets * 7 / 8 + 1;
        assert!(owners * (OWNER_BYTES - HOSTS_BYTES) >= 3 * buckets * entry);
    }
}

#[test]
fn a_hundred_thousand_routes_of_one_owner_or_of_a_thousand_fit_by_default() {
    let limits = Limits::default();
    for count in [1, 1000] {
        let routes = (0..100_000).map(|number| {
            let owner = format!("owner-{}", number % count);
            let prefix = format!("/apps/app-{number}/a-longer-path");
            route(&prefix, &[Some(&owner)])
        });
        let usage = Usage::of(&routes.collect::<Vec<_>>());
        assert_eq!(check(&limits, &Usage::default(), &usage), None);
    }
}

#[test]
fn a_table_of_owners_gives_back_what_it_does_not_need() {
    let mut table = Usage::default();
    let routes: Vec<_> = (0..2000)
        .map(|number| route(&format!("/{number}"), &[Some(&number.to_string())]))
        .collect();
    for route in &routes {
        table.add(&moved_in(&table, None, Some(Arc::clone(route))));
    }
    assert!(table.owners.capacity() >= 2000);
    for route in routes {
        table.add(&moved_in(&table, Some(route), None));
    }
    assert!(table.owners.capacity() <= 64, "{}", table.owners.capacity());
}
