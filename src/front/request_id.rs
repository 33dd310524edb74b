//! The id of a request: it stands in every log line about it, in its response, and in what the upstream
//! gets.

use std::fmt;

use data_encoding::HEXLOWER;
use http::HeaderName;
use smallvec::SmallVec;

use super::fields::{Fields, nominated};
use super::request::Request;

/// The most bytes of an id of a client's.
const LONGEST: usize = 128;

/// The id of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(SmallVec<[u8; 40]>);

/// How requests get their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// The field that carries the id; `x-request-id` by default.
    pub field: HeaderName,
    /// Whether a client's own id is passed on; by default it is.
    pub accept: bool,
}

impl RequestIds {
    /// The id of a request: the client's, if it may choose and the text can be one; else a new one.
    pub(crate) fn of(&self, request: &Request) -> RequestId {
        self.choose(request.fields(), &request.nominated())
    }

    /// The id of a request with these fields.
    pub(crate) fn of_fields(&self, fields: Fields<'_>) -> RequestId {
        self.choose(fields, &nominated(fields))
    }

    /// The id of a request with these fields, of which some are `nominated` for this hop alone: they do not
    /// arrive (RFC 9110, 7.6.1).
    fn choose(&self, fields: Fields<'_>, nominated: &[&[u8]]) -> RequestId {
        let name = self.field.as_str();
        let is_this = |other: &&[u8]| other.eq_ignore_ascii_case(name.as_bytes());
        let passes = self.accept && !nominated.iter().any(is_this);
        let own = if passes {
            fields.get(&self.field)
        } else {
            None
        };
        own.and_then(RequestId::given)
            .unwrap_or_else(RequestId::new)
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self {
            field: HeaderName::from_static("x-request-id"),
            accept: true,
        }
    }
}

impl RequestId {
    /// A new id: a random number of 128 bits, in 32 hexadecimal digits.
    pub(crate) fn new() -> Self {
        Self(SmallVec::from_slice(&hexadecimal(fastrand::u128(..))))
    }

    /// A client's own, if it can be one: not too long, and nothing in it that the lines of the log are
    /// taken apart by.
    fn given(text: &[u8]) -> Option<Self> {
        let passes = |byte: &u8| byte.is_ascii_graphic() && !b"[]\"\\".contains(byte);
        let is_id = (1..=LONGEST).contains(&text.len()) && text.iter().all(passes);
        is_id.then(|| Self(SmallVec::from_slice(text)))
    }

    /// The id as it stands in a field.
    #[must_use]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        // It is ASCII throughout.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A number in its 32 hexadecimal digits.
fn hexadecimal(number: u128) -> [u8; 32] {
    let mut text = [0; 32];
    // Two digits for each of the 16 bytes: with another length it would panic.
    HEXLOWER.encode_mut(&number.to_be_bytes(), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_32_digits() {
        for number in [0, 1, 0xdead_beef, u128::MAX, u128::MAX - 15] {
            let expected = format!("{number:032x}");
            assert_eq!(hexadecimal(number), expected.as_bytes());
        }
    }

    #[test]
    fn a_clients_id_is_taken_if_it_can_be_one() {
        let longest = "x".repeat(128);
        for (given, is_taken) in [
            ("abc-123", true),
            ("Root=1-67891233-abcdef012345678912345678;Sampled=1", true),
            (&longest, true),
            (&format!("{longest}x"), false),
            ("", false),
            ("a b", false),
            ("a] GET /other [b", false),
            ("a]", false),
            ("[a", false),
            ("a\"b", false),
            ("a\\b", false),
            ("\u{e9}", false),
        ] {
            let id = |accept, connection| {
                let ids = RequestIds {
                    accept,
                    ..RequestIds::default()
                };
                let field = |name, value| httparse::Header { name, value };
                ids.of_fields(Fields::Parsed(&[
                    field("X-Request-ID", given.as_bytes()),
                    field("Connection", connection),
                ]))
            };
            let is_its = |id: &RequestId| id.as_str() == given;
            assert_eq!(is_its(&id(true, b"close")), is_taken, "{given}");
            for other in [id(false, b"close"), id(true, b"close, x-request-id")] {
                assert_eq!(other.as_str().len(), 32, "{given}");
            }
        }
    }
}
