//! A change of the routes: what is asked for, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::limits::Exceeded;
use super::rights::{Action, Actor};
use super::store::StoreError;
pub use crate::route::MAX_INSTANCES;
use crate::route::{
    Generation, Instance, InstanceId, Route, RouteKey, Settings, SettingsPatch, Target,
};

/// A change of the routes, which is made as a whole or not at all.
#[derive(Clone, Debug)]
pub struct Change {
    /// The edits.
    pub edits: Edits,
    /// The conditions that have to hold, or nothing is changed.
    pub conditions: Vec<Condition>,
    /// Whether nothing is changed in any case: only the outcome is wanted.
    pub dry_run: bool,
    /// Who asks.
    pub actor: Actor,
}

/// The edits.
#[derive(Clone, Debug)]
pub enum Edits {
    /// One edit after the other.
    Each(Vec<Edit>),
    /// These routes, and no others.
    All(Vec<(RouteKey, Vec<Spec>, Settings)>),
}

/// One edit of one route.
#[derive(Clone, Debug)]
pub enum Edit {
    /// The route has these instances and these settings, and no others.
    Put(RouteKey, Vec<Spec>, Settings),
    /// As `Put`, by an app itself: an instance without a lease is always made anew, since the app that
    /// registers has just started; and a setting that it does not name stays as it was.
    Register(RouteKey, Spec, Settings),
    /// The route has this instance too; these settings go before those that the route has. With the flag the instance is made anew as by `Register`.
    Join(RouteKey, Spec, Settings, bool),
    /// The route has other settings; its instances stay.
    Set(RouteKey, SettingsPatch),
    /// The route is gone, or one of its instances is: at once, or after its requests have ended.
    Leave(RouteKey, Option<InstanceId>, Option<Duration>),
    /// The lease of the instance with this serial number has ended.
    Expire(RouteKey, u64),
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

/// An instance as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name within the route.
    pub id: InstanceId,
    /// Whose it is to be; the actor's, if nobody is named.
    pub owner: Option<Arc<str>>,
    /// Where it is.
    pub target: Target,
    /// The length of its lease.
    pub ttl: Option<Duration>,
}

/// A condition that has to hold for a change to be made (RFC 9110, 13.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The route whose state counts; the whole table's if there is none.
    pub on: Option<RouteKey>,
    /// The expectation.
    pub expected: Expected,
}

/// A state that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It was made by one of these changes.
    OneOf(Vec<Generation>),
}

/// The result of a change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The result of each edit, in their order; for [`Edits::All`] of each route that is left.
    pub results: Vec<EditResult>,
    /// How many routes there are for each result.
    pub counts: Counts,
    /// The table's generation with the change.
    pub generation: Generation,
    /// Whether it was not made.
    pub dry_run: bool,
}

/// The result of one edit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EditResult {
    /// The route's key.
    pub key: RouteKey,
    /// The outcome of it.
    pub what: ChangeResult,
    /// The route as it is now, unless it is gone.
    pub route: Option<Arc<Route>>,
}

/// The outcome of a route or an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeResult {
    /// It is new.
    Created,
    /// It is not what it was before.
    Replaced,
    /// It is as it was; leases were renewed if it has any.
    Unchanged,
    /// It is gone.
    Removed,
    /// It takes no more requests, and will be gone.
    Draining,
}

/// How many routes a change has touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Routes that are new.
    pub created: usize,
    /// Routes that are not what they were.
    pub replaced: usize,
    /// Routes that are as they were.
    pub unchanged: usize,
    /// Routes that are gone or drain.
    pub removed: usize,
}

impl Counts {
    pub(super) fn count(&mut self, what: ChangeResult) {
        match what {
            ChangeResult::Created => self.created += 1,
            ChangeResult::Replaced => self.replaced += 1,
            ChangeResult::Unchanged => self.unchanged += 1,
            ChangeResult::Removed | ChangeResult::Draining => self.removed += 1,
        }
    }
}

impl ChangeResult {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
            Self::Draining => "draining",
        }
    }
}

impl Spec {
    /// Whether an instance is already what is asked for.
    pub(super) fn is(&self, instance: &Instance) -> bool {
        self.id == instance.id
            && self.owner == instance.owner
            && self.target == instance.target
            && self.target.addresses() == instance.target.addresses()
            && self.ttl == instance.ttl()
    }
}

/// Why a change is not made; nothing has changed then. The input itself was in order.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no such route.
    #[error("there is no route {key}")]
    NoSuchRoute {
        /// Its key.
        key: RouteKey,
    },
    /// There is no such instance.
    #[error("the route {key} has no instance {id}")]
    NoSuchInstance {
        /// The route.
        key: RouteKey,
        /// The instance.
        id: InstanceId,
    },
    /// Somebody else was faster.
    #[error(
        "{} is not what the condition expects{}; read it again, then decide",
        on.as_ref().map_or_else(|| "the set of routes".to_owned(), |key| format!("the route {key}")),
        current.map_or_else(|| ": it is not there".to_owned(), |g| format!(": it is of generation {g}"))
    )]
    PreconditionFailed {
        /// The route, or the whole table.
        on: Option<RouteKey>,
        /// Its generation, if it is there.
        current: Option<Generation>,
    },
    /// It belongs to another owner.
    #[error(
        "the route {key} belongs to {owner:?}; only its owner, or a token with the action take_over, \
         may change it"
    )]
    Owned {
        /// The route.
        key: RouteKey,
        /// Its owner.
        owner: Arc<str>,
    },
    /// Somebody registers in another's name.
    #[error(
        "the owner {owner:?} is not the one of the token; leave `owner` out, or use a token with the \
         action take_over"
    )]
    ForeignOwner {
        /// The owner that is named.
        owner: Arc<str>,
    },
    /// The token does not allow it.
    #[error(
        "no scope of the token allows {action} on {key}{}",
        match port {
            None => String::new(),
            Some(0) => " at a Unix socket".to_owned(),
            Some(port) => format!(" with port {port}"),
        }
    )]
    Scope {
        /// The action that it does not allow.
        action: Action,
        /// On which route.
        key: RouteKey,
        /// With which target port.
        port: Option<u16>,
    },
    /// Two entries for one route.
    #[error(
        "the route {key} is here twice, first in entry {first} (counted from 0); keep one of the two"
    )]
    DuplicateRoute {
        /// The route.
        key: RouteKey,
        /// The entry before, counted from 0.
        first: usize,
    },
    /// Two instances of one name.
    #[error("the instance {id} is here twice; give each instance of a route an id of its own")]
    DuplicateInstance {
        /// The name.
        id: InstanceId,
    },
    /// No instances, or too many.
    #[error(
        "a route has 1 to {MAX_INSTANCES} instances, not {}",
        if *count > MAX_INSTANCES { "more" } else { "none" }
    )]
    InstanceCount {
        /// How many were asked for.
        count: usize,
    },
    /// The table would be larger than a limit allows.
    #[error(
        "this would make {} {}, and `{}` allows {}; remove what is not needed, or raise the key",
        .0.wanted, .0.limit.unit(), .0.limit.key(), .0.most
    )]
    Limit(Exceeded),
    /// The store cannot keep it.
    #[error("the change cannot be kept, so it was not made: {0}")]
    Store(#[from] StoreError),
    /// One entry of several.
    #[error("{source}")]
    Entry {
        /// Which one, counted from 0.
        index: usize,
        /// Why.
        source: Box<ChangeError>,
    },
}

impl ChangeError {
    /// The reason for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchRoute { .. } => "NO_SUCH_ROUTE",
            Self::NoSuchInstance { .. } => "NO_SUCH_INSTANCE",
            Self::PreconditionFailed { .. } => "PRECONDITION_FAILED",
            Self::Owned { .. } => "OWNED",
            Self::ForeignOwner { .. } => "FOREIGN_OWNER",
            Self::Scope { .. } => "FORBIDDEN_SCOPE",
            Self::DuplicateRoute { .. } => "DUPLICATE_ROUTE",
            Self::DuplicateInstance { .. } => "DUPLICATE_INSTANCE",
            Self::InstanceCount { .. } => "INSTANCE_COUNT",
            Self::Limit(exceeded) => exceeded.limit.code(),
            Self::Store(StoreError::Full { .. }) => "STORE_FULL",
            Self::Store(StoreError::Closed) => "CLOSED",
            Self::Store(_) => "STORE_FAILED",
            Self::Entry { source, .. } => source.code(),
        }
    }

    /// The error itself and the entry that it is about, if there are several.
    #[must_use]
    pub fn entry(&self) -> (Option<usize>, &Self) {
        match self {
            Self::Entry { index, source } => (Some(*index), source),
            other => (None, other),
        }
    }
}
