//! A list of instances as it is written down, of which no more is kept than a route can have.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::instance::InstanceSpec;

/// The most instances that a route has.
pub const MAX_INSTANCES: usize = 1000;

/// Reads the instances of a route. A list of too many ends with the first one too many, which whoever checks the
/// list then refuses: an instance takes a hundred times the memory of `{}`.
///
/// # Errors
/// The deserialiser's.
pub(crate) fn instances<'de, D>(deserializer: D) -> Result<Vec<InstanceSpec>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(Instances)
}

/// As [`instances`], of a field that may be left out, or be `null`.
///
/// # Errors
/// The deserialiser's.
pub(crate) fn optional_instances<'de, D>(
    deserializer: D,
) -> Result<Option<Vec<InstanceSpec>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct List(#[serde(deserialize_with = "instances")] Vec<InstanceSpec>);

    let list = Option::<List>::deserialize(deserializer)?;
    Ok(list.map(|List(instances)| instances))
}

struct Instances;

impl<'de> Visitor<'de> for Instances {
    type Value = Vec<InstanceSpec>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut instances = Vec::new();
        while let Some(instance) = seq.next_element()? {
            instances.push(instance);
            if instances.len() > MAX_INSTANCES {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(instances)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Route {
        #[serde(default, deserialize_with = "optional_instances")]
        instances: Option<Vec<InstanceSpec>>,
    }

    fn read(text: &str) -> Option<usize> {
        let route: Route = serde_json::from_str(text).unwrap();
        route.instances.map(|instances| instances.len())
    }

    #[test]
    fn no_more_is_kept_than_the_first_one_too_many() {
        let list = |count: usize| format!(r#"{{"instances": [{}]}}"#, vec!["{}"; count].join(","));
        for (count, kept) in [(0, 0), (1, 1), (1000, 1000), (1001, 1001), (50_000, 1001)] {
            assert_eq!(read(&list(count)), Some(kept), "{count}");
        }
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"instances": null}"#), None);
        let broken = list(2000).replace("]}", "]");
        assert!(serde_json::from_str::<Route>(&broken).is_err());
    }
}
