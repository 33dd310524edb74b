//! A request at a route: counted from when the route was found until the exchange is over.

use std::sync::Arc;

use http::StatusCode;

use crate::registry::Clock;
use crate::route::{Balance, Instance, Route, RouteRef};

/// One request at a route and at one of its instances. Both count it as in flight until this is
/// dropped, however the exchange ends.
#[derive(Debug)]
pub(super) struct InFlight {
    route: RouteRef,
    instance: usize,
    status: Option<StatusCode>,
    clock: Clock,
}

impl InFlight {
    /// A request at one of a route's instances; `None` if that one has begun to drain since the route
    /// was found: it may be gone, and the table has another answer by now.
    pub(super) fn begin(route: RouteRef, balance: &dyn Balance, clock: Clock) -> Option<Self> {
        let turn = route.activity.begin(clock.now());
        let instance = if route.instance_count() == 1 {
            0
        } else {
            balance.choose(&route, turn) % route.instance_count()
        };
        // Counted first, then looked at: the other way round, the drain could end in between.
        route.instance(instance).begin();
        if route.instance(instance).drain_ends().is_some() {
            route.instance(instance).end();
            route.activity.take_back();
            return None;
        }
        Some(Self {
            route,
            instance,
            status: None,
            clock,
        })
    }

    pub(super) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The index of the instance that the request goes to.
    pub(super) fn index(&self) -> usize {
        self.instance
    }

    pub(super) fn instance(&self) -> &Instance {
        self.route.instance(self.instance)
    }

    /// The request goes to another instance.
    pub(super) fn go_to(&mut self, index: usize) {
        if index != self.instance {
            self.route.instance(index).begin();
            self.instance().end();
            self.instance = index;
        }
    }

    /// The client is answered with this status.
    pub(super) fn respond(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.route.activity.receive(bytes, self.clock.now());
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.route.activity.send(bytes, self.clock.now());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let status = self.status.map(|status| status.as_u16());
        self.route.activity.end(status, self.clock.now());
        self.instance().end();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::route::{Generation, HostPattern, PathPrefix, RoundRobin, RouteKey, Target};

    #[test]
    fn nothing_begins_at_an_instance_that_drains() {
        let key = RouteKey {
            host: HostPattern::Any,
            prefix: PathPrefix::root(),
        };
        let target = Target::new("localhost", NonZeroU16::MIN, []);
        let instance = Arc::new(Instance::new(target));
        let route = Arc::new(Route::new(key, Arc::clone(&instance), Generation(1)));
        let begin = || InFlight::begin(RouteRef::new(&route), &RoundRobin, Clock::from(0));
        let in_flight = begin().unwrap();
        assert_eq!(instance.in_flight(), 1);
        instance.drain_until(0);
        assert!(begin().is_none() && !instance.is_over());
        assert_eq!(instance.in_flight(), 1, "the one before goes on");
        drop(in_flight);
        let totals = route.activity.totals();
        assert_eq!((instance.in_flight(), totals.in_flight), (0, 0));
        assert_eq!(totals.ended.iter().sum::<u64>(), 1);
        instance.end_drain();
        assert!(begin().is_none() && instance.is_over());
    }
}
