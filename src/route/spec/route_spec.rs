//! A route as it is written down: its key, its instances, its settings.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::instance::InstanceSpec;
use super::instance_list::instances;
use crate::route::object::With;
use crate::route::{Route, Settings, texts};

/// A route as it is written down.
pub type RouteSpec = With<KeyedInstances, Settings>;

/// A route as it is asked for: its key, its instances, its settings.
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
    #[serde(deserialize_with = "instances")]
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
