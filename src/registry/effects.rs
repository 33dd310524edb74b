//! The effects of a change once it is public: timers, events, the audit.

use std::sync::Arc;

use super::events::{Renewal, RouteEvent, RouteEventKind, RoutesEvent};
use super::shared::{Core, Shared};
use super::step::{Cause, Move, Step};
use super::{Actor, Counts, Event, audit};
use crate::route::{Generation, Instance, RouteKey};

/// A change of more routes than this is one event.
const MOST_EVENTS: usize = 256;

/// The effects of one change.
pub(super) struct Effects<'a> {
    shared: &'a Shared,
    core: &'a mut Core,
    actor: &'a Actor,
    generation: Generation,
}

impl<'a> Effects<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        core: &'a mut Core,
        actor: &'a Actor,
        generation: Generation,
    ) -> Self {
        Self {
            shared,
            core,
            actor,
            generation,
        }
    }

    /// Lets everything follow the steps of one change.
    pub(super) fn of(mut self, steps: Vec<Step>, counts: Counts) {
        // Leases end one by one for whoever waits for them, however many end at a time.
        let is_news =
            |step: &&Step| matches!(step, Step::Move(moved) if moved.cause != Cause::Expire);
        let is_large = steps.iter().filter(is_news).count() > MOST_EVENTS;
        for step in steps {
            match step {
                Step::Move(moved) => self.moved(&moved, is_large),
                Step::Renew(key, instance, ends) => self.renewed(key, instance, ends),
                Step::Drain(key, instance, ends) => self.drains(key, &instance, ends),
                Step::Gone(key, instance, cut) => self.gone(&key, &instance, cut),
            }
        }
        if is_large {
            let generation = self.generation;
            self.shared
                .events
                .emit(Event::Routes(RoutesEvent { counts, generation }));
        }
    }

    fn renewed(&self, key: RouteKey, instance: Arc<Instance>, ends: u64) {
        if let Some(lease) = &instance.lease {
            lease.extend(ends);
        }
        let generation = self.generation;
        self.shared.events.renew(|| Renewal {
            key,
            instance,
            generation,
        });
    }

    fn moved(&mut self, moved: &Move, is_large: bool) {
        let (before, after) = (moved.before.as_ref(), moved.after.as_ref());
        let Some(key) = moved.key() else { return };
        for left in moved.left() {
            self.core.leases.remove(left.serial);
        }
        for joined in moved.joined() {
            if let Some(lease) = &joined.lease {
                self.core
                    .leases
                    .set(joined.serial, lease.ends(), key.clone());
            }
        }
        audit::moved(
            self.actor,
            moved.cause,
            &key,
            before,
            after,
            self.generation,
        );
        if !is_large {
            self.tell(moved, &key);
        }
    }

    /// The events of a route that was changed.
    fn tell(&self, moved: &Move, key: &RouteKey) {
        use RouteEventKind as K;
        let (before, after) = (moved.before.as_ref(), moved.after.as_ref());
        let left = || moved.left();
        match moved.cause {
            // Each instance has an event of its own, when it begins and when it is gone.
            Cause::Drain => return,
            Cause::Expire => left().for_each(|i| self.emit(K::LeaseExpired, key, Some(i), moved)),
            Cause::Join if before.is_some() => {
                for joined in moved.joined() {
                    let is_known = before.is_some_and(|b| b.instance_named(&joined.id).is_some());
                    let kind = if is_known {
                        K::InstanceReplaced
                    } else {
                        K::InstanceJoined
                    };
                    self.emit(kind, key, Some(joined), moved);
                }
            }
            Cause::Leave if after.is_some() => {
                left().for_each(|i| self.emit(K::InstanceLeft, key, Some(i), moved));
            }
            Cause::Put | Cause::Register if before.is_some() && after.is_some() => {
                self.emit(K::Replaced, key, None, moved);
            }
            _ => {}
        }
        match (before, after) {
            (None, Some(_)) => self.emit(K::Created, key, None, moved),
            (Some(_), None) => self.emit(K::Removed, key, None, moved),
            _ => {}
        }
    }

    fn drains(&mut self, key: RouteKey, instance: &Arc<Instance>, ends: u64) {
        let is_new = instance.drain_ends().is_none();
        instance.drain_until(ends);
        self.core.drains.set(instance.serial, ends, key.clone());
        if is_new {
            let after = self.shared.live.load().routes.get(&key).cloned();
            self.emit_event(RouteEvent {
                kind: RouteEventKind::InstanceDraining,
                key,
                instance: Some(Arc::clone(instance)),
                before: None,
                after,
                generation: self.generation,
            });
        }
    }

    fn gone(&mut self, key: &RouteKey, instance: &Arc<Instance>, cut: bool) {
        self.core.drains.remove(instance.serial);
        if cut {
            // First, for whoever is on the way to it and cannot be found yet.
            instance.end_drain();
            let count = match &*self.shared.cut.lock() {
                Some(cut) => cut(instance.serial),
                None => 0,
            };
            log::info!(
                "{key}: the drain of {} is over, {count} requests cut",
                instance.id
            );
        }
        audit::drained(self.actor, key, instance, self.generation);
        let after = self.shared.live.load().get(key).cloned();
        let is_route_gone = after.is_none();
        let event = |kind| RouteEvent {
            kind,
            key: key.clone(),
            instance: Some(Arc::clone(instance)),
            before: None,
            after: after.clone(),
            generation: self.generation,
        };
        self.emit_event(event(RouteEventKind::InstanceLeft));
        if is_route_gone {
            self.emit_event(event(RouteEventKind::Removed));
        }
    }

    fn emit(
        &self,
        kind: RouteEventKind,
        key: &RouteKey,
        instance: Option<&Arc<Instance>>,
        moved: &Move,
    ) {
        self.emit_event(RouteEvent {
            kind,
            key: key.clone(),
            instance: instance.cloned(),
            before: moved.before.clone(),
            after: moved.after.clone(),
            generation: self.generation,
        });
    }

    fn emit_event(&self, event: RouteEvent) {
        self.shared.events.emit(Event::Route(Arc::new(event)));
    }
}

/// Lets the leases go on that a change renews and that does nothing else, though it cannot be kept:
/// whoever renews is alive, and a full disk takes no app's requests away.
pub(super) fn renew_unkept(steps: &[Step]) {
    let renewals = steps.iter().map(|step| match step {
        Step::Renew(_, instance, ends) => instance.lease.as_ref().map(|lease| (lease, *ends)),
        _ => None,
    });
    let renewals: Option<Vec<_>> = renewals.collect();
    for (lease, ends) in renewals.unwrap_or_default() {
        lease.extend(ends);
    }
}
