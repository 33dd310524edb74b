//! The live routes and their only writer: the rules of registration, leases, drains, generations,
//! events, and the store behind them.
//!
//! Readers take [`Registry::lookup`], requests [`Registry::lookup_ref`]; neither waits for a writer. A change
//! is checked and resolved first (`register`), then made as a whole (`attempt`), kept by the store, published
//! (`writer`, `batch`), and only then answered: when [`Registry::register`] returns, every later request sees it
//! and it is on disk.

mod attempt;
mod audit;
mod batch;
mod change;
mod clock;
mod effects;
mod error;
mod events;
mod expiry;
mod history;
mod limits;
mod records;
mod register;
mod registration;
mod resolve;
mod rights;
mod rules;
mod sampler;
mod shared;
mod state;
mod step;
pub mod store;
#[cfg(test)]
mod tests;
mod timers;
mod unix_socket;
mod writer;

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
pub use events::{
    Event, ProxyError, ProxyFailure, RegisterFailure, Renewal, RouteEvent, RouteEventKind,
    RoutesEvent,
};
pub use history::{History, Missed, Reading, Recorded};
pub use limits::{Exceeded, Limit, Limits, Meter};
pub use register::Registered;
pub use resolve::{AllowedTarget, TargetPolicy};
pub use rights::{Action, Actor, Rights, Scope};
pub use rules::Rules;
pub(crate) use shared::Cut;
pub use state::State;
use store::{Memory, Store, StoreError};
use timers::Timers;
pub use unix_socket::{OwnSocket, UnixSocket, UnixSocketError};
use writer::Writer;

pub use crate::route::{Destination, Place, Registration, SpecError, TlsWish, UnknownFields};
use crate::route::{Generation, PathPrefix, Route, RouteKey, RouteRef};

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
        let (leases, store) = (Timers::default(), Box::new(Memory));
        let writer = Writer::new(state, leases, clock, store, rules.limits);
        Self::with(writer, rules, fastrand::u32(..), "memory")
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
        let routes = records::restored(stored.routes, &stored.leases, &rules, clock.now());
        let mut leases = Timers::default();
        for route in &routes {
            leases.begin(route);
        }
        let mut state = State::new(rules.case);
        state.routes.fill(routes);
        state.routes.resume(Generation(stored.meta.generation));
        let name = store.name();
        if !state.routes.is_empty() {
            log::info!("{} routes from the store", state.routes.len());
        }
        let writer = Writer::new(state, leases, clock, store, rules.limits);
        Ok(Self::with(writer, rules, stored.epoch, name))
    }

    fn with(writer: Writer, rules: Rules, epoch: u32, store: &'static str) -> Self {
        let history = writer.shared.events.history();
        history.sample(rules.failures_per_second);
        Self {
            writer,
            rules,
            epoch,
            store,
        }
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

    /// The name of the store.
    #[must_use]
    pub fn store_name(&self) -> &'static str {
        self.store
    }

    /// Makes a change: once this returns, every later request sees it and the store has it.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub async fn change(&self, change: Change) -> Result<Outcome, ChangeError> {
        self.writer.change(change).await
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

    /// Subscribes to the renewals of leases that change nothing else, which are no events.
    pub fn subscribe_renewals(&self) -> broadcast::Receiver<Arc<Renewal>> {
        self.writer.shared.events.subscribe_renewals()
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

    /// Sets the function that is called at the end of a drain with the serial number of an instance, to
    /// cut the requests that are in flight on it.
    pub(crate) fn on_cut(&self, cut: Cut) {
        *self.writer.shared.cut.lock() = Some(cut);
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
