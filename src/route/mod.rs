//! Routing, pure: hosts, path prefixes, targets, and the table that says where a request goes. No I/O
//! and no HTTP server is known here.
//!
//! A route has a key (host pattern, path prefix) and instances, each with a target. A request is matched by its host and
//! the one view of its path: an exact host before a wildcard (the longest first) before any host;
//! within a host, the longest prefix of whole segments.

mod activity;
mod balance;
mod case_sensitivity;
mod clip;
mod entry;
mod escape;
mod field_error;
mod host;
mod instance;
mod key;
mod leaf;
mod live;
mod node;
pub(crate) mod object;
mod path;
mod per_thread;
mod prefix;
mod request_field;
mod request_target;
mod route_ref;
mod settings;
mod spec;
mod table;
mod target;
pub(crate) mod texts;
mod tree;
mod unique;

pub use activity::{Activity, OUTCOMES, Totals};
pub use balance::{Balance, RoundRobin};
pub use case_sensitivity::CaseSensitivity;
pub use clip::{clip, clip_message, clip_value, printable};
pub use entry::{Generation, Route, RouteKey};
pub use field_error::FieldError;
pub use host::{Host, HostError, HostPattern, RequestHost, RequestHostError};
pub use instance::{Instance, InstanceId, InstanceIdError, Lease};
pub use live::{Live, LiveTable};
pub use object::{Group, Nothing, With};
pub use path::{PathError, RequestPath};
pub use prefix::{MAX_PREFIX, PathPrefix, PrefixError};
pub(crate) use request_field::{FieldAction, field_action, is_guarded_field};
pub use request_target::{RequestTarget, TargetFormError};
pub use route_ref::RouteRef;
pub use settings::{
    ClientCertificate, Hsts, RouteTimeouts, Setting, SettingField, Settings, SettingsPatch,
    Timeout, TimeoutOrOff, TlsPolicy,
};
pub use spec::{
    CheckedInstance, Destination, HttpsInput, InstanceSpec, KeyedInstances, MAX_INSTANCES, Place,
    Port, Registration, RouteSpec, SpecError, TlsWish, TtlError, UnknownFields, fields,
    instance_id, owner, parse_drain, parse_ttl, protocol, target_host, unix_path,
};
pub(crate) use spec::{bad_https, bad_unix, missing, no_prefix, optional_instances};
pub use table::Table;
pub use target::{Endpoint, Protocol, Target, TargetTls};
pub(crate) use unique::UniqueNames;
