//! The steps of a change that is made: what is kept, counted and told of it.

use std::sync::Arc;

use crate::route::{Instance, Route, RouteKey};

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

impl Move {
    /// The key of the route that moves.
    pub(super) fn key(&self) -> Option<RouteKey> {
        let route = self.after.as_ref().or(self.before.as_ref())?;
        Some(route.key())
    }

    /// The instances that the route has from now on.
    pub(super) fn joined(&self) -> impl Iterator<Item = &Arc<Instance>> {
        missing(self.after.as_ref(), self.before.as_ref())
    }

    /// The instances that the route does not have any more.
    pub(super) fn left(&self) -> impl Iterator<Item = &Arc<Instance>> {
        missing(self.before.as_ref(), self.after.as_ref())
    }
}

/// The cause of a change of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Put,
    Register,
    Join,
    Leave,
    Drain,
    Expire,
}

/// The instances that one route has and the other has not.
fn missing<'r>(
    of: Option<&'r Arc<Route>>,
    in_: Option<&'r Arc<Route>>,
) -> impl Iterator<Item = &'r Arc<Instance>> {
    of.into_iter()
        .flat_map(|route| route.instances())
        .filter(move |instance| {
            !in_.is_some_and(|other| other.instances().any(|o| o.serial == instance.serial))
        })
}
