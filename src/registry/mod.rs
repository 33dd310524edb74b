//! The live routes and their only writer: the rules of registration, generations, events.
//!
//! Readers take [`Registry::lookup`]; it never waits for a writer. A registration is checked and
//! resolved first and then applied as one change: when [`Registry::register`] returns, every later
//! request on every thread sees it.

mod error;
mod events;
mod registration;
mod resolve;
mod rights;
pub mod store;

use std::sync::Arc;

use tokio::sync::broadcast;

pub use error::RegisterError;
pub(crate) use events::Events;
pub use events::{Event, ProxyError, ProxyFailure, RegisterFailure};
pub use registration::{Registration, UnknownFields};
pub use resolve::{AllowedTarget, TargetPolicy};
pub use rights::{Action, Actor, Rights, Scope};

use crate::route::{
    CaseSensitivity, Generation, LiveTable, PathPrefix, Route, RouteKey, Table, Target,
};

/// The rules that registrations follow.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Which targets are allowed.
    pub targets: TargetPolicy,
    /// Prefixes that belong to the proxy.
    pub reserved: Vec<PathPrefix>,
    /// Whether prefixes match with regard to ASCII case.
    pub case: CaseSensitivity,
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
#[derive(Debug)]
pub struct Registry {
    table: LiveTable,
    rules: Rules,
    events: Events,
}

impl Registry {
    /// A registry without routes.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            table: LiveTable::new(Table::new(rules.case)),
            rules,
            events: Events::default(),
        }
    }

    /// The route that takes a request: `host` lower-case and without port, `path` normalised.
    #[must_use]
    pub fn lookup(&self, host: &str, path: &str) -> Option<Arc<Route>> {
        self.table.load().lookup(host, path).cloned()
    }

    /// All routes, as of one generation.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.table.load().iter().cloned().collect()
    }

    /// Registers an app. The lookup of a name happens on a thread of its own, so that no other
    /// request waits for it.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub async fn register(
        self: &Arc<Self>,
        registration: Registration,
    ) -> Result<Registered, RegisterError> {
        let registration = self.admit(registration)?;
        if is_resolved(&registration.host) {
            return self.register_now(&registration);
        }
        let registry = Arc::clone(self);
        let host = registration.host.clone();
        tokio::task::spawn_blocking(move || registry.register_now(&registration))
            .await
            .map_err(|error| RegisterError::TargetUnresolved {
                host,
                reason: error.to_string(),
            })?
    }

    /// Registers an app and blocks while a name is looked up: for the time before the server runs.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub fn register_blocking(
        &self,
        registration: Registration,
    ) -> Result<Registered, RegisterError> {
        self.register_now(&self.admit(registration)?)
    }

    /// Checks everything about a registration that `register` checks, and changes nothing.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn check(&self, registration: Registration) -> Result<(), RegisterError> {
        let registration = self.admit(registration)?;
        self.rules
            .targets
            .resolve(&registration.host, registration.port)
            .map(|_target| ())
    }

    /// Removes a route; requests that are on their way to its target are not disturbed.
    pub fn remove(&self, key: &RouteKey) -> Option<Arc<Route>> {
        self.table.update(|table| table.remove(key))
    }

    /// Subscribes to the events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        self.events.emit(event);
    }

    /// The registration with its prefix in the table's spelling, unless the prefix is taken.
    fn admit(&self, mut registration: Registration) -> Result<Registration, RegisterError> {
        if self
            .rules
            .reserved
            .iter()
            .any(|own| registration.prefix.is_within(own))
        {
            return Err(RegisterError::Reserved {
                prefix: registration.prefix.to_string(),
            });
        }
        if self.rules.case == CaseSensitivity::Insensitive {
            registration.prefix = registration.prefix.to_ascii_lowercase();
        }
        Ok(registration)
    }

    fn register_now(&self, registration: &Registration) -> Result<Registered, RegisterError> {
        let target = self
            .rules
            .targets
            .resolve(&registration.host, registration.port)?;
        let registered = self.apply(registration, &target);
        for route in &registered.routes {
            log::info!("registered {} -> {}", route.key(), route.target);
            self.emit(|| Event::RouteRegistered(Arc::clone(route)));
        }
        Ok(registered)
    }

    fn apply(&self, registration: &Registration, target: &Target) -> Registered {
        self.table.update(|table| {
            let generation = table.advance();
            let routes: Vec<Arc<Route>> = registration
                .request_hosts
                .iter()
                .map(|host| {
                    Arc::new(Route {
                        host: host.clone(),
                        prefix: registration.prefix.clone(),
                        target: target.clone(),
                        generation,
                    })
                })
                .collect();
            for route in &routes {
                table.insert(Arc::clone(route));
            }
            Registered { routes, generation }
        })
    }
}

/// Whether a host needs no lookup that could take its time.
fn is_resolved(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}
