//! The fields of a message, wherever they stand: in the head of an HTTP/1 message, or in a map of HTTP/2.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

/// A field: its name in any case, and its value.
pub(crate) type Field<'f> = (&'f [u8], &'f [u8]);

/// Where a part of a head stands in its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    start: u32,
    end: u32,
}

impl At {
    /// Where `part`, which is borrowed from `whole`, stands in it. A head is at most 1 MiB long.
    pub(crate) fn of(whole: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            start: number(start),
            end: number(start + part.len()),
        }
    }

    /// The part, and what follows it.
    pub(crate) fn and_behind(self, whole: &[u8]) -> &[u8] {
        whole.get(self.start as usize..).unwrap_or_default()
    }

    /// The part.
    pub(crate) fn of_bytes(self, whole: &[u8]) -> &[u8] {
        whole
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// Where a field stands: its name and its value.
pub(crate) type FieldAt = (At, At);

/// The fields of a message, in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fields<'a> {
    /// In the bytes of a head that has been read before.
    Kept(&'a [u8], &'a [FieldAt]),
    /// As the parser has found them.
    Parsed(&'a [httparse::Header<'a>]),
    /// Those of HTTP/2.
    Map(&'a HeaderMap),
}

impl<'a> Fields<'a> {
    /// Calls `each` with every field.
    #[inline]
    pub(crate) fn each(self, mut each: impl FnMut(Field<'a>)) {
        match self {
            Self::Kept(bytes, fields) => {
                for (name, value) in fields {
                    each((name.of_bytes(bytes), value.of_bytes(bytes)));
                }
            }
            Self::Parsed(fields) => {
                for field in fields {
                    each((field.name.as_bytes(), field.value));
                }
            }
            Self::Map(fields) => {
                for (name, value) in fields {
                    each((name.as_str().as_bytes(), value.as_bytes()));
                }
            }
        }
    }

    /// The value of the first field with this name.
    pub(crate) fn get(self, name: &HeaderName) -> Option<&'a [u8]> {
        let text = name.as_str().as_bytes();
        let is = |other: &[u8]| other.len() == text.len() && other.eq_ignore_ascii_case(text);
        match self {
            Self::Kept(bytes, fields) => fields
                .iter()
                .find(|(at, _)| is(at.of_bytes(bytes)))
                .map(|(_, value)| value.of_bytes(bytes)),
            Self::Parsed(fields) => fields
                .iter()
                .find(|field| is(field.name.as_bytes()))
                .map(|field| field.value),
            Self::Map(fields) => fields.get(name).map(http::HeaderValue::as_bytes),
        }
    }
}

/// Whether a value has white space around it: over HTTP/2 it is malformed (RFC 9113, 8.2.1), and h2 leaves it.
pub(crate) fn is_padded(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

/// The fields one after another.
pub(crate) enum FieldsIter<'a> {
    Kept(&'a [u8], std::slice::Iter<'a, FieldAt>),
    Parsed(std::slice::Iter<'a, httparse::Header<'a>>),
    Map(http::header::Iter<'a, http::HeaderValue>),
}

impl<'a> Iterator for FieldsIter<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        match self {
            Self::Kept(bytes, fields) => {
                let (name, value) = fields.next()?;
                Some((name.of_bytes(bytes), value.of_bytes(bytes)))
            }
            Self::Parsed(fields) => {
                let field = fields.next()?;
                Some((field.name.as_bytes(), field.value))
            }
            Self::Map(fields) => {
                let (name, value) = fields.next()?;
                Some((name.as_str().as_bytes(), value.as_bytes()))
            }
        }
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = Field<'a>;
    type IntoIter = FieldsIter<'a>;

    fn into_iter(self) -> FieldsIter<'a> {
        match self {
            Self::Kept(bytes, fields) => FieldsIter::Kept(bytes, fields.iter()),
            Self::Parsed(fields) => FieldsIter::Parsed(fields.iter()),
            Self::Map(fields) => FieldsIter::Map(fields.iter()),
        }
    }
}

/// The words of a list (RFC 9110, 5.6.1), without the empty ones.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}

/// Returns the connection options: the members of all `Connection` fields, among them the names of fields
/// that are for this hop alone (RFC 9110, 7.6.1).
pub(crate) fn nominated(fields: Fields<'_>) -> SmallVec<[&[u8]; 4]> {
    let mut nominated = SmallVec::new();
    fields.each(|(name, value)| {
        if name.eq_ignore_ascii_case(b"connection") {
            nominated.extend(list(value));
        }
    });
    nominated
}

/// A value in one line: of several, each end with the white space around it is a space (RFC 9112, 5.2), as
/// Pingora has it; a CR by itself is one as well (RFC 9110, 5.5).
pub(crate) fn unfolded(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut line = Vec::with_capacity(value.len());
    for part in lines.filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push(b' ');
        }
        let blank = |byte: &u8| if *byte == b'\r' { b' ' } else { *byte };
        line.extend(part.iter().map(blank));
    }
    Cow::Owned(line)
}

/// A number in digits and nothing else, as `Content-Length` has it (RFC 9110, 8.6).
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_again_in_a_copy() {
        let whole = b"name: value".to_vec();
        let at = At::of(&whole, &whole[6..]);
        assert_eq!(at.of_bytes(&whole.clone()), b"value");
        assert_eq!(at.of_bytes(b"short"), b"");
    }

    #[test]
    fn names_are_found_in_any_case() {
        let fields = [
            httparse::Header {
                name: "Host",
                value: b"a",
            },
            httparse::Header {
                name: "ACCEPT",
                value: b"b",
            },
        ];
        let fields = Fields::Parsed(&fields);
        assert_eq!(fields.get(&http::header::ACCEPT), Some(&b"b"[..]));
        assert_eq!(fields.get(&HeaderName::from_static("accep")), None);
    }

    #[test]
    fn several_lines_become_one() {
        for (value, line) in [
            ("a b", "a b"),
            ("a\r\n b", "a b"),
            ("a \t\r\n\t  b\r\n c", "a b c"),
            ("\r\n a", "a"),
            ("a\r\n \r\n b", "a b"),
            ("a\n b", "a b"),
            ("a\rb", "a b"),
            ("\r\n ", ""),
        ] {
            assert_eq!(&*unfolded(value.as_bytes()), line.as_bytes(), "{value:?}");
        }
    }

    #[test]
    fn a_length_is_digits() {
        for (text, number) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("", None),
            ("+1", None),
            ("1 ", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(decimal(text.as_bytes()), number, "{text}");
        }
    }
}
