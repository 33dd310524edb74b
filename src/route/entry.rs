//! A route, and what identifies it.

use std::fmt;

use super::{HostPattern, PathPrefix, Target};

/// A route: which requests it takes, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The hosts that it holds for.
    pub host: HostPattern,
    /// The paths that it takes.
    pub prefix: PathPrefix,
    /// Where its requests go.
    pub target: Target,
    /// The change that put it into the table.
    pub generation: Generation,
}

/// What identifies a route: registering the same key again replaces the target. Whether two
/// prefixes that differ in case are one key is the table's to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// The hosts.
    pub host: HostPattern,
    /// The paths.
    pub prefix: PathPrefix,
}

/// The number of a change of the table; each change has a higher one than those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl Route {
    /// What identifies this route.
    #[must_use]
    pub fn key(&self) -> RouteKey {
        RouteKey {
            host: self.host.clone(),
            prefix: self.prefix.clone(),
        }
    }
}

impl Generation {
    /// The number of the next change.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The host pattern and the prefix behind it: `*/shop`, `example.com/shop`.
impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.prefix)
    }
}
