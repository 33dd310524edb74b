//! Changes at random: what is live is what the store has, and what fails changes nothing.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::store::{Meta, RouteRecord, Stored, Write};
use super::*;
use crate::route::{HostPattern, InstanceId, Settings, TlsPolicy};

/// A store in memory that outlives its registry, and that fails when it is told to.
#[derive(Clone, Debug, Default)]
struct Mirror(Arc<Mutex<MemoryStore>>);

#[derive(Debug, Default)]
struct MemoryStore {
    meta: Meta,
    routes: BTreeMap<Arc<str>, RouteRecord>,
    leases: BTreeMap<(Arc<str>, Arc<str>), u64>,
    commits: usize,
    fails: bool,
}

impl Store for Mirror {
    fn load(&mut self) -> Result<Stored, StoreError> {
        let kept = self.0.lock();
        Ok(Stored {
            epoch: 1,
            meta: kept.meta,
            routes: kept.routes.clone().into_iter().collect(),
            leases: kept
                .leases
                .iter()
                .map(|((key, id), ends)| (Arc::clone(key), Arc::clone(id), *ends))
                .collect(),
        })
    }

    fn commit(&mut self, writes: &[Write], meta: Meta) -> Result<(), StoreError> {
        let mut kept = self.0.lock();
        if kept.fails {
            return Err(StoreError::Full {
                path: "mirror".into(),
                reason: "as told".into(),
            });
        }
        for write in writes.iter().cloned() {
            match write {
                Write::PutRoute(key, record) => drop(kept.routes.insert(key, *record)),
                Write::RemoveRoute(key) => {
                    kept.routes.remove(&key);
                    kept.leases.retain(|(of, _), _| *of != key);
                }
                Write::PutLease(key, id, ends) => drop(kept.leases.insert((key, id), ends)),
                Write::RemoveLease(key, id) => drop(kept.leases.remove(&(key, id))),
            }
        }
        kept.meta = meta;
        kept.commits += 1;
        Ok(())
    }

    fn name(&self) -> &'static str {
        "mirror"
    }
}

/// An edit, by small numbers.
#[derive(Clone, Debug)]
enum Plan {
    Put(u8, Vec<(u8, u16, bool)>),
    Register(u8, u16, bool),
    Join(u8, u8, u16, bool),
    Leave(u8, Option<u8>, bool),
}

fn plan() -> impl Strategy<Value = Plan> {
    let instances = prop::collection::vec((0..3_u8, 1..4_u16, any::<bool>()), 0..4);
    prop_oneof![
        (0..5_u8, instances).prop_map(|(key, instances)| Plan::Put(key, instances)),
        (0..5_u8, 1..4_u16, any::<bool>()).prop_map(|(k, p, l)| Plan::Register(k, p, l)),
        (0..5_u8, 0..3_u8, 1..4_u16, any::<bool>()).prop_map(|(k, i, p, l)| Plan::Join(k, i, p, l)),
        (0..5_u8, prop::option::of(0..3_u8), any::<bool>())
            .prop_map(|(k, i, d)| Plan::Leave(k, i, d)),
    ]
}

/// One change: some edits, or a whole set; whether it is only tried, and whether the store fails.
type Step = (Vec<Plan>, bool, bool, bool);

fn step() -> impl Strategy<Value = Step> {
    (
        prop::collection::vec(plan(), 1..4),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
}

fn key(number: u8) -> RouteKey {
    let host = match number {
        0..3 => HostPattern::Any,
        _ => HostPattern::parse("*.example.com").unwrap(),
    };
    let prefix = PathPrefix::parse(&format!("/{number}")).unwrap();
    RouteKey { host, prefix }
}

fn spec(id: Option<u8>, port: u16, has_lease: bool) -> Spec {
    let port = NonZeroU16::new(4000 + port).unwrap();
    let target = TargetPolicy::default()
        .resolve(&Destination::local(port))
        .unwrap();
    Spec {
        id: id.map_or_else(InstanceId::default, |id| {
            InstanceId::parse(&format!("i{id}")).unwrap()
        }),
        owner: (port.get() == 4001).then(|| "somebody".into()),
        target,
        ttl: has_lease.then_some(Duration::from_mins(10)),
    }
}

fn specs(instances: &[(u8, u16, bool)]) -> Vec<Spec> {
    instances
        .iter()
        .map(|(id, port, lease)| spec(Some(*id), *port, *lease))
        .collect()
}

fn settings(port: u16) -> Settings {
    Settings {
        tls: (port == 2).then_some(TlsPolicy::Require),
        hsts: (port == 3).then(|| "max-age=1; preload".parse().unwrap()),
        ..Settings::default()
    }
}

fn secure(instances: &[(u8, u16, bool)]) -> Settings {
    let first = instances.first();
    first
        .map(|(_, port, _)| settings(*port))
        .unwrap_or_default()
}

fn change((plans, is_set, dry_run, _): &Step) -> Change {
    let edit = |plan: &Plan| match plan {
        Plan::Put(n, instances) => Edit::Put(key(*n), specs(instances), secure(instances)),
        Plan::Register(n, port, lease) => {
            Edit::Register(key(*n), spec(None, *port, *lease), settings(*port))
        }
        Plan::Join(n, id, port, lease) => Edit::Join(
            key(*n),
            spec(Some(*id), *port, *lease),
            settings(*port),
            false,
        ),
        Plan::Leave(n, id, drain) => Edit::Leave(
            key(*n),
            id.map(|id| InstanceId::parse(&format!("i{id}")).unwrap()),
            drain.then_some(Duration::from_mins(1)),
        ),
    };
    let edits = if *is_set {
        let entry = |plan: &Plan| match plan {
            Plan::Put(n, instances) => (key(*n), specs(instances), secure(instances)),
            Plan::Register(n, port, lease) | Plan::Join(n, _, port, lease) => {
                (key(*n), vec![spec(None, *port, *lease)], settings(*port))
            }
            Plan::Leave(n, ..) => (key(*n), vec![spec(None, 1, false)], Settings::default()),
        };
        Edits::All(plans.iter().map(entry).collect())
    } else {
        Edits::Each(plans.iter().map(edit).collect())
    };
    Change {
        edits,
        conditions: Vec::new(),
        dry_run: *dry_run,
        actor: Actor::local("test"),
    }
}

/// Everything that a client can see of the routes that take requests, and perhaps when leases end.
fn seen(registry: &Registry, with_leases: bool) -> BTreeMap<String, Vec<String>> {
    let state = registry.state();
    let instance = |i: &Arc<crate::route::Instance>| {
        let lease = i.lease.as_ref().filter(|_| with_leases);
        let ends = lease.map(crate::route::Lease::ends);
        format!("{} {:?} {} {:?} {ends:?}", i.id, i.owner, i.target, i.ttl())
    };
    let route = |route: &Arc<Route>| {
        let mut instances: Vec<String> = route.instances().map(instance).collect();
        instances.push(format!("generation {}", route.generation));
        instances.push(format!("{:?}", route.settings()));
        (route.key().to_string(), instances)
    };
    state.routes.iter().map(route).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_live_is_what_the_store_has(steps in prop::collection::vec(step(), 1..24)) {
        let mirror = Mirror::default();
        let registry = Registry::open(Rules::default(), Box::new(mirror.clone())).unwrap();
        // A renewal that cannot be kept goes on all the same, until the process ends.
        let mut are_leases_kept = true;
        for step in &steps {
            mirror.0.lock().fails = step.3;
            are_leases_kept &= !step.3;
            let before = (seen(&registry, are_leases_kept), registry.generation());
            let outcome = registry.writer.change_here(change(step), true);
            mirror.0.lock().fails = false;
            let after = (seen(&registry, are_leases_kept), registry.generation());
            match &outcome {
                Err(error) => prop_assert_eq!(&before, &after, "{}", error),
                Ok(outcome) if outcome.dry_run => prop_assert_eq!(&before, &after),
                Ok(outcome) => prop_assert_eq!(outcome.generation, after.1),
            }
            let restored = Registry::open(Rules::default(), Box::new(mirror.clone())).unwrap();
            let restored = (seen(&restored, are_leases_kept), restored.generation());
            prop_assert_eq!(&after, &restored);
        }
    }
}

#[test]
fn changes_that_wait_share_a_commit() {
    let mirror = Mirror::default();
    let registry = Registry::open(Rules::default(), Box::new(mirror.clone())).unwrap();
    let registry = Arc::new(registry);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // The writer cannot begin before all of them wait.
    let held = registry.writer.hold();
    let outcomes = runtime.block_on(async {
        let changes: Vec<_> = (0..100)
            .map(|n| {
                let registry = Arc::clone(&registry);
                let step: Step = (vec![Plan::Register(n % 5, 1, false)], false, false, false);
                tokio::spawn(async move { registry.change(change(&step)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(held);
        let mut outcomes = Vec::new();
        for change in changes {
            outcomes.push(change.await.unwrap());
        }
        outcomes
    });
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(registry.generation(), Generation(100));
    // The first may have been taken alone.
    assert!(mirror.0.lock().commits <= 2, "{}", mirror.0.lock().commits);
}

#[test]
fn nothing_is_changed_once_the_store_is_given_up() {
    let registry = Registry::open(Rules::default(), Box::new(Mirror::default())).unwrap();
    registry.close();
    let step: Step = (vec![Plan::Register(0, 1, false)], false, false, false);
    let refused = registry.writer.change_here(change(&step), true);
    assert_eq!(refused.unwrap_err().code(), "CLOSED");
    assert!(registry.state().routes.is_empty());
}
