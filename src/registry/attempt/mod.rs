//! A change tried on a copy of the state, which costs nothing to make and nothing to throw away.
//!
//! What puts instances is in `put`, what takes them away in `leave`, and who may do so in `permission`.

mod leave;
mod permission;
mod put;

use std::collections::HashMap;
use std::sync::Arc;

use super::change::{
    Change, ChangeError, ChangeResult, Counts, Edit, EditResult, Edits, Expected, Outcome, Spec,
};
use super::step::{Cause, Move, Step};
use super::{Actor, State};
use crate::route::{Activity, Generation, Instance, Route, RouteKey, Settings};

/// A change on its way: the state that it leads to, and what has to be done once that is public.
pub(super) struct Attempt<'a> {
    pub(super) state: State,
    pub(super) steps: Vec<Step>,
    actor: &'a Actor,
    now: u64,
    generation: Option<Generation>,
}

type Result<T> = std::result::Result<T, ChangeError>;

impl<'a> Attempt<'a> {
    pub(super) fn new(state: State, actor: &'a Actor, now: u64) -> Self {
        Self {
            state,
            steps: Vec::new(),
            actor,
            now,
            generation: None,
        }
    }

    /// Makes the whole change, or says why not; then this attempt is of no more use.
    pub(super) fn make(&mut self, change: &Change) -> Result<Outcome> {
        for condition in &change.conditions {
            self.expect(condition.on.as_ref(), &condition.expected)?;
        }
        let (mut results, mut counts) = (Vec::new(), Counts::default());
        match &change.edits {
            Edits::Each(edits) => {
                let is_batch = edits.len() > 1;
                let mut puts = HashMap::new();
                for (index, edit) in edits.iter().enumerate() {
                    let key = self.spelt(edit.key());
                    if is_batch {
                        put_once(&mut puts, index, edit)?;
                    }
                    let what = self.edit(&key, edit);
                    let what = what.map_err(|error| at(is_batch, index, error))?;
                    counts.count(what);
                    let route = self.state.routes.get(&key).cloned();
                    results.push(EditResult { key, what, route });
                }
            }
            Edits::All(routes) => self.all(routes, &mut counts)?,
        }
        Ok(Outcome {
            results,
            counts,
            generation: self.state.routes.generation(),
            dry_run: change.dry_run,
        })
    }

    fn expect(&self, on: Option<&RouteKey>, expected: &Expected) -> Result<()> {
        let current = match on {
            None => Some(self.state.routes.generation()),
            Some(key) => self.state.get(key).map(|route| route.generation),
        };
        let holds = match expected {
            Expected::Present => current.is_some(),
            Expected::Absent => current.is_none(),
            Expected::OneOf(generations) => current.is_some_and(|now| generations.contains(&now)),
        };
        if holds {
            return Ok(());
        }
        Err(ChangeError::PreconditionFailed {
            on: on.cloned(),
            current,
        })
    }

    /// The key in the spelling of the route that is there: a route keeps the one that it has come with.
    fn spelt(&self, key: &RouteKey) -> RouteKey {
        let there = self.state.get(key);
        there.map_or_else(|| key.clone(), |route| route.key())
    }

    /// Makes an edit of the route with this key, which is the edit's in the route's own spelling.
    fn edit(&mut self, key: &RouteKey, edit: &Edit) -> Result<ChangeResult> {
        match edit {
            Edit::Put(_, specs, settings) => self.put(key, specs, settings, Cause::Put),
            Edit::Register(_, spec, settings) => {
                let specs = std::slice::from_ref(spec);
                self.put(key, specs, settings, Cause::Register)
            }
            Edit::Join(_, spec, settings, fresh) => self.join(key, spec, settings, *fresh),
            Edit::Set(_, patch) => self.set(key, patch),
            Edit::Leave(_, id, drain) => self.leave(key, id.as_ref(), *drain),
            Edit::Expire(_, serial) => Ok(self.expire(key, *serial)),
        }
    }

    /// These routes and no others.
    fn all(
        &mut self,
        routes: &[(RouteKey, Vec<Spec>, Settings)],
        counts: &mut Counts,
    ) -> Result<()> {
        let mut wanted: HashMap<RouteKey, usize> = HashMap::with_capacity(routes.len());
        for (index, (key, specs, settings)) in routes.iter().enumerate() {
            if let Some(first) = wanted.insert(key.clone(), index) {
                let key = key.clone();
                return Err(at(true, index, ChangeError::DuplicateRoute { key, first }));
            }
            let key = self.spelt(key);
            let what = self
                .put(&key, specs, settings, Cause::Put)
                .map_err(|error| at(true, index, error))?;
            counts.count(what);
        }
        let others: Vec<RouteKey> = self
            .state
            .routes
            .iter()
            .map(|route| route.key())
            .filter(|key| !wanted.contains_key(key))
            .collect();
        for key in others {
            counts.count(self.leave(&key, None, None)?);
        }
        Ok(())
    }

    /// Puts the route with these instances into the table, or takes it out if there are none.
    fn replace(
        &mut self,
        key: &RouteKey,
        before: Option<Arc<Route>>,
        instances: Vec<Arc<Instance>>,
        settings: &Settings,
        cause: Cause,
    ) -> ChangeResult {
        let generation = *self
            .generation
            .get_or_insert_with(|| self.state.routes.advance());
        let activity = before.as_ref().map_or_else(
            || Arc::new(Activity::new(self.now)),
            |before| Arc::clone(&before.activity),
        );
        let after = Route::with_instances(key.clone(), instances, generation, activity);
        let after = after.map(|route| Arc::new(route.with_settings(Some(settings))));
        let what = match (&before, &after) {
            (None, _) => ChangeResult::Created,
            (Some(_), Some(_)) => ChangeResult::Replaced,
            (Some(_), None) => ChangeResult::Removed,
        };
        match &after {
            Some(route) => drop(self.state.routes.insert(Arc::clone(route))),
            None => drop(self.state.routes.remove(key)),
        }
        self.steps.push(Step::Move(Move {
            before,
            after,
            cause,
        }));
        what
    }

    fn renew(&mut self, key: &RouteKey, instance: &Arc<Instance>) {
        if let Some(lease) = &instance.lease {
            let ends = lease.renewed(self.now);
            self.steps
                .push(Step::Renew(key.clone(), Arc::clone(instance), ends));
        }
    }
}

/// Refuses a second put of a route in a list, which would leave the first one without effect. `puts` has those before
/// it, each with its place.
fn put_once(puts: &mut HashMap<RouteKey, usize>, index: usize, edit: &Edit) -> Result<()> {
    match edit {
        Edit::Put(key, ..) => match puts.insert(key.clone(), index) {
            None => Ok(()),
            Some(first) => {
                let key = key.clone();
                Err(at(true, index, ChangeError::DuplicateRoute { key, first }))
            }
        },
        // What is removed between the two is not put in vain.
        Edit::Leave(key, None, _) => {
            puts.remove(key);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn at(is_batch: bool, index: usize, error: ChangeError) -> ChangeError {
    if !is_batch {
        return error;
    }
    ChangeError::Entry {
        index,
        source: Box::new(error),
    }
}

/// The settings of a route.
fn own(settings: Option<&Settings>) -> Settings {
    settings.cloned().unwrap_or_default()
}
