//! The data path: what is asked of a request, and the two ways that it can go to its app.
//!
//! A request is read once into one `context::View`; what is matched is what is forwarded. `policy`
//! decides: it asks the table, sees whether a request meets what its route asks for, and knows what
//! clients are told when something fails. Then there are two ways:
//!
//! - `direct`, for HTTP/1.1 to a target without TLS, which is nearly every request: one future moves
//!   the bytes of both directions, with one buffer for each thread.
//! - `gateway`, Pingora's own, for everything else: WebSockets, HTTP/2 and TLS with targets, HTTP/1.0,
//!   and every request that is refused. In its `request_filter` a miss can be answered on a connection
//!   that stays open; `upstream_peer` makes the peer of the route that was found.

mod challenges;
mod context;
mod demand;
mod error;
mod gateway;
mod grpc;
mod headers;
mod https;
mod options;
mod peer;
mod policy;
mod session;
mod target_tls;
mod visit;

pub use challenges::Challenges;
pub use context::Exchange;
pub use gateway::Gateway;
pub use options::{ErrorStatuses, GatewayOptions, RequestIds, SecurityDefaults, Timeouts};
pub(crate) use policy::ProxyErrorHandler;
pub use target_tls::{TargetTlsError, TargetTlsOptions};
