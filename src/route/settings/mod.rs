//! What can be set of a route: one file for each setting, and the one list of them. Everything that reads or
//! writes a route follows from the list: registrations, the control API and its description, the store, the
//! audit, the command line, the configuration.
//!
//! A new setting is a file with a type that is a [`Setting`], and a line in the list.

mod client_certificate;
mod hsts;
mod patch;
mod timeouts;
mod tls;

use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::FieldError;
use super::object::group;

pub use client_certificate::ClientCertificate;
pub use hsts::Hsts;
pub use patch::SettingsPatch;
pub use timeouts::{RouteTimeouts, Timeout, TimeoutOrOff};
pub use tls::TlsPolicy;

/// A setting of a route. It is read and written by serde; `FromStr` and `Display` are its form on the
/// command line.
pub trait Setting:
    Clone + Eq + Serialize + DeserializeOwned + FromStr<Err = FieldError> + Display
{
    /// The code of a value that is not one.
    const CODE: &'static str;
    /// What it does, for the help of the command line.
    const HELP: &'static str;
    /// What a value is called there.
    const VALUE: &'static str;
    /// All values, if they are few.
    const VALUES: &'static [&'static str] = &[];
    /// The names of its fields, if it is an object.
    const KEYS: &'static [&'static str] = &[];

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
    /// What it does.
    pub help: &'static str,
    /// What a value is called.
    pub value: &'static str,
    /// All values, if they are few.
    pub values: &'static [&'static str],
    /// The names of its fields, if it is an object.
    pub keys: &'static [&'static str],
    /// Where it is in the configuration.
    pub path: &'static str,
}

/// Declares the settings.
macro_rules! settings {
    ($($(#[$attribute:meta])* $field:ident: $type:ty,)*) => {
        group! {
            /// What is set of a route. What is `None` is as the configuration says for all routes.
            pub struct Settings {
                $($(#[$attribute])* $field: $type, <$type as Setting>::CODE;)*
            }
        }

        impl Settings {
            /// The settings, in the order of the list.
            pub const FIELDS: &'static [SettingField] = &[$(SettingField {
                name: stringify!($field),
                help: <$type as Setting>::HELP,
                value: <$type as Setting>::VALUE,
                values: <$type as Setting>::VALUES,
                keys: <$type as Setting>::KEYS,
                path: concat!("routes[].", stringify!($field)),
            }),*];

            /// These settings where `newer` has been said since. What it does not say stays.
            #[must_use]
            pub fn overridden_by(&self, newer: &Self) -> Self {
                Self {
                    $($field: match (&self.$field, &newer.$field) {
                        (Some(before), Some(newer)) => Some(before.overridden_by(newer)),
                        (before, newer) => newer.clone().or_else(|| before.clone()),
                    },)*
                }
            }

            /// Sets one by its text.
            ///
            /// # Errors
            /// [`FieldError`]: there is no such setting, or the text is not one of its values.
            pub fn set_text(&mut self, name: &str, text: &str) -> Result<(), FieldError> {
                match name {
                    $(stringify!($field) => self.$field = Some(text.parse()?),)*
                    _ => return Err(FieldError::unknown(name)),
                }
                Ok(())
            }

            /// The names of those that are set.
            pub fn names(&self) -> impl Iterator<Item = &'static str> {
                let all = [$((stringify!($field), self.$field.is_some())),*];
                all.into_iter().filter_map(|(name, is_set)| is_set.then_some(name))
            }

            /// Those that are set, as texts, each with its name.
            pub fn texts(&self) -> impl Iterator<Item = (&'static str, String)> {
                let all = [$((stringify!($field), self.$field.as_ref().map(ToString::to_string))),*];
                all.into_iter().filter_map(|(name, text)| Some((name, text?)))
            }
        }
    };
}

settings! {
    /// What becomes of requests in cleartext; if it is not given, what `tls.routes` says.
    tls: TlsPolicy,
    /// What browsers are told about later requests; if it is not given, what `tls.hsts` says.
    hsts: Hsts,
    /// Whether clients have to show a certificate.
    client_certificate: ClientCertificate,
    /// How long the app may take; what is not given, as `timeouts` says.
    timeouts: RouteTimeouts,
}

impl Settings {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
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

use by_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_says_overrides_what_the_other_does() {
        let all = r#"{"tls":"require","hsts":"off","client_certificate":"require"}"#;
        let all: Settings = serde_json::from_str(all).unwrap();
        let none = Settings::default();
        assert_eq!(all.overridden_by(&none), all);
        assert_eq!(none.overridden_by(&all), all);
        let redirect = Settings {
            tls: Some(TlsPolicy::Redirect),
            ..Settings::default()
        };
        let mixed = all.overridden_by(&redirect);
        assert_eq!(mixed.tls, Some(TlsPolicy::Redirect));
        assert_eq!(mixed.client_certificate, all.client_certificate);
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        let text = r#"{"tls":"redirect","hsts":"max-age=1","client_certificate":"require"}"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        assert_eq!(serde_json::to_string(&Settings::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<Settings>(r#"{"tls":"on"}"#).is_err());
        let mut again = Settings::default();
        for (name, text) in settings.texts() {
            again.set_text(name, &text).unwrap();
        }
        assert_eq!(again, settings);
    }
}
