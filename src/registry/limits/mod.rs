//! Limits on the table, so that a loop that registers for ever neither takes the proxy's memory nor
//! the place of others.

mod hosts;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use self::hosts::Hosts;
use super::step::Step;
use crate::route::{HostPattern, Instance, Route};

/// The memory that a route costs besides its texts, in bytes, and the memory for each byte of its key. Measured
/// with tables of 100,000 routes: 1,280 bytes for a host of 24 characters and one instance, 8,300 for a
/// prefix of 1,920.
const ROUTE_BYTES: usize = 800;
const KEY_BYTE: usize = 4;

/// The memory that an instance costs besides its texts, in bytes, and the memory that its lease adds.
const INSTANCE_BYTES: usize = 350;
const LEASE_BYTES: usize = 250;

/// The memory that an owner costs besides its name, in bytes: the most that an entry of the table of owners
/// takes, which is while that grows, and the entry's own table of hosts with one in it. A hash table grows once
/// 7/8 of its buckets are taken, to twice as many, and the old one is there until the new one is filled: then
/// there are 24/7 buckets for each entry, and each has a byte beside it.
const OWNER_BYTES: usize = ((size_of::<(Owner, Amount)>() + 1) * 24).div_ceil(7) + HOSTS_BYTES;
const HOSTS_BYTES: usize = 96;

/// The memory that a text of its own takes besides its bytes: its two counters, and the amount by which an
/// allocation is rounded up.
const TEXT_BYTES: usize = 24;

/// How much the table may hold. What is there already is never removed for a limit: a limit refuses
/// changes that add to what is above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most routes; 131,072 by default.
    pub routes: usize,
    /// The most routes with an instance of one owner; 114,688 by default. What has no owner counts as
    /// one owner's.
    pub routes_per_owner: usize,
    /// The most hosts that routes are for, each pattern once; 114,688 by default.
    pub hosts: usize,
    /// The most hosts that routes with an instance of one owner are for; 102,400 by default.
    pub hosts_per_owner: usize,
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
            hosts: 114_688,
            hosts_per_owner: 102_400,
            instances: 196_608,
            instances_per_owner: 163_840,
            hosts_per_registration: 1000,
            route_memory: 160 * 1024 * 1024,
        }
    }
}

/// One of the limits on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// `limits.routes`.
    Routes,
    /// `limits.routes_per_owner`.
    RoutesPerOwner,
    /// `limits.hosts`.
    Hosts,
    /// `limits.hosts_per_owner`.
    HostsPerOwner,
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
    pub const ALL: [Self; 8] = [
        Self::Routes,
        Self::RoutesPerOwner,
        Self::Hosts,
        Self::HostsPerOwner,
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
            Self::Hosts => "limits.hosts",
            Self::HostsPerOwner => "limits.hosts_per_owner",
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
            Self::Hosts => "LIMIT_HOSTS",
            Self::HostsPerOwner => "LIMIT_HOSTS_PER_OWNER",
            Self::Instances => "LIMIT_INSTANCES",
            Self::InstancesPerOwner => "LIMIT_INSTANCES_PER_OWNER",
            Self::HostsPerRegistration => "LIMIT_HOSTS_PER_REGISTRATION",
            Self::RouteMemory => "LIMIT_ROUTE_MEMORY",
        }
    }

    /// Returns the unit that the limit counts, in words.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Routes | Self::RoutesPerOwner => "routes",
            Self::Hosts | Self::HostsPerOwner => "hosts",
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
            Limit::Hosts => self.hosts,
            Limit::HostsPerOwner => self.hosts_per_owner,
            Limit::Instances => self.instances,
            Limit::InstancesPerOwner => self.instances_per_owner,
            Limit::HostsPerRegistration => self.hosts_per_registration,
            Limit::RouteMemory => self.route_memory,
        }
    }
}

/// A change goes beyond a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exceeded {
    /// Which one.
    pub limit: Limit,
    /// The amount that it allows.
    pub most: usize,
    /// The amount that there would be with the change.
    pub wanted: usize,
}

/// The amount of everything that a limit counts. Differences are amounts too, hence the sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    routes: isize,
    instances: isize,
    bytes: isize,
    /// How many hosts there are; of a change, how many more than before it.
    hosts: isize,
    by_host: Hosts,
}

impl Amount {
    /// Returns the part of the amount that a limit counts.
    fn of(&self, limit: Limit) -> isize {
        match limit {
            Limit::Routes | Limit::RoutesPerOwner => self.routes,
            Limit::Hosts | Limit::HostsPerOwner => self.hosts,
            Limit::Instances | Limit::InstancesPerOwner => self.instances,
            Limit::RouteMemory => self.bytes,
            Limit::HostsPerRegistration => 0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.routes += other.routes;
        self.instances += other.instances;
        self.bytes += other.bytes;
        self.hosts += other.hosts;
        self.by_host.merge(&other.by_host);
    }
}

type Owner = Option<Arc<str>>;

/// The usage of the table, in all and for each owner; or by how much a change moves that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    total: Amount,
    owners: HashMap<Owner, Amount>,
}

impl Usage {
    /// Counts the usage of these routes.
    pub(super) fn of<'r>(routes: impl IntoIterator<Item = &'r Arc<Route>>) -> Self {
        let mut usage = Self::default();
        for route in routes {
            usage.count(route, 1);
        }
        let nothing = Self::default();
        usage.count_hosts([&nothing, &nothing]);
        usage
    }

    /// Counts the usage that the steps of a change add, less the usage that they take away; `there` is the usage
    /// of the table, and of the changes of a commit that is under way.
    pub(super) fn change(steps: &[Step], there: [&Self; 2]) -> Self {
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
        usage.count_hosts(there);
        usage
    }

    fn count_hosts(&mut self, there: [&Self; 2]) {
        self.total.bytes += self.owners_gained(there);
        let gained = self
            .total
            .by_host
            .gained(there.map(|usage| &usage.total.by_host));
        self.total.hosts = gained;
        let nothing = Hosts::default();
        for (owner, amount) in &mut self.owners {
            let there =
                there.map(|usage| usage.owners.get(owner).map_or(&nothing, |own| &own.by_host));
            amount.hosts = amount.by_host.gained(there);
        }
    }

    /// Returns the memory of the owners that are new, less the memory of those that are gone.
    fn owners_gained(&self, there: [&Self; 2]) -> isize {
        let bytes = self.owners.iter().map(|(owner, amount)| {
            let there = there.iter().filter_map(|usage| usage.owner(owner));
            let before: isize = there.map(|own| own.instances).sum();
            let is_there = |instances: isize| isize::from(instances > 0);
            let gained = is_there(before + amount.instances) - is_there(before);
            gained * signed(owner_bytes(owner))
        });
        bytes.sum()
    }

    fn count(&mut self, route: &Route, sign: isize) {
        let host = Hosts::hash(&route.host);
        self.total.routes += sign;
        self.total.by_host.add(host, sign);
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
            if is_new {
                own.routes += sign;
                own.by_host.add(host, sign);
            }
        }
    }

    /// Adds what a change moves.
    pub(super) fn add(&mut self, change: &Self) {
        self.total.add(&change.total);
        for (owner, amount) in &change.owners {
            let own = self.owners.entry(owner.clone()).or_default();
            own.add(amount);
            if *own == Amount::default() {
                self.owners.remove(owner);
            }
        }
        give_back(&mut self.owners);
    }

    fn owner(&self, owner: &Owner) -> Option<&Amount> {
        self.owners.get(owner)
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
        let there = [Some(&self.table.total), Some(&self.pending.total)];
        for limit in [
            Limit::Routes,
            Limit::Hosts,
            Limit::Instances,
            Limit::RouteMemory,
        ] {
            self.within(limit, &change.total, there)?;
        }
        for (owner, moved) in &change.owners {
            let there = [self.table.owner(owner), self.pending.owner(owner)];
            for limit in [
                Limit::RoutesPerOwner,
                Limit::HostsPerOwner,
                Limit::InstancesPerOwner,
            ] {
                self.within(limit, moved, there)?;
            }
        }
        Ok(())
    }

    fn within(
        &self,
        limit: Limit,
        moved: &Amount,
        there: [Option<&Amount>; 2],
    ) -> Result<(), Exceeded> {
        let added = moved.of(limit);
        let sum: isize = there.iter().flatten().map(|amount| amount.of(limit)).sum();
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

/// Returns an upper estimate of the memory that a route takes.
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
    let owner = text_bytes(&instance.owner);
    INSTANCE_BYTES + lease + texts + owner + size_of_val(target.addresses())
}

/// Returns an upper estimate of the memory that an owner takes while it has any instance.
fn owner_bytes(owner: &Owner) -> usize {
    OWNER_BYTES + text_bytes(owner)
}

fn text_bytes(text: &Owner) -> usize {
    text.as_ref().map_or(0, |text| TEXT_BYTES + text.len())
}

/// Gives back what a table has room for beyond four times what is in it: a table does not shrink by itself.
fn give_back<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > 64 && table.len() < table.capacity() / 4 {
        table.shrink_to(table.len() * 2);
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

/// The figures of the status: written by the registry's writer alone.
#[derive(Debug, Default)]
pub(super) struct Meters {
    routes: AtomicUsize,
    hosts: AtomicUsize,
    instances: AtomicUsize,
    bytes: AtomicUsize,
    refused: [AtomicU64; Limit::ALL.len()],
}

/// One limit, what there is, and how often a change was refused for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meter {
    /// The limit.
    pub limit: Limit,
    /// The amount that it allows.
    pub most: usize,
    /// The amount in all; `None` for a limit on each owner or each registration.
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
        set(&self.hosts, usage.total.hosts);
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
            Limit::Hosts => Some(&self.hosts),
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
