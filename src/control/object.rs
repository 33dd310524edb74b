//! A JSON object that is read field by field. What serde derives for a struct takes a list of its
//! values as well (`["*", "/shop"]`), which nobody means.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value that is written as an object, and in no other way.
#[derive(Clone, Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        a: u8,
        b: Option<u8>,
    }

    #[test]
    fn only_an_object_is_one() {
        let read = |text: &str| {
            let read: Result<Object<Pair>, _> = serde_json::from_str(text);
            read.map(|object| object.0)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(r#"{"a": 1}"#), Ok(Pair { a: 1, b: None }));
        for (bad, why) in [
            ("[1, 2]", "expected an object"),
            ("1", "expected an object"),
            ("null", "expected an object"),
            (r#"{"b": 1}"#, "missing field `a`"),
            (r#"{"a": 1, "c": 2}"#, "unknown field `c`"),
            (r#"{"a": 1, "a": 2}"#, "duplicate field `a`"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
