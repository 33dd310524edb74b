//! The names of keys: which exist where, and which one a misspelt one was meant to be.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

use super::acme::{AcmeChallenge, AcmeEab, AcmeKeys};
use super::control::ControlKeys;
use super::error::Hint;
use super::file::{File, RuntimeMetricsPollTimeHistogramScale};
use super::health::Health;
use super::listen::ListenKeys;
use super::pingora::NO_EFFECT;
use super::registration::{RegistrationKeys, UnknownFields};
use super::section::{
    Engine, Errors, Events, Http2, Limits, Overload, ProxyProtocol, RequestId, Routing, Targets,
    Timeouts,
};
use super::store::{EmbeddedKeys, StoreKeys};
use super::tls::{ClientAuthKeys, Mode, TlsCertificate, TlsKeys, TlsListenKeys};
use super::{route_entry, spelling};
use crate::route::Settings;

/// More keys than this are not listed in a message.
const LISTED: usize = 12;

/// Every map of the file: its path (empty for the top level) and its keys.
pub(super) fn sections() -> Vec<(&'static str, &'static [&'static str])> {
    let settings = Settings::FIELDS.iter();
    let objects = settings.filter(|field| !field.keys.is_empty());
    let mut sections = vec![
        ("", keys::<File>()),
        ("routing", keys::<Routing>()),
        ("registration", keys::<RegistrationKeys>()),
        ("control", keys::<ControlKeys>()),
        ("health", keys::<Health>()),
        ("events", keys::<Events>()),
        ("store", &["embedded"]),
        ("store.embedded", keys::<EmbeddedKeys>()),
        ("targets", keys::<Targets>()),
        ("routes[]", route_entry::keys()),
        ("timeouts", keys::<Timeouts>()),
        ("proxy_protocol", keys::<ProxyProtocol>()),
        ("http2", keys::<Http2>()),
        ("limits", keys::<Limits>()),
        ("overload", keys::<Overload>()),
        ("errors", keys::<Errors>()),
        ("request_id", keys::<RequestId>()),
        ("tls", keys::<TlsKeys>()),
        ("tls.certificates[]", keys::<TlsCertificate>()),
        ("tls.client_auth", keys::<ClientAuthKeys>()),
        ("listen[]", keys::<ListenKeys>()),
        ("tls.listen[]", keys::<TlsListenKeys>()),
        ("tls.listen[].client_auth", keys::<ClientAuthKeys>()),
        ("acme", keys::<AcmeKeys>()),
        ("acme.eab", keys::<AcmeEab>()),
    ];
    sections.extend(objects.map(|field| (field.path, field.keys)));
    sections
}

/// Every key that is one of a few words, and these.
fn words() -> [(&'static str, &'static [&'static str]); 7] {
    let scale = keys::<RuntimeMetricsPollTimeHistogramScale>();
    [
        ("engine", keys::<Engine>()),
        ("store", keys::<StoreKeys>()),
        ("acme.challenge", keys::<AcmeChallenge>()),
        ("registration.unknown_fields", keys::<UnknownFields>()),
        ("tls.client_auth.mode", keys::<Mode>()),
        ("tls.listen[].client_auth.mode", keys::<Mode>()),
        ("runtime_metrics_poll_time_histogram_scale", scale),
    ]
}

/// The key that is one of a few words at a path, or around it, and these.
pub(super) fn words_at(mut path: &str) -> Option<(&str, &'static [&'static str])> {
    loop {
        let of_all: String = path.chars().filter(|char| !char.is_ascii_digit()).collect();
        if let Some((_, words)) = words().into_iter().find(|(key, _)| *key == of_all) {
            return Some((path, words));
        }
        path = path.rfind(['.', '[']).and_then(|end| path.get(..end))?;
    }
}

/// The section that has a key of this very name.
fn section_of(name: &str) -> Option<&'static str> {
    sections()
        .into_iter()
        .find(|(_, keys)| keys.contains(&name))
        .map(|(section, _)| section)
}

/// Guesses the key that was meant. A slip of one letter is likelier than a wrong section, and that
/// is likelier than a key with many letters wrong.
pub(super) fn hint(name: &str, known: &[&'static str]) -> Hint {
    if name == NO_EFFECT {
        return Hint::NoEffect;
    }
    if let Some(next) = spelling::next(name, known) {
        return Hint::Nearest(next);
    }
    if let Some(section) = section_of(name) {
        return Hint::Elsewhere(section);
    }
    match spelling::nearest(name, known) {
        Some(near) => Hint::Nearest(near),
        None if known.len() > LISTED => Hint::Reference,
        None => Hint::Known(known.to_vec()),
    }
}

/// The keys of a struct, or the words of an enum, as its derived `Deserialize` announces them.
fn keys<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Announced) {
        Err(Keys(keys)) => keys,
        Ok(_) => &[],
    }
}

struct Announced;

impl<'de> Deserializer<'de> for Announced {
    type Error = Keys;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Keys> {
        Err(Keys(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Keys> {
        Err(Keys(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Keys> {
        Err(Keys(variants))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[derive(Debug)]
struct Keys(&'static [&'static str]);

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Keys {}

impl Error for Keys {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::super::spelling::nearest;
    use super::*;

    #[test]
    fn a_key_with_a_few_wrong_letters_finds_its_neighbour() {
        let keys = keys::<File>();
        for (name, expected) in [
            ("thread", Some("threads")),
            ("Threads", Some("threads")),
            ("work-stealing", Some("work_stealing")),
            (
                "upstreamKeepalivePoolSize",
                Some("upstream_keepalive_pool_size"),
            ),
            ("lsiten", Some("listen")),
            ("prot", Some("port")),
            ("timeout", Some("timeouts")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, keys), expected, "{name}");
        }
    }

    #[test]
    fn every_section_announces_its_keys() {
        for (section, keys) in sections() {
            assert!(!keys.is_empty(), "{section}");
        }
        for (key, words) in words() {
            assert!(!words.is_empty(), "{key}");
        }
    }
}
