//! Edits that put instances or settings.

use std::sync::Arc;
use std::time::SystemTime;

use super::super::change::{ChangeError, ChangeResult, MAX_INSTANCES, Spec};
use super::super::clock::millis;
use super::super::rights::Action;
use super::super::step::Cause;
use super::{Attempt, Result, own};
use crate::route::{Instance, InstanceId, Lease, Route, RouteKey, Settings, SettingsPatch};

type Instances = Vec<Arc<Instance>>;

impl Attempt<'_> {
    /// The route has these instances and no others.
    pub(super) fn put(
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
        let (instances, kept) = self.instances(key, specs, before.as_ref(), cause)?;
        if let Some(before) = &before {
            let has_the_same = settings == own(before.settings());
            let is_whole = kept.len() == specs.len() && kept.len() == before.instance_count();
            if is_whole && has_the_same {
                self.renew_all(key, &kept);
                return Ok(ChangeResult::Unchanged);
            }
            let stays =
                |instance: &Arc<Instance>| kept.iter().any(|kept| Arc::ptr_eq(kept, instance));
            let others = before
                .instances()
                .filter(|one| !has_the_same || !stays(one));
            self.may_take_all(key, others)?;
        }
        let what = self.replace(key, before, instances, &settings, cause);
        self.renew_all(key, &kept);
        Ok(what)
    }

    /// The instances that are asked for; and those of them that the route has already, which stay.
    fn instances(
        &self,
        key: &RouteKey,
        specs: &[Spec],
        before: Option<&Arc<Route>>,
        cause: Cause,
    ) -> Result<(Instances, Instances)> {
        // An app that registers for good has just started.
        let is_restart = |spec: &Spec| cause == Cause::Register && spec.ttl.is_none();
        let (mut instances, mut kept) = (Vec::with_capacity(specs.len()), Vec::new());
        for spec in specs {
            let spec = self.owned(key, spec)?;
            let same = before.and_then(|before| before.instance_named(&spec.id));
            match same.filter(|same| spec.is(same) && !is_restart(&spec)) {
                Some(same) => {
                    kept.push(Arc::clone(same));
                    instances.push(Arc::clone(same));
                }
                None => instances.push(Arc::new(self.instance(&spec))),
            }
        }
        Ok((instances, kept))
    }

    /// The route has this instance too.
    pub(super) fn join(
        &mut self,
        key: &RouteKey,
        spec: &Spec,
        settings: &Settings,
        fresh: bool,
    ) -> Result<ChangeResult> {
        self.may_aim(Action::Register, key, std::slice::from_ref(spec))?;
        let spec = self.owned(key, spec)?;
        let Some(route) = self.state.routes.get(key).cloned() else {
            let instance = Arc::new(self.instance(&spec));
            return Ok(self.replace(key, None, vec![instance], settings, Cause::Join));
        };
        let settings = own(route.settings()).overridden_by(settings);
        let has_the_same = settings == own(route.settings());
        let there = route.instance_named(&spec.id);
        let is_same =
            |same: &&Arc<Instance>| has_the_same && spec.is(same) && (!fresh || spec.ttl.is_some());
        if let Some(same) = there.filter(is_same) {
            self.may_take(key, same)?;
            self.renew(key, same);
            return Ok(ChangeResult::Unchanged);
        }
        let what = match there {
            Some(_) => ChangeResult::Replaced,
            None => ChangeResult::Created,
        };
        // To join is to take a share of the requests.
        self.may_take_all(key, route.instances())?;
        let instances = self.joined(&route, &spec)?;
        self.replace(key, Some(route), instances, &settings, Cause::Join);
        Ok(what)
    }

    /// The instances of a route with this one beside them, or in the place of the one of its name.
    fn joined(&self, route: &Route, spec: &Spec) -> Result<Instances> {
        let mut instances: Instances = route.instances().map(Arc::clone).collect();
        let new = Arc::new(self.instance(spec));
        match instances.iter_mut().find(|instance| instance.id == spec.id) {
            Some(place) => *place = new,
            None => instances.push(new),
        }
        if instances.len() > MAX_INSTANCES {
            let count = instances.len();
            return Err(ChangeError::InstanceCount { count });
        }
        Ok(instances)
    }

    /// Other settings, and the instances that there are.
    pub(super) fn set(&mut self, key: &RouteKey, patch: &SettingsPatch) -> Result<ChangeResult> {
        self.may(Action::Write, key, None)?;
        let Some(route) = self.state.routes.get(key).cloned() else {
            return Err(ChangeError::NoSuchRoute { key: key.clone() });
        };
        let before = own(route.settings());
        let settings = patch.applied_to(&before);
        if settings == before {
            return Ok(ChangeResult::Unchanged);
        }
        self.may_take_all(key, route.instances())?;
        let instances = route.instances().map(Arc::clone).collect();
        Ok(self.replace(key, Some(route), instances, &settings, Cause::Put))
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

    fn renew_all(&mut self, key: &RouteKey, instances: &[Arc<Instance>]) {
        for instance in instances {
            self.renew(key, instance);
        }
    }
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
