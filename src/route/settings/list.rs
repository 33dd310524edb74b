//! The list of the settings.

use super::client_certificate::ClientCertificate;
use super::hsts::Hsts;
use super::setting::{Setting, SettingField};
use super::timeouts::RouteTimeouts;
use super::tls::TlsPolicy;
use crate::route::FieldError;
use crate::route::object::group;

/// Declares the settings.
macro_rules! settings {
    ($($(#[$attribute:meta])* $field:ident: $type:ty,)*) => {
        group! {
            /// The settings of a route. A setting that is left out is as the configuration says for all routes.
            pub struct Settings {
                $($(#[$attribute])* $field: $type, <$type as Setting>::CODE, unless <$type as Setting>::says_nothing;)*
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

            /// The name of a setting that both have, and of which it matters who has the last word.
            #[must_use]
            pub fn contradiction(&self, other: &Self) -> Option<&'static str> {
                let all = [$((stringify!($field), match (&self.$field, &other.$field) {
                    (Some(own), Some(other)) => own.overridden_by(other) != other.overridden_by(own),
                    _ => false,
                })),*];
                all.into_iter().find_map(|(name, differs)| differs.then_some(name))
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
    /// The treatment of requests in cleartext; if it is not given, what `tls.routes` says.
    tls: TlsPolicy,
    /// Strict-Transport-Security for later requests; if it is not given, what `tls.hsts` says.
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
    fn two_contradict_each_other_where_the_order_counts() {
        let read = |text: &str| serde_json::from_str::<Settings>(text).unwrap();
        for (one, other, name) in [
            (r#"{"tls":"require"}"#, r#"{"hsts":"off"}"#, None),
            (r#"{"tls":"require"}"#, r#"{"tls":"require"}"#, None),
            (
                r#"{"hsts":"off","tls":"require"}"#,
                r#"{"tls":"optional"}"#,
                Some("tls"),
            ),
            (
                r#"{"timeouts":{"connect":"1s"}}"#,
                r#"{"timeouts":{"first_byte":"1s"}}"#,
                None,
            ),
            (
                r#"{"timeouts":{"connect":"1s"}}"#,
                r#"{"timeouts":{"connect":"2s"}}"#,
                Some("timeouts"),
            ),
        ] {
            let (one, other) = (read(one), read(other));
            assert_eq!(one.contradiction(&other), name, "{one:?} {other:?}");
            assert_eq!(other.contradiction(&one), name, "{other:?} {one:?}");
        }
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        let text = r#"{"tls":"redirect","hsts":"max-age=1","client_certificate":"require"}"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        assert_eq!(serde_json::to_string(&Settings::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<Settings>(r#"{"tls":"on"}"#).is_err());
        for nothing in [r#"{"timeouts":{}}"#, r#"{"timeouts":{"connect":null}}"#] {
            let read: Settings = serde_json::from_str(nothing).unwrap();
            assert_eq!(read, Settings::default(), "{nothing}");
        }
        let mut again = Settings::default();
        for (name, text) in settings.texts() {
            again.set_text(name, &text).unwrap();
        }
        assert_eq!(again, settings);
    }
}
