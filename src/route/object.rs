//! Objects whose fields come from several lists: what serde's `flatten` would be if it refused unknown
//! fields. The fields of a route's settings, for one, are listed once, and stand beside others in half a
//! dozen forms of a route.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor,
};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{FieldError, clip_value};

/// Fields that stand in an object beside others. All of them may be left out. The macro `group!` declares one.
pub trait Group: Default {
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Reads the value of the field with this name from an object.
    ///
    /// # Errors
    /// The deserialiser's.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;

    /// Sets the field with this name; `null` is a field that is left out.
    ///
    /// # Errors
    /// [`FieldError`]: there is no such field, or the value is not one of it.
    fn set(&mut self, name: &str, value: &Value) -> Result<(), FieldError>;
}

/// An object's own fields, and a group's beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct With<T, G> {
    /// Its own fields.
    #[serde(flatten)]
    pub own: T,
    /// The group's.
    #[serde(flatten)]
    pub group: G,
}

/// To its own fields.
impl<T, G> Deref for With<T, G> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.own
    }
}

impl<'de, T: Deserialize<'de>, G: Group> Deserialize<'de> for With<T, G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<T, G>(PhantomData<(T, G)>);

impl<'de, T: Deserialize<'de>, G: Group> Visitor<'de> for Fields<T, G> {
    type Value = With<T, G>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<With<T, G>, A::Error> {
        let mut group = G::default();
        let split = Split {
            map,
            group: &mut group,
            seen: 0,
        };
        let own = T::deserialize(MapAccessDeserializer::new(split))?;
        Ok(With { own, group })
    }
}

/// The fields of an object without the group's, which are read on the way.
struct Split<'g, A, G> {
    map: A,
    group: &'g mut G,
    /// A bit for each field of the group that has come.
    seen: u64,
}

impl<'de, A: MapAccess<'de>, G: Group> MapAccess<'de> for Split<'_, A, G> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        // A seed is used once, and a field of the group has none for it.
        let mut seed = Some(seed);
        loop {
            let name = Name {
                others: &mut seed,
                known: G::NAMES,
            };
            match self.map.next_key_seed(name)? {
                None => return Ok(None),
                Some(Named::Other(value)) => return Ok(Some(value)),
                Some(Named::Own(index)) => {
                    let name = G::NAMES.get(index).copied().unwrap_or_default();
                    let bit = 1_u64.checked_shl(u32::try_from(index).unwrap_or(u32::MAX));
                    let bit = bit.unwrap_or(0);
                    if self.seen & bit != 0 {
                        return Err(A::Error::duplicate_field(name));
                    }
                    self.seen |= bit;
                    self.group.read(name, &mut self.map)?;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// The name of a field: one of the group's, or what the other fields make of it.
struct Name<'s, K> {
    others: &'s mut Option<K>,
    known: &'static [&'static str],
}

enum Named<V> {
    Own(usize),
    Other(V),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, K> {
    type Value = Named<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Name<'_, K> {
    type Value = Named<K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        if let Some(index) = self.known.iter().position(|known| *known == name) {
            return Ok(Named::Own(index));
        }
        let Some(seed) = self.others.take() else {
            return Err(E::custom("a name is read twice"));
        };
        match seed.deserialize(Text(name)) {
            Ok(value) => Ok(Named::Other(value)),
            Err(NameError::Unknown(others)) => {
                let known = all(others, self.known);
                Err(E::unknown_field(&clip_value(name), known))
            }
            Err(NameError::Custom(text)) => Err(E::custom(text)),
        }
    }
}

/// A name that the other fields are asked about.
struct Text<'n>(&'n str);

impl<'de> Deserializer<'de> for Text<'_> {
    type Error = NameError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NameError> {
        visitor.visit_str(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The error of a name that the other fields do not take.
#[derive(Debug)]
enum NameError {
    /// The name is not one of these.
    Unknown(&'static [&'static str]),
    Custom(String),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(_) => f.write_str("an unknown name"),
            Self::Custom(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for NameError {}

impl Error for NameError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Custom(text.to_string())
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::Unknown(expected)
    }
}

/// The names of two lists as one, as serde's errors have them. Each list is made once, for the life of the
/// process; there are as many as there are kinds of objects.
fn all(own: &[&'static str], group: &[&'static str]) -> &'static [&'static str] {
    static KNOWN: Mutex<Vec<&'static [&'static str]>> = Mutex::new(Vec::new());
    let names = [own, group].concat();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.iter().find(|found| ***found == *names) {
        return found;
    }
    let names: &'static [&'static str] = Vec::leak(names);
    known.push(names);
    names
}

/// The object's own schema, with the group's properties behind its own.
impl<T: PartialSchema, G: PartialSchema> PartialSchema for With<T, G> {
    fn schema() -> RefOr<Schema> {
        let mut own = T::schema();
        if let (RefOr::T(Schema::Object(own)), RefOr::T(Schema::Object(group))) =
            (&mut own, G::schema())
        {
            for (name, schema) in group.properties {
                own.properties.entry(name).or_insert(schema);
            }
        }
        own
    }
}

impl<T: ToSchema, G: ToSchema> ToSchema for With<T, G> {
    fn name() -> std::borrow::Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
        G::schemas(schemas);
    }
}

/// No fields of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Reads what stands in a map under a name that no group has.
///
/// # Errors
/// The deserialiser's.
pub(super) fn ignore<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|IgnoredAny| ())
}

/// Declares a group of fields, each with its type and the code of a value that is not one of it. None of
/// them has to be given. A value that says nothing, by the function behind `unless`, is a field that is left out.
macro_rules! group {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$attribute:meta])* $field:ident: $type:ty, $code:expr $(, unless $says_nothing:expr)?;)*
        }
    ) => {
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
        #[serde(default, deny_unknown_fields)]
        $(#[$meta])*
        $vis struct $name {
            $(
                $(#[$attribute])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use $crate::route::object::{Nothing, With};
                With::<Nothing, Self>::deserialize(deserializer).map(|read| read.group)
            }
        }

        impl $crate::route::Group for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            fn read<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                map: &mut A,
            ) -> Result<(), A::Error> {
                match name {
                    $(stringify!($field) => {
                        self.$field = map.next_value()?;
                        $(self.$field.take_if(|value| $says_nothing(value));)?
                    })*
                    _ => $crate::route::object::ignore(map)?,
                }
                Ok(())
            }

            fn set(
                &mut self,
                name: &str,
                value: &serde_json::Value,
            ) -> Result<(), $crate::route::FieldError> {
                match name {
                    $(
                        stringify!($field) => {
                            let read = serde_path_to_error::deserialize(value);
                            self.$field = read.map_err(|error| {
                                $crate::route::FieldError::of_value(
                                    stringify!($field),
                                    $code,
                                    value,
                                    &error,
                                )
                            })?;
                            $(self.$field.take_if(|value| $says_nothing(value));)?
                            Ok(())
                        }
                    )*
                    _ => Err($crate::route::FieldError::unknown(name)),
                }
            }
        }
    };
}

pub(super) use group;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    group! {
        /// Two fields.
        struct Pair {
            /// A number.
            a: u8, "INVALID_A";
            /// A text.
            b: String, "INVALID_B";
        }
    }

    group! {
        /// One field.
        struct One {
            /// A number.
            c: u8, "INVALID_C";
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Own {
        x: u8,
        y: Option<u8>,
    }

    type All = With<With<Own, Pair>, One>;

    #[test]
    fn fields_of_all_lists_stand_side_by_side() {
        let text = r#"{"c": 4, "b": "two", "x": 1, "a": null}"#;
        let all: All = serde_json::from_str(text).unwrap();
        assert_eq!(all.own.own, Own { x: 1, y: None });
        assert_eq!(all.own.group.b.as_deref(), Some("two"));
        assert_eq!((all.own.group.a, all.group.c), (None, Some(4)));
    }

    #[test]
    fn what_is_wrong_is_told_as_of_one_object() {
        for (text, why) in [
            (
                r#"{"x": 1, "z": 2}"#,
                "unknown field `z`, expected one of `x`, `y`, `a`, `b`, `c`",
            ),
            (r#"{"a": 1}"#, "missing field `x`"),
            (r#"{"x": 1, "x": 1}"#, "duplicate field `x`"),
            (r#"{"x": 1, "a": null, "a": 1}"#, "duplicate field `a`"),
            (r#"{"x": 1, "c": 1, "c": 1}"#, "duplicate field `c`"),
            (r#"{"x": 1, "a": 300}"#, "invalid value: integer `300`"),
            ("[1]", "expected an object"),
        ] {
            let error = serde_json::from_str::<All>(text).unwrap_err().to_string();
            assert!(
                error.starts_with(why) || error.contains(why),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn an_object_is_written_as_it_is_read() {
        let pair = Pair {
            a: Some(1),
            b: None,
        };
        let all = With {
            own: pair,
            group: One { c: Some(2) },
        };
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"{"a":1,"c":2}"#);
    }

    #[test]
    fn a_field_is_set_by_its_name() {
        let mut pair = Pair::default();
        pair.set("a", &Value::from(7)).unwrap();
        assert_eq!(pair.a, Some(7));
        pair.set("a", &Value::Null).unwrap();
        assert_eq!(pair.a, None);
        let error = pair.set("b", &Value::from(7)).unwrap_err();
        assert_eq!((error.field, error.code), ("b", "INVALID_B"));
    }
}
