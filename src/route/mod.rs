//! Routing, pure: hosts, path prefixes, targets, and the table that says where a request goes. No I/O
//! and no HTTP server is known here.
//!
//! A route has a key (host pattern, path prefix) and a target. A request is matched by its host and
//! the one view of its path: an exact host before a wildcard (the longest first) before any host;
//! within a host, the longest prefix of whole segments.

mod entry;
mod escape;
mod host;
mod key;
mod leaf;
mod live;
mod node;
mod path;
mod prefix;
mod request_target;
mod table;
mod target;
mod tree;

pub use entry::{Generation, Route, RouteKey};
pub use host::{Host, HostError, HostPattern, RequestHost, RequestHostError};
pub use live::{LiveTable, TableGuard};
pub use path::{PathError, RequestPath};
pub use prefix::{MAX_PREFIX, PathPrefix, PrefixError};
pub use request_target::{RequestTarget, TargetFormError};
pub use table::{CaseSensitivity, Table};
pub use target::Target;
