//! A change tried on a copy of the state, which costs nothing to make and nothing to throw away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::change::{
    Change, ChangeError, ChangeResult, Counts, Edit, EditResult, Edits, Expected, MAX_INSTANCES,
    Outcome, Spec,
};
use super::clock::millis;
use super::{Action, Actor, State};
use crate::route::{
    Activity, Generation, Instance, InstanceId, Lease, Route, RouteKey, Settings, SettingsPatch,
};

/// A change on its way: the state that it leads to, and what has to be done once that is public.
pub(super) struct Attempt<'a> {
    pub(super) state: State,
    pub(super) steps: Vec<Step>,
    actor: &'a Actor,
    now: u64,
    generation: Option<Generation>,
}

/// One step of a change that is made.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A route is not what it was.
    Move(Move),
    /// An instance's lease ends later.
    Renew(RouteKey, Arc<Instance>, u64),
    /// An instance takes no more requests and ends at a time.
    Drain(RouteKey, Arc<Instance>, u64),
    /// A draining instance is gone; with the flag, what is in flight on it is cut.
    Gone(RouteKey, Arc<Instance>, bool),
}

impl Step {
    /// Whether it needs no more room than there was: a route or an instance goes, or a lease goes on.
    pub(super) fn takes_away(&self) -> bool {
        match self {
            Self::Move(Move { before, after, .. }) => {
                let count = |route: &Option<Arc<Route>>| {
                    route.as_ref().map_or(0, |route| route.instance_count())
                };
                count(after) < count(before)
            }
            Self::Renew(..) | Self::Drain(..) | Self::Gone(..) => true,
        }
    }
}

/// A route before and after.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) before: Option<Arc<Route>>,
    pub(super) after: Option<Arc<Route>>,
    pub(super) cause: Cause,
}

/// What moves a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Put,
    Register,
    Join,
    Leave,
    Drain,
    Expire,
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
                for (index, edit) in edits.iter().enumerate() {
                    let what = self
                        .edit(edit)
                        .map_err(|error| at(is_batch, index, error))?;
                    counts.count(what);
                    let key = edit.key().clone();
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

    fn edit(&mut self, edit: &Edit) -> Result<ChangeResult> {
        match edit {
            Edit::Put(key, specs, settings) => self.put(key, specs, settings, Cause::Put),
            Edit::Register(key, spec, settings) => {
                let specs = std::slice::from_ref(spec);
                self.put(key, specs, settings, Cause::Register)
            }
            Edit::Join(key, spec, settings, fresh) => self.join(key, spec, settings, *fresh),
            Edit::Set(key, patch) => self.set(key, patch),
            Edit::Leave(key, id, drain) => self.leave(key, id.as_ref(), *drain),
            Edit::Expire(key, serial) => Ok(self.expire(key, *serial)),
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
            let what = self
                .put(key, specs, settings, Cause::Put)
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

    fn put(
        &mut self,
        key: &RouteKey,
        specs: &[Spec],
        settings: &Settings,
        cause: Cause,
    ) -> Result<ChangeResult> {
        let action = match cause {
            Cause::Register => Action::Register,
            _ => Action::Write,
        };
        self.may_aim(action, key, specs)?;
        distinct(specs)?;
        let before = self.state.routes.get(key).cloned();
        // What an app does not say when it registers stays as it was: it may not know of it.
        let settings = match (&before, cause) {
            (Some(before), Cause::Register) => own(before.settings()).overridden_by(settings),
            _ => settings.clone(),
        };
        // An app that registers for good has just started.
        let is_restart = |spec: &Spec| cause == Cause::Register && spec.ttl.is_none();
        let mut kept = 0;
        let mut instances = Vec::with_capacity(specs.len());
        for spec in specs {
            let spec = self.owned(key, spec)?;
            match before.as_ref().and_then(|b| b.instance_named(&spec.id)) {
                Some(same) if spec.is(same) && !is_restart(&spec) => {
                    kept += 1;
                    instances.push(Arc::clone(same));
                }
                _ => instances.push(Arc::new(self.instance(&spec))),
            }
        }
        let has_the_same = |b: &Arc<Route>| settings == own(b.settings());
        let is_same =
            |b: &Arc<Route>| kept == specs.len() && kept == b.instance_count() && has_the_same(b);
        if before.as_ref().is_some_and(is_same) {
            for same in &instances {
                self.renew(key, same);
            }
            return Ok(ChangeResult::Unchanged);
        }
        if let Some(before) = &before {
            for instance in before.instances() {
                let stays = instances.iter().any(|kept| Arc::ptr_eq(kept, instance));
                if !stays || !has_the_same(before) {
                    self.may_take(key, instance)?;
                }
            }
        }
        let kept: Vec<Arc<Instance>> = before
            .iter()
            .flat_map(|route| route.instances())
            .filter(|old| instances.iter().any(|new| Arc::ptr_eq(new, old)))
            .cloned()
            .collect();
        let what = self.replace(key, before, instances, &settings, cause);
        for kept in &kept {
            self.renew(key, kept);
        }
        Ok(what)
    }

    fn join(
        &mut self,
        key: &RouteKey,
        spec: &Spec,
        settings: &Settings,
        fresh: bool,
    ) -> Result<ChangeResult> {
        self.may_aim(Action::Register, key, std::slice::from_ref(spec))?;
        let spec = self.owned(key, spec)?;
        let before = self.state.routes.get(key).cloned();
        let Some(route) = &before else {
            let instance = Arc::new(self.instance(&spec));
            return Ok(self.replace(key, None, vec![instance], settings, Cause::Join));
        };
        let settings = own(route.settings()).overridden_by(settings);
        let has_the_same = settings == own(route.settings());
        let same = route.instance_named(&spec.id);
        let is_same =
            |same: &&Arc<Instance>| has_the_same && spec.is(same) && (!fresh || spec.ttl.is_some());
        if let Some(same) = same.filter(is_same) {
            self.may_take(key, same)?;
            self.renew(key, same);
            return Ok(ChangeResult::Unchanged);
        }
        let what = if same.is_some() {
            ChangeResult::Replaced
        } else {
            ChangeResult::Created
        };
        for instance in route.instances() {
            // To join is to take a share of the requests.
            self.may_take(key, instance)?;
        }
        let mut instances: Vec<Arc<Instance>> = route.instances().map(Arc::clone).collect();
        let new = Arc::new(self.instance(&spec));
        match instances.iter_mut().find(|instance| instance.id == spec.id) {
            Some(place) => *place = new,
            None => instances.push(new),
        }
        if instances.len() > MAX_INSTANCES {
            let count = instances.len();
            return Err(ChangeError::InstanceCount { count });
        }
        self.replace(key, before, instances, &settings, Cause::Join);
        Ok(what)
    }

    /// Other settings, and the instances that there are.
    fn set(&mut self, key: &RouteKey, patch: &SettingsPatch) -> Result<ChangeResult> {
        self.may(Action::Write, key, None)?;
        let Some(route) = self.state.routes.get(key).cloned() else {
            return Err(ChangeError::NoSuchRoute { key: key.clone() });
        };
        let before = own(route.settings());
        let settings = patch.applied_to(&before);
        if settings == before {
            return Ok(ChangeResult::Unchanged);
        }
        for instance in route.instances() {
            self.may_take(key, instance)?;
        }
        let instances = route.instances().map(Arc::clone).collect();
        Ok(self.replace(key, Some(route), instances, &settings, Cause::Put))
    }

    fn leave(
        &mut self,
        key: &RouteKey,
        id: Option<&InstanceId>,
        drain: Option<Duration>,
    ) -> Result<ChangeResult> {
        let action = if id.is_some() {
            Action::Register
        } else {
            Action::Write
        };
        self.may(action, key, None)?;
        let is_meant = |instance: &Arc<Instance>| id.is_none_or(|id| instance.id == *id);
        let before = self.state.routes.get(key).cloned();
        let (leaving, staying): (Vec<_>, Vec<_>) = match &before {
            Some(route) => route.instances().cloned().partition(is_meant),
            None => (Vec::new(), Vec::new()),
        };
        if leaving.is_empty() {
            return self.leave_drain(key, id, drain);
        }
        for instance in &leaving {
            self.may_take(key, instance)?;
        }
        let cause = if drain.is_some() {
            Cause::Drain
        } else {
            Cause::Leave
        };
        if let (Some(drain), Some(route)) = (drain, &before) {
            self.begin_drain(route, &leaving, drain);
        }
        let settings = before.as_ref().map(|route| own(route.settings()));
        self.replace(key, before, staying, &settings.unwrap_or_default(), cause);
        Ok(if drain.is_some() {
            ChangeResult::Draining
        } else {
            ChangeResult::Removed
        })
    }

    /// What leaves drains already: then its time is set anew, or over.
    fn leave_drain(
        &mut self,
        key: &RouteKey,
        id: Option<&InstanceId>,
        drain: Option<Duration>,
    ) -> Result<ChangeResult> {
        let draining = self.state.draining.get(key).cloned();
        let meant: Vec<Arc<Instance>> = draining
            .iter()
            .flat_map(|route| route.instances())
            .filter(|instance| id.is_none_or(|id| instance.id == *id))
            .cloned()
            .collect();
        if meant.is_empty() {
            let key = key.clone();
            return Err(match id.cloned() {
                Some(id) if self.state.get(&key).is_some() => {
                    ChangeError::NoSuchInstance { key, id }
                }
                _ => ChangeError::NoSuchRoute { key },
            });
        }
        for instance in &meant {
            self.may_take(key, instance)?;
        }
        if let Some(drain) = drain {
            let ends = self.now.saturating_add(millis(drain));
            let steps = meant.into_iter().map(|i| Step::Drain(key.clone(), i, ends));
            self.steps.extend(steps);
            return Ok(ChangeResult::Draining);
        }
        for instance in meant {
            self.gone(key, &instance, true);
        }
        Ok(ChangeResult::Removed)
    }

    fn begin_drain(&mut self, route: &Arc<Route>, leaving: &[Arc<Instance>], drain: Duration) {
        let key = route.key();
        let ends = self.now.saturating_add(millis(drain));
        let before = self.state.draining.get(&key).cloned();
        let all = before.iter().flat_map(|r| r.instances()).chain(leaving);
        let draining = Route::with_instances(
            key.clone(),
            all.cloned().collect::<Vec<_>>(),
            route.generation,
            Arc::clone(&route.activity),
        );
        if let Some(draining) = draining {
            let draining = draining.with_settings(route.settings());
            self.state.draining.insert(Arc::new(draining));
        }
        let steps = leaving
            .iter()
            .map(|instance| Step::Drain(key.clone(), Arc::clone(instance), ends));
        self.steps.extend(steps);
    }

    /// A draining instance has no requests any more, or its time is over.
    pub(super) fn gone(&mut self, key: &RouteKey, instance: &Arc<Instance>, cut: bool) {
        let Some(route) = self.state.draining.get(key).cloned() else {
            return;
        };
        let others = route
            .instances()
            .filter(|other| other.serial != instance.serial)
            .cloned();
        let left = Route::with_instances(
            key.clone(),
            others.collect::<Vec<_>>(),
            route.generation,
            Arc::clone(&route.activity),
        );
        match left {
            Some(left) => {
                let left = left.with_settings(route.settings());
                drop(self.state.draining.insert(Arc::new(left)));
            }
            None => drop(self.state.draining.remove(key)),
        }
        self.steps
            .push(Step::Gone(key.clone(), Arc::clone(instance), cut));
    }

    fn expire(&mut self, key: &RouteKey, serial: u64) -> ChangeResult {
        let Some(route) = self.state.routes.get(key).cloned() else {
            return ChangeResult::Unchanged;
        };
        let is_over = |i: &Arc<Instance>| {
            i.serial == serial
                && i.lease
                    .as_ref()
                    .is_some_and(|lease| lease.ends() <= self.now)
        };
        let staying: Vec<_> = route.instances().filter(|i| !is_over(i)).cloned().collect();
        if staying.len() == route.instance_count() {
            return ChangeResult::Unchanged;
        }
        let settings = own(route.settings());
        self.replace(key, Some(route), staying, &settings, Cause::Expire);
        ChangeResult::Removed
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

    fn instance(&self, spec: &Spec) -> Instance {
        let mut instance = Instance::new(spec.target.clone());
        instance.id = spec.id.clone();
        instance.owner.clone_from(&spec.owner);
        instance.since = SystemTime::now();
        instance.lease = spec
            .ttl
            .map(|ttl| Lease::new(ttl, self.now.saturating_add(millis(ttl))));
        instance
    }

    /// The instance with its owner: the actor, unless another is named and may be.
    fn owned(&self, key: &RouteKey, spec: &Spec) -> Result<Spec> {
        let mut spec = spec.clone();
        match &spec.owner {
            None => spec.owner.clone_from(&self.actor.name),
            Some(owner) => {
                let is_own = self.actor.name.as_ref() == Some(owner);
                if !is_own && !self.actor.rights.allows(Action::TakeOver, key, None) {
                    let owner = Arc::clone(owner);
                    return Err(ChangeError::ForeignOwner { owner });
                }
            }
        }
        Ok(spec)
    }

    fn may(&self, action: Action, key: &RouteKey, port: Option<u16>) -> Result<()> {
        let rights = &self.actor.rights;
        // Who may write a route may also write one of its instances.
        if rights.allows(action, key, port)
            || (action == Action::Register && rights.allows(Action::Write, key, port))
        {
            return Ok(());
        }
        let key = key.clone();
        Err(ChangeError::Scope { action, key, port })
    }

    fn may_aim(&self, action: Action, key: &RouteKey, specs: &[Spec]) -> Result<()> {
        for spec in specs {
            // No range of ports has a 0, which stands for a Unix socket.
            self.may(action, key, Some(spec.target.port().unwrap_or(0)))?;
        }
        self.may(action, key, None)
    }

    fn may_take(&self, key: &RouteKey, instance: &Instance) -> Result<()> {
        match &instance.owner {
            Some(owner)
                if self.actor.name.as_ref() != Some(owner)
                    && !self.actor.rights.allows(Action::TakeOver, key, None) =>
            {
                Err(ChangeError::Owned {
                    key: key.clone(),
                    owner: Arc::clone(owner),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Edit {
    pub(super) fn key(&self) -> &RouteKey {
        match self {
            Self::Put(key, ..)
            | Self::Register(key, ..)
            | Self::Join(key, ..)
            | Self::Set(key, _)
            | Self::Leave(key, ..)
            | Self::Expire(key, _) => key,
        }
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

/// What is set of a route.
fn own(settings: Option<&Settings>) -> Settings {
    settings.cloned().unwrap_or_default()
}

/// At least one instance, not too many, and each with a name of its own.
fn distinct(specs: &[Spec]) -> Result<()> {
    let count = specs.len();
    if count == 0 || count > MAX_INSTANCES {
        return Err(ChangeError::InstanceCount { count });
    }
    let mut ids: Vec<&InstanceId> = specs.iter().map(|spec| &spec.id).collect();
    ids.sort_unstable();
    let mut pairs = ids.iter().zip(ids.iter().skip(1));
    match pairs.find(|(a, b)| a == b) {
        None => Ok(()),
        Some((id, _)) => Err(ChangeError::DuplicateInstance { id: (*id).clone() }),
    }
}
