//! The path prefix that an app registers.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::escape;

/// The longest prefix, in bytes.
pub const MAX_PREFIX: usize = 2048;

/// A path prefix in its one spelling: it begins with a slash, does not end with one (but `/` is
/// whole), and is written as [`RequestPath`](super::RequestPath) writes paths, so that the two can
/// be compared byte by byte. `*` is a character like any other.
///
/// Two prefixes are the same if their texts are. One that [ignores case](Self::ignoring_case) is shown as it was
/// written, and is the same as any that differs in ASCII case alone. Prefixes that ignore case and prefixes that
/// do not are never in one map.
#[derive(Debug, Clone)]
pub struct PathPrefix {
    text: Box<str>,
    ignores_case: bool,
}

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
        Self::of("/")
    }

    fn of(text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            ignores_case: false,
        }
    }

    /// Reads a prefix: adds a missing leading slash, trims trailing ones, decodes unreserved escapes (RFC
    /// 3986, 6.2.2.2) and escapes what a path has only as an escape (3.3): `/é` is `/%C3%A9`. Other escapes
    /// and double slashes stay, and so do `[` and `]`, which clients send as they are.
    ///
    /// # Errors
    /// [`PrefixError`], whose text says what to write instead.
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
            0 => Ok(Self::root()),
            1..=MAX_PREFIX => Ok(Self::of(trimmed)),
            length => Err(PrefixError::TooLong { length }),
        }
    }

    /// The prefix; `/` for every path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is `/`, which takes every path.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.text == "/"
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

    /// The prefix in lower case (ASCII).
    #[must_use]
    pub fn to_ascii_lowercase(&self) -> Self {
        Self {
            text: self.text.to_ascii_lowercase().into(),
            ignores_case: self.ignores_case,
        }
    }

    /// Makes the prefix equal to any that differs in ASCII case alone: for a table without
    /// regard to case.
    #[must_use]
    pub fn ignoring_case(self) -> Self {
        Self {
            ignores_case: true,
            ..self
        }
    }

    /// The text that all prefixes have that are the same: in lower case, if it ignores case.
    #[must_use]
    pub fn identity(&self) -> Cow<'_, str> {
        if self.ignores_case && self.text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(self.text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(&self.text)
        }
    }

    /// Whether this is `other` or lies below it, by whole segments, with regard to case unless it ignores that.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        let (own, outer) = (self.identity(), other.identity());
        let rest = own.strip_prefix(if other.is_root() { "" } else { &outer });
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The prefix with upper-case digits in its escapes (RFC 3986, 6.2.2.1), as a table with regard to case
    /// spells it.
    #[must_use]
    pub fn with_upper_escapes(self) -> Self {
        match escape::in_one_spelling(&self.text) {
            Cow::Borrowed(_) => self,
            Cow::Owned(text) => Self {
                text: text.into(),
                ..self
            },
        }
    }

    /// Whether it has an escape, which a request may spell in another way.
    pub(super) fn has_escape(&self) -> bool {
        self.text.contains('%')
    }

    /// The prefix as text to put a path's rest behind: empty for `/`.
    pub(super) fn below_root(&self) -> &str {
        if self.is_root() { "" } else { &self.text }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for PathPrefix {
    fn eq(&self, other: &Self) -> bool {
        if self.ignores_case || other.ignores_case {
            self.text.eq_ignore_ascii_case(&other.text)
        } else {
            self.text == other.text
        }
    }
}

impl Eq for PathPrefix {}

impl Hash for PathPrefix {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl Ord for PathPrefix {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.ignores_case || other.ignores_case {
            let lower = |byte: u8| byte.to_ascii_lowercase();
            let (own, other) = (self.text.bytes().map(lower), other.text.bytes().map(lower));
            own.cmp(other)
        } else {
            self.text.cmp(&other.text)
        }
    }
}

impl PartialOrd for PathPrefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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
            push_character(&mut out, character, position)?;
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
    let next = rest.as_bytes().get(3..).and_then(escape::escaped_byte);
    // U+0080 to U+009F in UTF-8: a control character, whether it is written with escapes or without.
    let is_c1 = byte == 0xc2 && matches!(next, Some(0x80..=0x9f));
    if escape::is_control(byte) || is_c1 {
        return Err(PrefixError::Control { position });
    }
    if escape::is_unreserved(byte) {
        out.push(char::from(byte));
    } else {
        out.push_str(rest.get(..3).unwrap_or(rest));
    }
    Ok(())
}

fn push_character(out: &mut String, character: char, position: usize) -> Result<(), PrefixError> {
    match character {
        '?' => return Err(PrefixError::Query { position }),
        '#' => return Err(PrefixError::Fragment { position }),
        c if c.is_control() => return Err(PrefixError::Control { position }),
        c if c.is_ascii() && !escape::is_escaped_in_path(c as u8) => out.push(c),
        c => {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                escape::push_escape(out, byte);
            }
        }
    }
    Ok(())
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
            ("/my app", "/my%20app"),
            ("/%41\u{e9}", "/A%C3%A9"),
            ("/%C2%A0%C2/%85", "/%C2%A0%C2/%85"),
            ("/{id}|\"\\^`<>", "/%7Bid%7D%7C%22%5C%5E%60%3C%3E"),
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
            ("/a%C2%85", "control character at position 3"),
            ("/%c2%9f", "control character at position 2"),
            ("/a/../b", "without . and .."),
            ("/%2e", "without . and .."),
            ("..", "without . and .."),
            ("/a/.%2E/", "without . and .."),
            ("/a?b", "? at position 3"),
            ("/a#b", "# at position 3"),
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
    fn a_table_with_regard_to_case_has_one_spelling_of_escapes() {
        for (text, spelling) in [
            ("/a%2fB%5c", "/a%2FB%5C"),
            ("/a%2FB", "/a%2FB"),
            ("/a", "/a"),
        ] {
            assert_eq!(prefix(text).with_upper_escapes().as_str(), spelling);
        }
    }

    #[test]
    fn prefixes_that_ignore_case_are_the_same_and_are_shown_as_written() {
        let (upper, lower) = (
            prefix("/U/A").ignoring_case(),
            prefix("/u/a").ignoring_case(),
        );
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), Ordering::Equal);
        let set = std::collections::HashSet::from([upper.clone()]);
        assert!(set.contains(&lower));
        assert_eq!(
            (upper.to_string().as_str(), &*upper.identity()),
            ("/U/A", "/u/a")
        );
        assert!(prefix("/u/a/b").ignoring_case() > upper && upper > prefix("/U").ignoring_case());
        assert_ne!(prefix("/U/A"), prefix("/u/a"));
    }

    #[test]
    fn below_means_whole_segments() {
        for (inner, outer, is_below, is_ignoring) in [
            ("/a/b", "/a", true, true),
            ("/A/b", "/a", false, true),
            ("/a", "/a", true, true),
            ("/ab", "/a", false, false),
            ("/", "/a", false, false),
            ("/a", "/", true, true),
            ("/", "/", true, true),
        ] {
            let (inner, outer) = (prefix(inner), prefix(outer));
            assert_eq!(inner.is_below(&outer), is_below, "{inner} {outer}");
            let (inner, outer) = (inner.ignoring_case(), outer.ignoring_case());
            assert_eq!(inner.is_below(&outer), is_ignoring, "{inner} {outer}");
        }
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
