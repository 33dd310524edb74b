//! Registering: from what an app asks for to routes that are live.

use std::sync::Arc;

use super::Registry;
use super::change::{Change, ChangeError, ChangeResult, Edit, Edits, Outcome};
use super::error::RegisterError;
use super::events::Event;
use super::limits::{Exceeded, Limit};
use super::rights::Actor;
use super::state::State;
use crate::route::{Destination, Generation, InstanceId, Place, Registration, Route, Target};

/// A registration that is live.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Registered {
    /// The routes that it made, one for each request host.
    pub routes: Vec<Arc<Route>>,
    /// The target of the registration: of one of the routes' instances, if they have several.
    pub target: Target,
    /// The table's generation with them.
    pub generation: Generation,
}

impl Registry {
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
        let change = registration.change(target.clone(), actor);
        let outcome = self.change(change).await?;
        let id = registration.instance.unwrap_or_default();
        Ok(self.registered(&outcome, (&id, target), request.as_deref()))
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
        let id = registration.instance.clone().unwrap_or_default();
        let (change, target) = self.resolved(registration, "library")?;
        let outcome = self.writer.change_here(change, true)?;
        Ok(self.registered(&outcome, (&id, target), None))
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
        let (mut change, _target) = self.resolved(registration, "config")?;
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

    /// As [`resolve`](Self::resolve), on this thread: blocks while a name is looked up.
    ///
    /// # Errors
    /// [`RegisterError`]: it does not resolve, or is not allowed.
    pub fn resolve_blocking(&self, destination: &Destination) -> Result<Target, RegisterError> {
        self.rules.targets.resolve(destination)
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

    fn resolved(
        &self,
        registration: Registration,
        from: &str,
    ) -> Result<(Change, Target), RegisterError> {
        let registration = self.admit(registration)?;
        let target = self.rules.targets.resolve(&registration.destination)?;
        let change = registration.change(target.clone(), Actor::local(from));
        Ok((change, target))
    }

    /// Tells of the registration of an instance, which has been made by a request with this id, if by one.
    fn registered(
        &self,
        outcome: &Outcome,
        (id, target): (&InstanceId, Target),
        request: Option<&str>,
    ) -> Registered {
        let by = request.map_or_else(String::new, |id| format!(" [{id}]"));
        let routes: Vec<Arc<Route>> = outcome
            .results
            .iter()
            .filter_map(|result| result.route.clone())
            .collect();
        for (route, result) in routes.iter().zip(&outcome.results) {
            // A renewal is no news.
            if result.what != ChangeResult::Unchanged {
                log::info!("registered {} -> {target}{by}", route.key());
            }
            if let Some(instance) = route.instance_named(id) {
                let (route, instance) = (Arc::clone(route), Arc::clone(instance));
                self.emit(Event::RouteRegistered(route, instance));
            }
        }
        Registered {
            routes,
            target,
            generation: outcome.generation,
        }
    }
}

/// Whether a host needs no lookup that could take its time.
fn is_resolved(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}
