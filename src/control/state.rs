//! The state that the API's handlers share: axum's `State`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::body::BodyLimits;
use super::caller::Callers;
use crate::front::{Clients, Shed};
use crate::health::Health;
use crate::registry::{RegisterFailure, Registry, UnknownFields};
use crate::tls::Certificates;

/// A handler that may answer a refused registration itself.
pub(crate) type RegisterErrorHandler =
    Arc<dyn Fn(&RegisterFailure) -> Option<http::Response<Bytes>> + Send + Sync>;

/// The state that the API's handlers share.
pub(crate) struct Control {
    pub(crate) registry: Arc<Registry>,
    pub(crate) unknown_fields: UnknownFields,
    /// The limits on a registration's body.
    pub(crate) body: BodyLimits,
    pub(crate) callers: Arc<Callers>,
    pub(crate) certificates: Arc<Certificates>,
    /// The limits on a body for the API itself.
    pub(crate) api_body: BodyLimits,
    pub(crate) on_register_error: Option<RegisterErrorHandler>,
    pub(crate) started: Instant,
    /// The health of the proxy, for probes.
    pub(crate) health: Arc<Health>,
    /// The clients of the traffic.
    pub(crate) clients: Arc<Clients>,
    /// The requests that were shed.
    pub(crate) shed: Arc<Shed>,
}
