//! Where the routes are kept beyond the process: behind one trait, so that the registry does not know
//! whether there is a disk.

mod embedded;
mod memory;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::route::RouteSpec;

pub use embedded::Embedded;
pub use memory::Memory;

/// A store of routes. Only the registry's writer calls it, one call at a time.
pub trait Store: Send + fmt::Debug {
    /// Everything that is kept. Called once, before the first [`commit`](Self::commit).
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&mut self) -> Result<Stored, StoreError>;

    /// Keeps all of these writes, in their order, or none; when it returns without an error they
    /// survive the end of the process and of the machine's power.
    ///
    /// # Errors
    /// [`StoreError`]; what was kept before is kept still, and a later call may succeed.
    fn commit(&mut self, writes: &[Write], meta: Meta) -> Result<(), StoreError>;

    /// Its name: `memory`, `embedded`.
    fn name(&self) -> &'static str;
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A route as it is from now on; the leases of its instances are not touched.
    PutRoute(Arc<str>, Box<RouteRecord>),
    /// A route that is gone, with all of its leases.
    RemoveRoute(Arc<str>),
    /// When an instance's lease ends, on the registry's clock, in milliseconds.
    PutLease(Arc<str>, Arc<str>, u64),
    /// An instance that has no lease any more.
    RemoveLease(Arc<str>, Arc<str>),
}

/// The values that are kept besides the routes, with every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The number of the last change.
    pub generation: u64,
    /// The registry's clock, in milliseconds: it goes only while the proxy runs.
    pub clock: u64,
}

/// Everything that a store keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// A random number given to the store when it was made: generations of two stores never look
    /// alike.
    pub epoch: u32,
    /// As of the last commit.
    pub meta: Meta,
    /// The routes, each under its key, in no particular order.
    pub routes: Vec<(Arc<str>, RouteRecord)>,
    /// When leases end: the route's key, the instance's id, milliseconds of the registry's clock.
    pub leases: Vec<(Arc<str>, Arc<str>, u64)>,
}

/// A route as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRecord {
    /// The change that made it what it is.
    pub generation: u64,
    /// The route as it is written down.
    pub route: RouteSpec,
    /// The part of each of its instances that `route` does not have, in their order.
    pub instances: Vec<InstanceRecord>,
}

/// The part that is kept of an instance besides what is written down of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceRecord {
    /// The addresses that the target's host stood for when it was registered; none for a Unix socket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<SocketAddr>,
    /// When it joined, in milliseconds since 1970.
    pub since: u64,
}

/// Why a store cannot be used, or a change not be kept. Cheap to clone: many changes share a commit.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk, the quota or the file's largest size is exhausted.
    #[error("the disk is full: {}: {reason}; make room, then try again", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: Arc<str>,
    },
    /// The system refuses.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error, and the remedy.
        reason: Arc<str>,
    },
    /// The file is held by another process.
    #[error(
        "{} is in use by another process; stop it, or give this one a store of its own by \
         `store.embedded.path`",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what it was when it was written.
    #[error(
        "{} is damaged: {reason}; restore it from a backup, or move it away to begin without routes",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The finding.
        reason: Arc<str>,
    },
    /// The file was written by a later release.
    #[error(
        "{} has format {found}, and this release knows formats up to {known}; run the release \
         that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u32,
        /// The last format that is known here.
        known: u32,
    },
    /// The store has been given to the next process, or the registry is gone.
    #[error("this process takes no more changes: another has taken over; try again")]
    Closed,
}
