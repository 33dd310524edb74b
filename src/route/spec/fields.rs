//! The names of the fields of a registration.

use std::sync::LazyLock;

use super::instance::InstanceSpec;
use crate::route::{Group, Settings};

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
