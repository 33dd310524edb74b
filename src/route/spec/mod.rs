//! A route as it is written down: by apps that register, by clients of the control API and the command line,
//! in the configuration, in the store. Each form has the same fields, which are listed once: those of an
//! instance here, those of a route in [`settings`](super::settings).
//!
//! What is written ([`RouteSpec`], [`InstanceSpec`]) is read first and checked then ([`InstanceSpec::check`],
//! [`Registration`]), so that the faults of the syntax come first.

mod destination;
mod error;
mod instance;
mod registration;
mod ttl;

use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::object::With;
use super::{Group, Route, Settings, texts};

pub use destination::{Destination, HttpsInput, Place, TlsWish, protocol, unix_path};
pub(crate) use destination::{bad_https, bad_unix};
pub use error::{FieldError, SpecError};
pub use instance::{CheckedInstance, InstanceSpec, instance_id, owner, target_host};
pub use registration::{Registration, UnknownFields};
pub(crate) use registration::{missing, no_prefix};
pub use ttl::{TtlError, parse_drain, parse_ttl};

/// A route as it is written down.
pub type RouteSpec = With<KeyedInstances, Settings>;

/// The key of a route, and its instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EntryInput)]
pub struct KeyedInstances {
    /// The request hosts: `*`, `example.com` or `*.example.com`.
    // Whether they may be left out, for any, is the reader's to say.
    #[schema(value_type = texts::HostPattern, required)]
    #[serde(default, deserialize_with = "given")]
    pub host: Option<String>,
    /// The path prefix.
    #[schema(value_type = texts::AskedPrefix)]
    pub prefix: String,
    /// The instances, each with a name of its own.
    #[schema(min_items = 1, max_items = 1000)]
    pub instances: Vec<InstanceSpec>,
}

/// A value that is not `null`, though it may be left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

impl RouteSpec {
    /// A route as it would be asked for to become what it is.
    #[must_use]
    pub fn of(route: &Route) -> Self {
        Self {
            own: KeyedInstances {
                host: Some(route.host.to_string()),
                prefix: route.prefix.to_string(),
                instances: route.instances().map(|one| InstanceSpec::of(one)).collect(),
            },
            group: route.settings().cloned().unwrap_or_default(),
        }
    }
}

/// The fields of a registration that no list has: the contract's own.
const OWN: [&str; 3] = ["prefix", "reqHostNames", "instance"];

/// The fields of a registration, as the contract names them.
#[must_use]
pub fn fields() -> &'static [&'static str] {
    static FIELDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let instance = InstanceSpec::NAMES.iter().filter(|name| **name != "id");
        OWN.iter()
            .chain(instance)
            .chain(Settings::NAMES)
            .copied()
            .collect()
    });
    &FIELDS
}
