//! The ends that come by themselves: those of leases that were not renewed, and of drains.

use std::sync::Arc;

use log::error;

use super::attempt::Attempt;
use super::change::{Change, Counts, Edit, Edits};
use super::effects::Effects;
use super::rights::Actor;
use super::shared::{Core, Shared};
use super::state::State;
use crate::route::{Instance, Route, RouteKey};

/// The most leases that end in one change.
const MOST_EXPIRED: usize = 4096;

impl Shared {
    /// Ends the leases whose time has come and that were not renewed.
    pub(super) fn end_leases(&self, core: &mut Core) {
        let now = self.clock.now();
        let due = core.leases.due(now, MOST_EXPIRED);
        let mut edits = Vec::new();
        for (serial, key) in due {
            let state = self.live.load();
            let instance = state
                .routes
                .get(&key)
                .and_then(|route| with_serial(route, serial));
            match instance.and_then(|instance| instance.lease.as_ref()) {
                Some(lease) if lease.ends() > now => {
                    core.leases.set(serial, lease.ends(), key.clone());
                }
                Some(_) => edits.push(Edit::Expire(key, serial)),
                None => {}
            }
        }
        if !edits.is_empty() {
            self.expire(core, edits);
        }
    }

    fn expire(&self, core: &mut Core, edits: Vec<Edit>) {
        let change = Change {
            edits: Edits::Each(edits),
            conditions: Vec::new(),
            dry_run: false,
            actor: Actor::local("lease"),
        };
        let is_open = core.store.is_some();
        for answer in self.process(core, &[change], is_open, true) {
            if let Err(error) = answer {
                error!("leases have ended, but their routes stay: {error}");
            }
        }
    }

    /// Ends the drains whose time has come, or that have nothing in flight any more.
    pub(super) fn end_drains(&self, core: &mut Core) {
        if core.drains.is_empty() {
            return;
        }
        let now = self.clock.now();
        let state = State::clone(&self.live.load());
        let generation = state.generation();
        let actor = Actor::local("drain");
        let mut attempt = Attempt::new(state, &actor, now);
        let entries: Vec<(u64, RouteKey)> = core
            .drains
            .iter()
            .map(|(serial, key)| (serial, key.clone()))
            .collect();
        for (serial, key) in entries {
            let route = attempt.state.draining.get(&key);
            match route.and_then(|route| with_serial(route, serial)).cloned() {
                Some(instance) => end_drain(&mut attempt, &key, &instance, now),
                None => core.drains.remove(serial),
            }
        }
        let (state, steps) = (attempt.state, attempt.steps);
        if !steps.is_empty() {
            self.publish(state);
            let counts = Counts::default();
            Effects::new(self, core, &actor, generation).of(steps, counts);
        }
    }
}

/// Takes an instance away whose drain is over, or that has nothing in flight any more.
fn end_drain(attempt: &mut Attempt<'_>, key: &RouteKey, instance: &Arc<Instance>, now: u64) {
    let is_over = instance.drain_ends().is_some_and(|ends| ends <= now);
    let is_idle = instance.in_flight() == 0;
    if is_over || is_idle {
        attempt.gone(key, instance, !is_idle);
    }
}

fn with_serial(route: &Arc<Route>, serial: u64) -> Option<&Arc<Instance>> {
    route.instances().find(|instance| instance.serial == serial)
}
