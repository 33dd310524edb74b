//! The trait of a route's settings.

use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::route::FieldError;

/// A setting of a route. It is read and written by serde; `FromStr` and `Display` are its form on the
/// command line.
pub trait Setting:
    Clone + Eq + Serialize + DeserializeOwned + FromStr<Err = FieldError> + Display
{
    /// The code of a value that is not one.
    const CODE: &'static str;
    /// Its effect, for the help of the command line.
    const HELP: &'static str;
    /// The name of a value in that help.
    const VALUE: &'static str;
    /// All values, if they are few.
    const VALUES: &'static [&'static str] = &[];
    /// The names of its fields, if it is an object.
    const KEYS: &'static [&'static str] = &[];

    /// Whether it is as good as no setting, such as an object without fields.
    fn says_nothing(&self) -> bool {
        false
    }

    /// This setting where `newer` has been said since.
    #[must_use]
    fn overridden_by(&self, newer: &Self) -> Self {
        newer.clone()
    }
}

/// A setting, as the command line shows it.
#[derive(Clone, Copy, Debug)]
pub struct SettingField {
    /// Its name.
    pub name: &'static str,
    /// Its effect.
    pub help: &'static str,
    /// The name of a value.
    pub value: &'static str,
    /// All values, if they are few.
    pub values: &'static [&'static str],
    /// The names of its fields, if it is an object.
    pub keys: &'static [&'static str],
    /// Where it is in the configuration.
    pub path: &'static str,
}

/// Reads and writes settings by their texts.
macro_rules! by_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(super) use by_text;
