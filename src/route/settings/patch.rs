//! A change of some settings: each is said, left as it is, or taken back.

use serde::de::MapAccess;
use serde_json::Value;

use super::list::Settings;
use crate::route::{FieldError, Group};

/// Settings that are to be other than they are. What is left out stays, and what is `null` is taken back, as in
/// a merge patch (RFC 7396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsPatch {
    /// Those that are said.
    pub said: Settings,
    /// Those that are taken back.
    taken_back: Vec<&'static str>,
}

impl SettingsPatch {
    /// These settings with the changes.
    #[must_use]
    pub fn applied_to(&self, settings: &Settings) -> Settings {
        let mut settings = settings.overridden_by(&self.said);
        for name in &self.taken_back {
            if let Err(error) = settings.set(name, &Value::Null) {
                log::error!("a setting cannot be taken back: {error}");
            }
        }
        settings
    }

    /// Notes a setting that has been read: if it is not set then, it was `null`.
    fn note(&mut self, name: &str) {
        if !self.said.names().any(|said| said == name) {
            let known = Self::NAMES.iter().find(|known| **known == name);
            self.taken_back.extend(known);
        }
    }
}

impl Group for SettingsPatch {
    const NAMES: &'static [&'static str] = Settings::NAMES;

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.said.read(name, map)?;
        self.note(name);
        Ok(())
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), FieldError> {
        self.said.set(name, value)?;
        self.note(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_said_left_or_taken_back() {
        let read = |text: &str| serde_json::from_str::<Settings>(text).unwrap();
        let mut patch = SettingsPatch::default();
        patch.set("tls", &Value::from("require")).unwrap();
        patch.set("hsts", &Value::Null).unwrap();
        let before = r#"{"tls":"redirect","hsts":"off","client_certificate":"require"}"#;
        let after = r#"{"tls":"require","client_certificate":"require"}"#;
        assert_eq!(patch.applied_to(&read(before)), read(after));
        assert_eq!(patch.applied_to(&read("{}")), read(r#"{"tls":"require"}"#));
        let nothing = SettingsPatch::default();
        assert_eq!(nothing.applied_to(&read(before)), read(before));
    }
}
