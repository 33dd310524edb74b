//! A route as it is written down: by apps that register, by clients of the control API and the command line,
//! in the configuration, in the store. Each form has the same fields, which are listed once: those of an
//! instance in [`InstanceSpec`], those of a route in [`settings`](super::settings).
//!
//! What is written ([`RouteSpec`], [`InstanceSpec`]) is read first and checked then ([`InstanceSpec::check`],
//! [`Registration`]), so that the faults of the syntax come first.

mod destination;
mod error;
mod fields;
mod instance;
mod instance_list;
mod port;
mod registration;
mod route_spec;
mod ttl;

pub use destination::{Destination, HttpsInput, Place, TlsWish, protocol, target_host, unix_path};
pub(crate) use destination::{bad_https, bad_unix};
pub use error::SpecError;
pub use fields::fields;
pub use instance::{CheckedInstance, InstanceSpec, instance_id, owner};
pub use instance_list::MAX_INSTANCES;
pub(crate) use instance_list::optional_instances;
pub use port::Port;
pub use registration::{Registration, UnknownFields};
pub(crate) use registration::{missing, no_prefix};
pub use route_spec::{KeyedInstances, RouteSpec};
pub use ttl::{TtlError, parse_drain, parse_ttl};
