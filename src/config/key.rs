//! The names of keys: which exist where, and which one a misspelt one was meant to be.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

use super::acme::{AcmeEab, AcmeKeys};
use super::control::ControlKeys;
use super::file::File;
use super::listen::ListenKeys;
use super::registration::RegistrationKeys;
use super::routes;
use super::section::{
    Errors, Http2, Limits, Overload, ProxyProtocol, RequestId, Routing, Targets, Timeouts,
};
use super::store::EmbeddedKeys;
use super::tls::{ClientAuthKeys, TlsCertificate, TlsKeys, TlsListenKeys};
use crate::route::Settings;

/// Every map of the file: its path (empty for the top level) and its keys.
pub(super) fn sections() -> Vec<(&'static str, &'static [&'static str])> {
    let settings = Settings::FIELDS.iter();
    let objects = settings.filter(|field| !field.keys.is_empty());
    let mut sections = vec![
        ("", keys::<File>()),
        ("routing", keys::<Routing>()),
        ("registration", keys::<RegistrationKeys>()),
        ("control", keys::<ControlKeys>()),
        ("store", &["embedded"]),
        ("store.embedded", keys::<EmbeddedKeys>()),
        ("targets", keys::<Targets>()),
        ("routes[]", routes::keys()),
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

/// The section that has a key of this very name.
pub(super) fn section_of(name: &str) -> Option<&'static str> {
    sections()
        .into_iter()
        .find(|(_, keys)| keys.contains(&name))
        .map(|(section, _)| section)
}

/// The known name that is nearest to a misspelt one, if any is near enough: a third of its letters
/// may differ. Case, `-` and `_` do not count.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    near(name, known, name.chars().count() / 3)
}

/// As [`nearest`], but at most a letter may differ.
pub(super) fn next<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    near(name, known, 1.min(name.chars().count() / 3))
}

fn near<'a>(name: &str, known: &[&'a str], most: usize) -> Option<&'a str> {
    let name = plain(name);
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name, &plain(known)), *known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, near)| near)
}

fn plain(name: &str) -> String {
    name.replace(['-', '_'], "").to_ascii_lowercase()
}

/// The keys of a struct, as its derived `Deserialize` announces them.
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

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
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
    }
}
