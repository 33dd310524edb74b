//! JSON values whose objects have each name once. RFC 8259, 4, leaves open which of two fields of one name
//! counts, so that two readers of one body may see different registrations.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Limits of a JSON value that is read, and what was found wrong with it.
#[derive(Debug)]
pub(crate) struct UniqueNames {
    /// How many more values it may have.
    left: usize,
    /// The name that an object has twice.
    twice: Option<String>,
}

impl UniqueNames {
    /// A value of at most this many values, itself and those in it: a value takes many times its text's size
    /// in memory.
    pub(crate) fn up_to(most: usize) -> Self {
        Self {
            left: most,
            twice: None,
        }
    }

    /// The name that an object of the value has twice, which is why reading it has failed.
    pub(crate) fn twice(&self) -> Option<&str> {
        self.twice.as_deref()
    }
}

impl<'de> DeserializeSeed<'de> for &mut UniqueNames {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.left.checked_sub(1) {
            None => Err(D::Error::custom("the value has too many parts")),
            Some(left) => {
                self.left = left;
                deserializer.deserialize_any(self)
            }
        }
    }
}

impl<'de> Visitor<'de> for &mut UniqueNames {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(&mut *self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.contains_key(&name) {
                let error = A::Error::custom(format_args!("duplicate field `{name}`"));
                self.twice = Some(name);
                return Err(error);
            }
            let value = map.next_value_seed(&mut *self)?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, most: usize) -> Result<Value, Option<String>> {
        let mut names = UniqueNames::up_to(most);
        let mut json = serde_json::Deserializer::from_str(text);
        let read = names.deserialize(&mut json);
        read.map_err(|_why| names.twice().map(str::to_owned))
    }

    #[test]
    fn a_value_is_read_as_it_is() {
        let text = r#"{"a": [1, -2, 0.5, "x", null, true], "b": {"a": {}}}"#;
        assert_eq!(read(text, 10), Ok(serde_json::from_str(text).unwrap()));
    }

    #[test]
    fn a_name_stands_once_in_an_object() {
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"b": [{"a": 1, "\u0061": 2}]}"#,
            r#"{"b": {"a": null, "c": 1, "a": null}}"#,
        ] {
            assert_eq!(read(text, 10), Err(Some("a".to_owned())), "{text}");
        }
    }

    #[test]
    fn a_value_of_many_parts_is_not_read() {
        assert_eq!(read("[[], [], []]", 4), Ok(serde_json::json!([[], [], []])));
        assert_eq!(read("[[], [], [], []]", 4), Err(None));
    }
}
