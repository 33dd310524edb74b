//! Limits on the table, so that a loop that registers for ever neither takes the proxy's memory nor
//! the place of others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::attempt::Step;
use crate::route::{HostPattern, Instance, Route};

/// What a route costs in memory besides its texts, in bytes, and what each byte of its key does. Measured
/// with tables of 100,000 routes: 1,280 bytes for a host of 24 characters and one instance, 8,300 for a
/// prefix of 1,920.
const ROUTE_BYTES: usize = 800;
const KEY_BYTE: usize = 4;

/// What an instance costs in memory besides its texts, in bytes, and what its lease adds.
const INSTANCE_BYTES: usize = 350;
const LEASE_BYTES: usize = 250;

/// How much the table may hold. What is there already is never removed for a limit: a limit refuses
/// changes that add to what is above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most routes; 131,072 by default.
    pub routes: usize,
    /// The most routes with an instance of one owner; 114,688 by default. What has no owner counts as
    /// one owner's.
    pub routes_per_owner: usize,
    /// The most instances of all routes; 196,608 by default.
    pub instances: usize,
    /// The most instances of one owner; 163,840 by default.
    pub instances_per_owner: usize,
    /// The most request hosts that one registration names; 1,000 by default.
    pub hosts_per_registration: usize,
    /// The memory that routes may take, in bytes, by an estimate from above; 160 MiB by default.
    pub route_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            routes: 131_072,
            routes_per_owner: 114_688,
            instances: 196_608,
            instances_per_owner: 163_840,
            hosts_per_registration: 1000,
            route_memory: 160 * 1024 * 1024,
        }
    }
}

/// One of the limits on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `limits.routes`.
    Routes,
    /// `limits.routes_per_owner`.
    RoutesPerOwner,
    /// `limits.instances`.
    Instances,
    /// `limits.instances_per_owner`.
    InstancesPerOwner,
    /// `limits.hosts_per_registration`.
    HostsPerRegistration,
    /// `limits.route_memory`.
    RouteMemory,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Routes,
        Self::RoutesPerOwner,
        Self::Instances,
        Self::InstancesPerOwner,
        Self::HostsPerRegistration,
        Self::RouteMemory,
    ];

    /// The key of the configuration that sets it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Routes => "limits.routes",
            Self::RoutesPerOwner => "limits.routes_per_owner",
            Self::Instances => "limits.instances",
            Self::InstancesPerOwner => "limits.instances_per_owner",
            Self::HostsPerRegistration => "limits.hosts_per_registration",
            Self::RouteMemory => "limits.route_memory",
        }
    }

    /// The code of an answer that refuses for it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Routes => "LIMIT_ROUTES",
            Self::RoutesPerOwner => "LIMIT_ROUTES_PER_OWNER",
            Self::Instances => "LIMIT_INSTANCES",
            Self::InstancesPerOwner => "LIMIT_INSTANCES_PER_OWNER",
            Self::HostsPerRegistration => "LIMIT_HOSTS_PER_REGISTRATION",
            Self::RouteMemory => "LIMIT_ROUTE_MEMORY",
        }
    }

    /// What it counts, in words.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Routes | Self::RoutesPerOwner => "routes",
            Self::Instances | Self::InstancesPerOwner => "instances",
            Self::HostsPerRegistration => "request hosts",
            Self::RouteMemory => "bytes of routes",
        }
    }
}

impl Limits {
    /// The most that a limit allows.
    #[must_use]
    pub fn most(&self, limit: Limit) -> usize {
        match limit {
            Limit::Routes => self.routes,
            Limit::RoutesPerOwner => self.routes_per_owner,
            Limit::Instances => self.instances,
            Limit::InstancesPerOwner => self.instances_per_owner,
            Limit::HostsPerRegistration => self.hosts_per_registration,
            Limit::RouteMemory => self.route_memory,
        }
    }
}

/// A change goes beyond a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which one.
    pub limit: Limit,
    /// What it allows.
    pub most: usize,
    /// What there would be.
    pub wanted: usize,
}

/// What there is of everything that a limit counts. Differences are amounts too, hence the sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    routes: isize,
    instances: isize,
    bytes: isize,
}

impl Amount {
    /// What a limit counts of it.
    fn of(&self, limit: Limit) -> isize {
        match limit {
            Limit::Routes | Limit::RoutesPerOwner => self.routes,
            Limit::Instances | Limit::InstancesPerOwner => self.instances,
            Limit::RouteMemory => self.bytes,
            Limit::HostsPerRegistration => 0,
        }
    }

    fn add(&mut self, other: Self) {
        self.routes += other.routes;
        self.instances += other.instances;
        self.bytes += other.bytes;
    }
}

type Owner = Option<Arc<str>>;

/// What the table holds, in all and for each owner; or by how much a change moves that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    total: Amount,
    owners: HashMap<Owner, Amount>,
}

impl Usage {
    /// What these routes are.
    pub(super) fn of<'r>(routes: impl IntoIterator<Item = &'r Arc<Route>>) -> Self {
        let mut usage = Self::default();
        for route in routes {
            usage.count(route, 1);
        }
        usage
    }

    /// What the steps of a change add and take.
    pub(super) fn change(steps: &[Step]) -> Self {
        let mut usage = Self::default();
        for step in steps {
            if let Step::Move(moved) = step {
                if let Some(route) = &moved.before {
                    usage.count(route, -1);
                }
                if let Some(route) = &moved.after {
                    usage.count(route, 1);
                }
            }
        }
        usage
    }

    fn count(&mut self, route: &Route, sign: isize) {
        self.total.routes += sign;
        self.total.bytes += sign * signed(route_bytes(route));
        let mut counted: Option<&Owner> = None;
        for (index, instance) in route.instances().enumerate() {
            self.total.instances += sign;
            let owner = &instance.owner;
            // Usually all instances are one owner's.
            let is_new =
                counted != Some(owner) && !route.instances().take(index).any(|i| i.owner == *owner);
            counted = Some(owner);
            let own = self.owners.entry(owner.clone()).or_default();
            own.instances += sign;
            own.routes += if is_new { sign } else { 0 };
        }
    }

    /// Adds what a change moves.
    pub(super) fn add(&mut self, change: &Self) {
        self.total.add(change.total);
        for (owner, amount) in &change.owners {
            let own = self.owners.entry(owner.clone()).or_default();
            own.add(*amount);
            if *own == Amount::default() {
                self.owners.remove(owner);
            }
        }
    }

    fn owner(&self, owner: &Owner) -> Amount {
        self.owners.get(owner).copied().unwrap_or_default()
    }
}

/// The limits beside what there is: in the table, and in the changes of a commit that is under way.
pub(super) struct Account<'a> {
    pub(super) limits: &'a Limits,
    pub(super) table: &'a Usage,
    pub(super) pending: &'a Usage,
}

impl Account<'_> {
    /// Whether a change stays within the limits. What takes away, or leaves an amount as it is, always
    /// does.
    pub(super) fn check(&self, change: &Usage) -> Result<(), Exceeded> {
        let there = [&self.table.total, &self.pending.total];
        for limit in [Limit::Routes, Limit::Instances, Limit::RouteMemory] {
            self.within(limit, &change.total, there)?;
        }
        for (owner, moved) in &change.owners {
            let there = [self.table.owner(owner), self.pending.owner(owner)];
            for limit in [Limit::RoutesPerOwner, Limit::InstancesPerOwner] {
                self.within(limit, moved, [&there[0], &there[1]])?;
            }
        }
        Ok(())
    }

    fn within(&self, limit: Limit, moved: &Amount, there: [&Amount; 2]) -> Result<(), Exceeded> {
        let added = moved.of(limit);
        let sum: isize = there.iter().map(|amount| amount.of(limit)).sum();
        let wanted = usize::try_from(sum + added).unwrap_or(0);
        let most = self.limits.most(limit);
        if added > 0 && wanted > most {
            return Err(Exceeded {
                limit,
                most,
                wanted,
            });
        }
        Ok(())
    }
}

/// What a route takes in memory, by an estimate from above.
fn route_bytes(route: &Route) -> usize {
    let host = match &route.host {
        HostPattern::Any => 1,
        HostPattern::Exact(host) | HostPattern::Wildcard(host) => host.as_str().len(),
    };
    let key = route.prefix.as_str().len() + host;
    let instances: usize = route.instances().map(|one| instance_bytes(one)).sum();
    ROUTE_BYTES + KEY_BYTE * key + instances
}

fn instance_bytes(instance: &Instance) -> usize {
    let target = &instance.target;
    let texts = [target.host(), target.unix(), Some(instance.id.as_str())];
    let texts: usize = texts.iter().flatten().map(|text| text.len()).sum();
    let lease = instance.lease.as_ref().map_or(0, |_lease| LEASE_BYTES);
    INSTANCE_BYTES + lease + texts + size_of_val(target.addresses())
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

/// What readers of the status see: written by the registry's writer alone.
#[derive(Debug, Default)]
pub(super) struct Meters {
    routes: AtomicUsize,
    instances: AtomicUsize,
    bytes: AtomicUsize,
    refused: [AtomicU64; Limit::ALL.len()],
}

/// One limit, what there is, and how often a change was refused for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// The limit.
    pub limit: Limit,
    /// What it allows.
    pub most: usize,
    /// What there is in all; `None` for a limit on each owner or each registration.
    pub used: Option<usize>,
    /// How many changes it has refused since the proxy started.
    pub refused: u64,
}

impl Meters {
    /// Shows what the table holds now.
    pub(super) fn show(&self, usage: &Usage) {
        let set = |meter: &AtomicUsize, amount: isize| {
            meter.store(usize::try_from(amount).unwrap_or(0), Ordering::Relaxed);
        };
        set(&self.routes, usage.total.routes);
        set(&self.instances, usage.total.instances);
        set(&self.bytes, usage.total.bytes);
    }

    /// Counts a change that was refused.
    pub(super) fn refuse(&self, limit: Limit) {
        if let Some(count) = self.refused.get(limit as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A limit as it stands.
    pub(super) fn read(&self, limit: Limit, limits: &Limits) -> Meter {
        let used = match limit {
            Limit::Routes => Some(&self.routes),
            Limit::Instances => Some(&self.instances),
            Limit::RouteMemory => Some(&self.bytes),
            _ => None,
        };
        let refused = self.refused.get(limit as usize);
        Meter {
            limit,
            most: limits.most(limit),
            used: used.map(|used| used.load(Ordering::Relaxed)),
            refused: refused.map_or(0, |count| count.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::registry::attempt::{Cause, Move};
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

    fn moved(before: Option<Arc<Route>>, after: Option<Arc<Route>>) -> Usage {
        let cause = Cause::Put;
        Usage::change(&[Step::Move(Move {
            before,
            after,
            cause,
        })])
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
        usage.add(&moved(None, Some(Arc::clone(&a))));
        usage.add(&moved(None, Some(Arc::clone(&b))));
        assert_eq!(usage, Usage::of([&a, &b]));
        assert_eq!(usage.owner(&Some("x".into())).routes, 2);
        assert_eq!(usage.owner(&Some("x".into())).instances, 3);
        usage.add(&moved(Some(b), Some(Arc::clone(&other))));
        assert_eq!(usage, Usage::of([&a, &other]));
        usage.add(&moved(Some(a), None));
        usage.add(&moved(Some(other), None));
        assert_eq!(usage, Usage::default());
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
}
