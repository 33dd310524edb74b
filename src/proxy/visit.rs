//! A request at a route: counted from when the route was found until the exchange is over.

use std::sync::Arc;

use http::StatusCode;

use crate::registry::Clock;
use crate::route::{Balance, Instance, Route};

/// One request at a route and at one of its instances. Both count it as in flight until this is
/// dropped, however the exchange ends.
#[derive(Debug)]
pub(super) struct Visit {
    route: Arc<Route>,
    instance: usize,
    status: Option<StatusCode>,
    clock: Clock,
}

impl Visit {
    pub(super) fn begin(route: Arc<Route>, balance: &dyn Balance, clock: Clock) -> Self {
        let turn = route.activity.begin(clock.now());
        let instance = if route.instance_count() == 1 {
            0
        } else {
            balance.choose(&route, turn) % route.instance_count()
        };
        route.instance(instance).begin();
        Self {
            route,
            instance,
            status: None,
            clock,
        }
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
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.route.activity.receive(bytes, self.clock.now());
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.route.activity.send(bytes, self.clock.now());
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let status = self.status.map(|status| status.as_u16());
        self.route.activity.end(status, self.clock.now());
        self.instance().end();
    }
}
