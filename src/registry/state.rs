//! The state that requests and readers of the API see, as one value.

use std::sync::Arc;

use crate::route::{CaseSensitivity, Generation, Route, RouteKey, Table};

/// The routes at one moment. A clone takes no time and is not affected by later changes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct State {
    /// The routes that take requests; all of their instances are ready.
    pub routes: Table,
    /// Instances that take no more requests, under the keys of the routes that they were of.
    pub draining: Table,
}

impl State {
    pub(super) fn new(case: CaseSensitivity) -> Self {
        Self {
            routes: Table::new(case),
            draining: Table::new(case),
        }
    }

    /// The route with this key: as it takes requests, else what drains of it.
    #[must_use]
    pub fn get(&self, key: &RouteKey) -> Option<&Arc<Route>> {
        self.routes.get(key).or_else(|| self.draining.get(key))
    }

    /// The number of the last change.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.routes.generation()
    }
}
