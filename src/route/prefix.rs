//! The path prefix that an app registers.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::escape;

/// The longest prefix, in bytes.
pub const MAX_PREFIX: usize = 2048;

/// A path prefix in its one spelling: it begins with a slash, does not end with one (but `/` is
/// whole), and is written as [`RequestPath`](super::RequestPath) writes paths, so that the two can
/// be compared byte by byte. `*` is a character like any other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(Box<str>);

/// Why a text is not a path prefix. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// Nothing but white space.
    #[error("the prefix is blank; give a path such as /shop, or / for every path")]
    Blank,
    /// More than [`MAX_PREFIX`] bytes.
    #[error("the prefix has {length} bytes; shorten it to at most {MAX_PREFIX}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// NUL or another control character, as it is or as an escape.
    #[error("the prefix has a control character at position {position}; leave it out")]
    Control {
        /// Where it stands.
        position: usize,
    },
    /// `.` or `..`, which no request's path keeps (RFC 3986, 5.2.4).
    #[error("the prefix has the segment {segment}; write the path without . and .. segments")]
    DotSegment {
        /// The segment.
        segment: String,
    },
    /// A query.
    #[error(
        "the prefix has a ? at position {position}; end it there, or write %3F for the character"
    )]
    Query {
        /// Where it stands.
        position: usize,
    },
    /// A fragment.
    #[error(
        "the prefix has a # at position {position}; end it there, or write %23 for the character"
    )]
    Fragment {
        /// Where it stands.
        position: usize,
    },
    /// A character that a URI's path has only as an escape (RFC 3986, 3.3).
    #[error(
        "the prefix has the character {character:?} at position {position}; write it as {escaped}, as clients send it"
    )]
    Character {
        /// The character.
        character: char,
        /// Where it stands.
        position: usize,
        /// The spelling to use.
        escaped: String,
    },
    /// A `%` without two hexadecimal digits (RFC 3986, 2.1).
    #[error(
        "the prefix has {escape:?} at position {position}; write two hexadecimal digits behind %, or %25 for the character"
    )]
    Escape {
        /// The `%` and what follows it.
        escape: String,
        /// Where it stands.
        position: usize,
    },
}

impl PathPrefix {
    /// `/`, which takes every path.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Reads a prefix: adds a missing leading slash, trims trailing ones and decodes unreserved
    /// escapes (RFC 3986, 6.2.2.2). Other escapes and double slashes stay.
    ///
    /// # Errors
    /// [`PrefixError`], whose text says what to write instead. `[`, `]` and, in a segment, `:` and `@`
    /// are taken: clients send them as they are.
    pub fn parse(text: &str) -> Result<Self, PrefixError> {
        if text.trim().is_empty() {
            return Err(PrefixError::Blank);
        }
        let decoded = decode(text)?;
        let trimmed = decoded.trim_end_matches('/');
        if let Some(dots) = trimmed.split('/').find(|s| matches!(*s, "." | "..")) {
            return Err(PrefixError::DotSegment {
                segment: dots.into(),
            });
        }
        match trimmed.len() {
            0 => Ok(Self("/".into())),
            1..=MAX_PREFIX => Ok(Self(trimmed.into())),
            length => Err(PrefixError::TooLong { length }),
        }
    }

    /// The prefix; `/` for every path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`, which takes every path.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// Whether this is `other` or lies below it, by whole segments and without regard to ASCII case.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        other.contains_path(self.below_root())
    }

    /// Whether a normalised path is this prefix or lies below it, by whole segments and without
    /// regard to ASCII case.
    #[must_use]
    pub fn contains_path(&self, path: &str) -> bool {
        let outer = self.below_root().as_bytes();
        match path.as_bytes().split_at_checked(outer.len()) {
            Some((start, rest)) => {
                start.eq_ignore_ascii_case(outer) && matches!(rest.first(), None | Some(b'/'))
            }
            None => false,
        }
    }

    /// The prefix in lower case (ASCII), as a table without regard to case spells it.
    #[must_use]
    pub fn to_ascii_lowercase(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }

    /// The prefix as text to put a path's rest behind: empty for `/`.
    pub(super) fn below_root(&self) -> &str {
        if self.is_root() { "" } else { &self.0 }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn decode(text: &str) -> Result<String, PrefixError> {
    let mut out = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        out.push('/');
    }
    let mut rest = text;
    let mut position = 0;
    while let Some(character) = rest.chars().next() {
        position += 1;
        let mut taken = character.len_utf8();
        if character == '%' {
            push_decoded(&mut out, rest, position)?;
            taken = 3;
            position += 2;
        } else {
            check_character(character, position)?;
            out.push(character);
        }
        rest = rest.get(taken..).unwrap_or("");
    }
    Ok(out)
}

fn push_decoded(out: &mut String, rest: &str, position: usize) -> Result<(), PrefixError> {
    let bad = || PrefixError::Escape {
        escape: rest.chars().take(3).collect(),
        position,
    };
    let byte = escape::escaped_byte(rest.as_bytes()).ok_or_else(bad)?;
    if escape::is_control(byte) {
        return Err(PrefixError::Control { position });
    }
    if escape::is_unreserved(byte) {
        out.push(char::from(byte));
    } else {
        out.push_str(rest.get(..3).unwrap_or(rest));
    }
    Ok(())
}

fn check_character(character: char, position: usize) -> Result<(), PrefixError> {
    match character {
        '?' => Err(PrefixError::Query { position }),
        '#' => Err(PrefixError::Fragment { position }),
        c if c.is_control() => Err(PrefixError::Control { position }),
        c if stands_in_path(c) => Ok(()),
        _ => Err(PrefixError::Character {
            character,
            position,
            escaped: escaped(character),
        }),
    }
}

/// The characters of a path segment (RFC 3986, 3.3), the slash, and the brackets that browsers leave
/// as they are.
fn stands_in_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/[]".contains(c)
}

fn escaped(character: char) -> String {
    utf8_percent_encode(character.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> PathPrefix {
        PathPrefix::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn prefixes_have_one_spelling() {
        let cases = [
            ("/", "/"),
            ("//", "/"),
            ("shop", "/shop"),
            ("/shop/", "/shop"),
            ("/shop///", "/shop"),
            ("/a//b", "/a//b"),
            ("//a", "//a"),
            ("/%41%2d%7E", "/A-~"),
            ("/a%2Fb%5cc", "/a%2Fb%5cc"),
            ("/my%20app", "/my%20app"),
            ("/%252e", "/%252e"),
            ("/*/[id]/a:b@c", "/*/[id]/a:b@c"),
            ("/...", "/..."),
            ("/.well-known", "/.well-known"),
            ("/Shop", "/Shop"),
        ];
        for (text, spelling) in cases {
            assert_eq!(prefix(text).as_str(), spelling, "{text}");
            assert_eq!(prefix(spelling).as_str(), spelling, "{text}, again");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_its_remedy() {
        let long = format!("/{}", "a".repeat(MAX_PREFIX));
        let cases = [
            ("", "give a path"),
            (" \t", "give a path"),
            (long.as_str(), "has 2049 bytes"),
            ("/a\0", "control character at position 3"),
            ("/a%00", "control character at position 3"),
            ("/%7f", "control character at position 2"),
            ("/a\u{85}", "control character at position 3"),
            ("/a/../b", "without . and .."),
            ("/%2e", "without . and .."),
            ("..", "without . and .."),
            ("/a/.%2E/", "without . and .."),
            ("/a?b", "? at position 3"),
            ("/a#b", "# at position 3"),
            ("/my app", "position 4; write it as %20"),
            ("/a\"", "%22"),
            ("/a\\b", "%5C"),
            ("/{id}", "%7B"),
            ("/%41é", "'é' at position 5; write it as %C3%A9"),
            ("/a|b", "%7C"),
            ("/%zz", "\"%zz\" at position 2"),
            ("/a%4", "\"%4\" at position 3"),
            ("/%é", "\"%é\" at position 2"),
        ];
        for (text, remedy) in cases {
            let error = PathPrefix::parse(text).unwrap_err().to_string();
            assert!(error.contains(remedy), "{text}: {error}");
        }
        assert!(PathPrefix::parse(&long[..MAX_PREFIX]).is_ok());
    }

    #[test]
    fn the_remedy_of_a_bad_character_is_taken() {
        let Err(PrefixError::Character { escaped, .. }) = PathPrefix::parse("/my app") else {
            panic!("a space was taken");
        };
        assert_eq!(prefix(&format!("/my{escaped}app")).as_str(), "/my%20app");
    }

    #[test]
    fn within_means_whole_segments_in_any_case() {
        let cases = [
            ("/register", "/register", true),
            ("/REGISTER", "/register", true),
            ("/register/x", "/Register", true),
            ("/registered-users", "/register", false),
            ("/", "/register", false),
            ("/reg", "/register", false),
            ("/a", "/", true),
            ("/", "/", true),
        ];
        for (inner, outer, within) in cases {
            assert_eq!(
                prefix(inner).is_within(&prefix(outer)),
                within,
                "{inner} {outer}"
            );
        }
    }
}
