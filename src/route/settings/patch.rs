//! A change of some settings, as a merge patch (RFC 7396): each is said, left as it is, or taken back.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess};
use serde_json::{Map, Value};

use super::list::Settings;
use crate::route::{FieldError, Group, UniqueNames};

/// The most parts of a setting's value: more than any setting has.
const MOST_PARTS: usize = 100;

/// Settings that are to be other than they are. What is left out stays, and what is `null` is taken back, also
/// within a setting that is an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsPatch {
    /// Those that are said.
    pub said: Settings,
    /// The patch, by the names of settings. Each value is one of its setting, but for what is `null` in it.
    patch: Map<String, Value>,
}

impl SettingsPatch {
    /// These settings with the changes.
    #[must_use]
    pub fn applied_to(&self, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        let mut values = match serde_json::to_value(&settings) {
            Ok(Value::Object(values)) => values,
            _ => Map::new(),
        };
        for (name, patch) in &self.patch {
            let mut value = values.remove(name).unwrap_or_default();
            merge(&mut value, patch);
            if let Err(error) = settings.set(name, &value) {
                log::error!("a setting cannot be changed: {error}");
            }
        }
        settings
    }
}

/// Applies a merge patch to a value (RFC 7396, 2).
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(fields) = value else { return };
    for (name, patch) in patch {
        if patch.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), patch);
        }
    }
}

impl Group for SettingsPatch {
    const NAMES: &'static [&'static str] = Settings::NAMES;

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(Change { patch: self, name })
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), FieldError> {
        self.said.set(name, value)?;
        self.patch.insert(name.to_owned(), value.clone());
        Ok(())
    }
}

/// Reads the change of one setting.
struct Change<'p> {
    patch: &'p mut SettingsPatch,
    name: &'p str,
}

impl<'de> DeserializeSeed<'de> for Change<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let value = UniqueNames::up_to(MOST_PARTS).deserialize(deserializer)?;
        let set = self.patch.set(self.name, &value);
        set.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        serde_json::from_str(text).unwrap()
    }

    fn patch(text: &str) -> SettingsPatch {
        let mut patch = SettingsPatch::default();
        let fields: Map<String, Value> = serde_json::from_str(text).unwrap();
        for (name, value) in fields {
            patch.set(&name, &value).unwrap();
        }
        patch
    }

    #[test]
    fn a_setting_is_said_left_or_taken_back() {
        let change = patch(r#"{"tls":"require","hsts":null}"#);
        let before = r#"{"tls":"redirect","hsts":"off","client_certificate":"require"}"#;
        let after = r#"{"tls":"require","client_certificate":"require"}"#;
        assert_eq!(change.applied_to(&settings(before)), settings(after));
        assert_eq!(
            change.applied_to(&settings("{}")),
            settings(r#"{"tls":"require"}"#)
        );
        let nothing = SettingsPatch::default();
        assert_eq!(nothing.applied_to(&settings(before)), settings(before));
    }

    #[test]
    fn so_is_a_part_of_a_setting() {
        let both = r#"{"timeouts":{"connect":"1s","first_byte":"2s"}}"#;
        for (before, change, after) in [
            (both, r#"{"timeouts":{}}"#, both),
            (
                both,
                r#"{"timeouts":{"connect":null,"between_bytes":"off"}}"#,
                r#"{"timeouts":{"first_byte":"2s","between_bytes":"off"}}"#,
            ),
            (
                both,
                r#"{"timeouts":{"connect":null,"first_byte":null}}"#,
                "{}",
            ),
            (both, r#"{"timeouts":null}"#, "{}"),
            ("{}", r#"{"timeouts":{"connect":null}}"#, "{}"),
            (
                "{}",
                r#"{"timeouts":{"connect":null,"first_byte":"2s"}}"#,
                r#"{"timeouts":{"first_byte":"2s"}}"#,
            ),
        ] {
            let applied = patch(change).applied_to(&settings(before));
            assert_eq!(applied, settings(after), "{change}");
        }
    }

    #[test]
    fn what_cannot_be_is_no_change() {
        let mut change = SettingsPatch::default();
        let error = change.set("timeouts", &serde_json::json!({"connect": 1}));
        assert_eq!(error.unwrap_err().code, "INVALID_TIMEOUTS");
        assert_eq!(change, SettingsPatch::default());
    }
}
