//! Edits that take instances away: at once, after their requests have ended, or with their lease.

use std::sync::Arc;
use std::time::Duration;

use super::super::change::{ChangeError, ChangeResult};
use super::super::clock::millis;
use super::super::rights::Action;
use super::super::step::{Cause, Step};
use super::{Attempt, Result, own};
use crate::route::{Instance, InstanceId, Route, RouteKey};

impl Attempt<'_> {
    /// The route is gone, or one of its instances is: at once, or after its requests have ended.
    pub(super) fn leave(
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
        let Some(route) = self.state.routes.get(key).cloned() else {
            return self.leave_drain(key, id, drain);
        };
        let is_meant = |instance: &Arc<Instance>| id.is_none_or(|id| instance.id == *id);
        let (leaving, staying): (Vec<_>, Vec<_>) = route.instances().cloned().partition(is_meant);
        if leaving.is_empty() {
            return self.leave_drain(key, id, drain);
        }
        self.may_take_all(key, &leaving)?;
        let (cause, what) = match drain {
            Some(_) => (Cause::Drain, ChangeResult::Draining),
            None => (Cause::Leave, ChangeResult::Removed),
        };
        if let Some(drain) = drain {
            self.begin_drain(&route, &leaving, drain);
        }
        let settings = own(route.settings());
        self.replace(key, Some(route), staying, &settings, cause);
        Ok(what)
    }

    /// Sets a new end for instances that drain already, or ends them at once if `drain` is `None`.
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
        self.may_take_all(key, &meant)?;
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
    pub(in crate::registry) fn gone(
        &mut self,
        key: &RouteKey,
        instance: &Arc<Instance>,
        cut: bool,
    ) {
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

    /// The lease of the instance with this serial number has ended.
    pub(super) fn expire(&mut self, key: &RouteKey, serial: u64) -> ChangeResult {
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
}
