//! The live routes and their only writer: the rules of registration, leases, drains, generations,
//! events, and the store behind them.
//!
//! Readers take [`Registry::lookup`], requests [`Registry::lookup_ref`]; neither waits for a writer. A change
//! is checked and resolved first, then made as a whole (`attempt`), kept by the store, published
//! (`writer`), and only then answered: when [`Registry::register`] returns, every later request sees it
//! and it is on disk.

mod attempt;
mod audit;
mod change;
mod clock;
mod effects;
mod error;
mod events;
mod history;
mod limits;
mod records;
mod registration;
mod resolve;
mod rights;
mod state;
pub mod store;
#[cfg(test)]
mod tests;
mod timers;
mod unix_socket;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::broadcast;

pub use change::{
    Change, ChangeError, ChangeResult, Condition, Counts, Edit, EditResult, Edits, Expected,
    MAX_INSTANCES, Outcome, Spec,
};
pub use clock::Clock;
pub use error::RegisterError;
pub(crate) use events::Events;
pub use events::{
    Event, ProxyError, ProxyFailure, RegisterFailure, RouteEvent, RouteEventKind, RoutesEvent,
};
pub use history::{History, Reading};
pub use limits::{Exceeded, Limit, Limits, Meter};
pub use resolve::{AllowedTarget, TargetPolicy};
pub use rights::{Action, Actor, Rights, Scope};
pub use state::State;
use store::{Memory, Store, StoreError};
use timers::Timers;
pub use unix_socket::{OwnSocket, UnixSocket, UnixSocketError};
pub(crate) use writer::Cut;
use writer::Writer;

use crate::route::{CaseSensitivity, Generation, PathPrefix, Route, RouteKey, RouteRef, Target};
pub use crate::route::{Destination, Place, Registration, SpecError, TlsWish, UnknownFields};

/// The rules that registrations follow.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Which targets are allowed.
    pub targets: TargetPolicy,
    /// Prefixes that belong to the proxy.
    pub reserved: Vec<PathPrefix>,
    /// Whether prefixes match with regard to ASCII case.
    pub case: CaseSensitivity,
    /// How much the table may hold.
    pub limits: Limits,
}

/// A registration that is live.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The routes that it made, one for each request host.
    pub routes: Vec<Arc<Route>>,
    /// The table's generation with them.
    pub generation: Generation,
}

/// The live routes.
pub struct Registry {
    writer: Writer,
    rules: Rules,
    epoch: u32,
    store: &'static str,
}

impl Registry {
    /// A registry without routes, which keeps nothing.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let clock = Clock::from(0);
        let state = State::new(rules.case);
        Self {
            writer: Writer::new(
                state,
                Timers::default(),
                clock,
                Box::new(Memory),
                rules.limits,
            ),
            rules,
            epoch: fastrand::u32(..),
            store: "memory",
        }
    }

    /// A registry with the routes of a store, whose changes the store keeps. Leases go on from what
    /// was left of them; a route that the rules no longer allow is left out, with a warning, and stays
    /// in the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(rules: Rules, mut store: Box<dyn Store>) -> Result<Self, StoreError> {
        let stored = store.load()?;
        let clock = Clock::from(stored.meta.clock);
        let mut state = State::new(rules.case);
        let kept: HashMap<(&str, &str), u64> = stored
            .leases
            .iter()
            .map(|(key, id, ends)| ((&**key, &**id), *ends))
            .collect();
        let mut leases = Timers::default();
        let mut routes = Vec::with_capacity(stored.routes.len());
        for (key, record) in stored.routes {
            let ends = |id: &str| kept.get(&(&*key, id)).copied();
            let route = records::route(&record, ends, clock.now());
            match route.and_then(|route| rules.readmit(route)) {
                Ok(route) => {
                    leases.begin(&route);
                    routes.push(Arc::new(route));
                }
                Err(reason) => log::warn!("the stored route {key} is left out: {reason}"),
            }
        }
        state.routes.fill(routes);
        state.routes.resume(Generation(stored.meta.generation));
        let name = store.name();
        if !state.routes.is_empty() {
            log::info!("{} routes from the store", state.routes.len());
        }
        Ok(Self {
            writer: Writer::new(state, leases, clock, store, rules.limits),
            rules,
            epoch: stored.epoch,
            store: name,
        })
    }

    /// The route that takes a request: `host` lower-case and without port, `path` normalised.
    #[must_use]
    pub fn lookup(&self, host: &str, path: &str) -> Option<Arc<Route>> {
        self.writer
            .shared
            .live
            .load()
            .routes
            .lookup(host, path)
            .cloned()
    }

    /// Looks a route up and keeps it for a request, without writing what other threads write.
    #[must_use]
    pub fn lookup_ref(&self, host: &str, path: &str) -> Option<RouteRef> {
        let state = self.writer.shared.live.load();
        state.routes.lookup(host, path).map(RouteRef::new)
    }

    /// The number of the last change.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.writer.shared.live.load().generation()
    }

    /// Everything as it is now, to keep.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.writer.shared.live.snapshot()
    }

    /// All routes that take requests, as of one generation.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.state().routes.iter().cloned().collect()
    }

    /// A number that tells this registry's generations from those of another store or process.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The clock of leases, drains and activity.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.writer.shared.clock
    }

    /// What the store is called.
    #[must_use]
    pub fn store_name(&self) -> &'static str {
        self.store
    }

    /// Registers an app from this machine, with all rights; see [`register_as`](Self::register_as).
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub async fn register(&self, registration: Registration) -> Result<Registered, RegisterError> {
        self.register_as(registration, Actor::local("library"))
            .await
    }

    /// Registers an app. The lookup of a name happens on a thread of its own, so that no other
    /// request waits for it.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub async fn register_as(
        &self,
        registration: Registration,
        actor: Actor,
    ) -> Result<Registered, RegisterError> {
        let registration = self.admit(registration)?;
        let target = self.resolve(&registration.destination).await?;
        let request = actor.request.clone();
        let outcome = self.change(registration.change(target, actor)).await?;
        Ok(self.registered(&outcome, request.as_deref()))
    }

    /// Registers an app and blocks while a name is looked up and the store writes: for the time before
    /// the server runs.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub fn register_blocking(
        &self,
        registration: Registration,
    ) -> Result<Registered, RegisterError> {
        let change = self.resolved(registration, "library")?;
        let outcome = self.writer.change_here(change, true)?;
        Ok(self.registered(&outcome, None))
    }

    /// Adds a route that the configuration has, or an instance of one, unless `before` has a route of that
    /// key: the store does not keep it, for the configuration does. The first of several that are the same
    /// counts.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub fn add_configured(
        &self,
        registration: Registration,
        before: &State,
    ) -> Result<(), RegisterError> {
        let mut change = self.resolved(registration, "config")?;
        let state = self.state();
        let is_new = |edit: &Edit| match edit {
            Edit::Join(key, spec, ..) => {
                let there = state.routes.get(key);
                before.routes.get(key).is_none()
                    && there.is_none_or(|route| route.instance_named(&spec.id).is_none())
            }
            edit => state.routes.get(edit.key()).is_none(),
        };
        if let Edits::Each(edits) = &mut change.edits {
            edits.retain(is_new);
        }
        self.writer.change_here(change, false)?;
        Ok(())
    }

    /// Checks everything about a registration that `register` checks, and changes nothing.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn check(&self, registration: Registration) -> Result<(), RegisterError> {
        self.resolved(registration, "config").map(|_change| ())
    }

    /// Makes a change: once this returns, every later request sees it and the store has it.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub async fn change(&self, change: Change) -> Result<Outcome, ChangeError> {
        self.writer.change(change).await
    }

    /// The target of a destination, resolved and allowed.
    ///
    /// # Errors
    /// [`RegisterError`]: it does not resolve, or is not allowed.
    pub async fn resolve(&self, destination: &Destination) -> Result<Target, RegisterError> {
        let host = match &destination.place {
            Place::Tcp(host, _) if !is_resolved(host) => host.clone(),
            _ => return self.rules.targets.resolve(destination),
        };
        let (targets, wanted) = (self.rules.targets.clone(), destination.clone());
        tokio::task::spawn_blocking(move || targets.resolve(&wanted))
            .await
            .map_err(|error| RegisterError::TargetUnresolved {
                host,
                reason: error.to_string(),
            })?
    }

    /// Opens the Unix socket of a target that is to be connected to: what its path leads to may have changed
    /// since it was registered.
    ///
    /// # Errors
    /// [`UnixSocketError`]: it is not there, or no longer allowed.
    pub fn open_unix(&self, path: &str) -> Result<UnixSocket, UnixSocketError> {
        self.rules.targets.open_unix(path)
    }

    /// Whether a connection to this address comes to one of the proxy's own listeners.
    #[must_use]
    pub fn is_own_listener(&self, address: SocketAddr) -> bool {
        self.rules.targets.is_own(address)
    }

    /// As [`resolve`](Self::resolve), on this thread: blocks while a name is looked up.
    ///
    /// # Errors
    /// [`RegisterError`]: it does not resolve, or is not allowed.
    pub fn resolve_blocking(&self, destination: &Destination) -> Result<Target, RegisterError> {
        self.rules.targets.resolve(destination)
    }

    /// How much the table may hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// The limits on the table, what there is, and how often each has refused a change.
    pub fn meters(&self) -> impl Iterator<Item = Meter> {
        let meters = &self.writer.shared.meters;
        Limit::ALL
            .into_iter()
            .map(|limit| meters.read(limit, &self.rules.limits))
    }

    /// Counts a change that a limit refused before it got here.
    pub(crate) fn count_refusal(&self, limit: Limit) {
        self.writer.shared.meters.refuse(limit);
    }

    /// A prefix as the table compares it, unless it is the proxy's own.
    ///
    /// # Errors
    /// [`RegisterError::Reserved`].
    pub fn admit_prefix(&self, prefix: PathPrefix) -> Result<PathPrefix, RegisterError> {
        self.rules.admit(prefix)
    }

    /// A prefix as the table compares it.
    #[must_use]
    pub fn spelt(&self, prefix: PathPrefix) -> PathPrefix {
        self.rules.spelt(prefix)
    }

    /// Removes a route; requests that are on their way to its target are not disturbed. Blocks while
    /// the store writes.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchRoute`], or the store's.
    pub fn remove(&self, key: &RouteKey) -> Result<Arc<Route>, ChangeError> {
        let before = self.state().routes.get(key).cloned();
        let change = Change {
            edits: Edits::Each(vec![Edit::Leave(key.clone(), None, None)]),
            conditions: Vec::new(),
            dry_run: false,
            actor: Actor::local("library"),
        };
        self.writer.change_here(change, true)?;
        before.ok_or_else(|| ChangeError::NoSuchRoute { key: key.clone() })
    }

    /// Subscribes to the events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.writer.shared.events.subscribe()
    }

    /// The last events, for readers that come back.
    #[must_use]
    pub fn history(&self) -> &Arc<History> {
        self.writer.shared.events.history()
    }

    pub(crate) fn emit(&self, event: Event) {
        self.writer.shared.events.emit(event);
    }

    /// Starts the writer's thread: leases and drains end from now on. A change starts it as well.
    pub(crate) fn start(&self) {
        drop(self.writer.start());
    }

    /// Gives the store up: nothing is changed from now on, and another process may open it.
    pub(crate) fn close(&self) {
        self.writer.close();
    }

    /// What is called at the end of a drain with the serial number of an instance, to cut what is in
    /// flight on it.
    pub(crate) fn on_cut(&self, cut: Cut) {
        *self.writer.shared.cut.lock() = Some(cut);
    }

    /// The registration with its prefix in the table's spelling, unless the prefix is taken.
    fn admit(&self, mut registration: Registration) -> Result<Registration, RegisterError> {
        let (hosts, most) = (
            registration.request_hosts.len(),
            self.rules.limits.hosts_per_registration,
        );
        if hosts > most {
            let limit = Limit::HostsPerRegistration;
            self.count_refusal(limit);
            let exceeded = Exceeded {
                limit,
                most,
                wanted: hosts,
            };
            return Err(ChangeError::Limit(exceeded).into());
        }
        registration.prefix = self.rules.admit(registration.prefix)?;
        Ok(registration)
    }

    fn resolved(&self, registration: Registration, from: &str) -> Result<Change, RegisterError> {
        let registration = self.admit(registration)?;
        let target = self.rules.targets.resolve(&registration.destination)?;
        Ok(registration.change(target, Actor::local(from)))
    }

    /// Tells of a registration, which has been made by a request with this id, if by one.
    fn registered(&self, outcome: &Outcome, request: Option<&str>) -> Registered {
        let by = request.map_or_else(String::new, |id| format!(" [{id}]"));
        let routes: Vec<Arc<Route>> = outcome
            .results
            .iter()
            .filter_map(|result| result.route.clone())
            .collect();
        for (route, result) in routes.iter().zip(&outcome.results) {
            // A renewal is no news.
            if result.what != ChangeResult::Unchanged {
                log::info!("registered {} -> {}{by}", route.key(), route.target());
            }
            self.emit(Event::RouteRegistered(Arc::clone(route)));
        }
        Registered {
            routes,
            generation: outcome.generation,
        }
    }
}

impl Rules {
    fn admit(&self, prefix: PathPrefix) -> Result<PathPrefix, RegisterError> {
        if self.reserved.iter().any(|own| prefix.is_within(own)) {
            let prefix = prefix.to_string();
            return Err(RegisterError::Reserved { prefix });
        }
        Ok(self.spelt(prefix))
    }

    fn spelt(&self, prefix: PathPrefix) -> PathPrefix {
        match self.case {
            CaseSensitivity::Insensitive => prefix.ignoring_case(),
            CaseSensitivity::Sensitive => prefix.with_upper_escapes(),
        }
    }

    /// A stored route, unless the rules have changed against it.
    fn readmit(&self, mut route: Route) -> Result<Route, String> {
        route.prefix = self
            .admit(route.prefix)
            .map_err(|error| error.to_string())?;
        for instance in route.instances() {
            let allowed = self.targets.allow_resolved(&instance.target);
            allowed.map_err(|error| error.to_string())?;
        }
        Ok(route)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("state", &self.state())
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Whether a host needs no lookup that could take its time.
fn is_resolved(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}
