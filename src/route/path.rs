//! The one view of a request's path: what is matched is what is forwarded, byte for byte.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_encode_byte;

use super::escape;

/// A request's path in its one spelling. Dot segments are resolved (RFC 3986, 5.2.4), also when
/// written `%2e`; escapes of unreserved characters are decoded, once (6.2.2.2); bytes outside ASCII
/// are escaped. Every other escape stays as it came, in its own case, and never acts as a separator;
/// a bad escape (`%zz`) is literal text; double slashes stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath<'a>(Cow<'a, str>);

/// Why a request's path is not served. Such a request deserves a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("the path does not begin with /; send one that does")]
    NoSlash,
    /// NUL or another control character, as it is or as an escape.
    #[error("the path has a control character; leave it out")]
    Control,
    /// More `..` than segments.
    #[error("the path climbs above the root; send it without the extra .. segments")]
    AboveRoot,
}

impl<'a> RequestPath<'a> {
    /// Reads the path part of a request's target, without the query. An empty path is `/`
    /// (RFC 9110, 4.2.3). Borrows when nothing changes.
    ///
    /// # Errors
    /// [`PathError`] if the path cannot be served.
    pub fn parse(raw: &'a [u8]) -> Result<Self, PathError> {
        match raw.first() {
            None => return Ok(Self(Cow::Borrowed("/"))),
            Some(b'/') => {}
            Some(_) => return Err(PathError::NoSlash),
        }
        if is_in_form(raw)?
            && let Ok(text) = std::str::from_utf8(raw)
        {
            return Ok(Self(Cow::Borrowed(text)));
        }
        resolve_dots(&decode(raw)?).map(|path| Self(Cow::Owned(path)))
    }

    /// The path, which begins with a slash and is ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path, borrowed if the request had it so already.
    #[must_use]
    pub fn into_inner(self) -> Cow<'a, str> {
        self.0
    }
}

impl fmt::Display for RequestPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One scan that most paths pass: whether nothing has to change.
fn is_in_form(raw: &[u8]) -> Result<bool, PathError> {
    let mut rest = raw;
    let mut before = 0;
    while let [byte, tail @ ..] = rest {
        match byte {
            b'%' => match escape::escaped_byte(rest) {
                Some(escaped) if escape::is_control(escaped) => return Err(PathError::Control),
                Some(escaped) if escape::is_unreserved(escaped) => return Ok(false),
                _ => {}
            },
            b'.' if before == b'/' && is_dot_segment(rest) => return Ok(false),
            0x80.. => return Ok(false),
            byte if escape::is_control(*byte) => return Err(PathError::Control),
            _ => {}
        }
        before = *byte;
        rest = tail;
    }
    Ok(true)
}

fn is_dot_segment(from: &[u8]) -> bool {
    matches!(
        from,
        [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
    )
}

fn decode(raw: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len() + 16);
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'%', [high, low, behind @ ..]) => {
                let Some(escaped) = escape::escaped_byte(&[b'%', *high, *low]) else {
                    out.push('%');
                    continue;
                };
                push_escaped(&mut out, escaped, [*high, *low])?;
                rest = behind;
            }
            (0x80.., _) => out.push_str(percent_encode_byte(*byte)),
            (byte, _) if escape::is_control(*byte) => return Err(PathError::Control),
            (byte, _) => out.push(char::from(*byte)),
        }
    }
    Ok(out)
}

/// Decodes an unreserved escape and keeps every other one. One that would complete a bad escape to a
/// good one stays too (`%%341` would become `%41`, which the next reader takes for an `A`).
fn push_escaped(out: &mut String, byte: u8, digits: [u8; 2]) -> Result<(), PathError> {
    if escape::is_control(byte) {
        return Err(PathError::Control);
    }
    if escape::is_unreserved(byte) && !(byte.is_ascii_hexdigit() && ends_in_bad_escape(out)) {
        out.push(char::from(byte));
    } else {
        out.push('%');
        out.extend(digits.map(char::from));
    }
    Ok(())
}

/// Whether one more digit could make an escape of a `%` that was none.
fn ends_in_bad_escape(out: &str) -> bool {
    match out.as_bytes() {
        [.., b'%'] => true,
        [.., b'%', digit] => digit.is_ascii_hexdigit(),
        _ => false,
    }
}

/// RFC 3986, 5.2.4, but for a climb above the root, which is an error here.
fn resolve_dots(path: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment == ".." {
            out.truncate(out.rfind('/').ok_or(PathError::AboveRoot)?);
        } else if segment != "." {
            out.push('/');
            out.push_str(segment);
            continue;
        }
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_have_one_spelling() {
        let cases: [(&[u8], &str); 32] = [
            (b"", "/"),
            (b"/", "/"),
            (b"/shop/cart", "/shop/cart"),
            (b"/a/..", "/"),
            (b"/a/.", "/a/"),
            (b"/a/b/..", "/a/"),
            (b"/a/b/../", "/a/"),
            (b"/./a", "/a"),
            (b"/.", "/"),
            (b"/a//../b", "/a/b"),
            (b"/a//./b", "/a//b"),
            (b"//..", "/"),
            (b"/a/..//b", "//b"),
            (b"//a//", "//a//"),
            (b"/%2e%2E/a", ""),
            (b"/a/%2e%2E/b", "/b"),
            (b"/a/.%2e/b", "/b"),
            (b"/a/%2e", "/a/"),
            (b"/%252e%252e/a", "/%252e%252e/a"),
            (b"/%41%7e", "/A~"),
            (b"/a%2fb%2Fc%5c", "/a%2fb%2Fc%5c"),
            (b"/a/..%2fb", "/a/..%2fb"),
            (b"/%zz%4%", "/%zz%4%"),
            (b"/%%341/%4%31", "/%%341/%4%31"),
            (b"/%%2e", "/%."),
            (b"/\xc3\xa9", "/%C3%A9"),
            (b"/%c3%a9", "/%c3%a9"),
            (b"/.well-known", "/.well-known"),
            (b"/a...", "/a..."),
            (b"/.../x", "/.../x"),
            (b"/a b{c}", "/a b{c}"),
            (b"/a\\..\\b", "/a\\..\\b"),
        ];
        for (raw, spelling) in cases {
            let text = String::from_utf8_lossy(raw);
            match RequestPath::parse(raw) {
                Ok(path) => assert_eq!(path.as_str(), spelling, "{text}"),
                Err(error) => assert_eq!((error, spelling), (PathError::AboveRoot, ""), "{text}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_served_is_an_error() {
        let cases: [(&[u8], PathError); 10] = [
            (b"a", PathError::NoSlash),
            (b"/..", PathError::AboveRoot),
            (b"/a/../..", PathError::AboveRoot),
            (b"/../a", PathError::AboveRoot),
            (b"/a\0", PathError::Control),
            (b"/a%00", PathError::Control),
            (b"/%1F", PathError::Control),
            (b"/%7f", PathError::Control),
            (b"/%41\n", PathError::Control),
            (b"/\x7f", PathError::Control),
        ];
        for (raw, error) in cases {
            assert_eq!(
                RequestPath::parse(raw),
                Err(error),
                "{}",
                String::from_utf8_lossy(raw)
            );
        }
    }

    #[test]
    fn a_path_in_form_is_borrowed() {
        for raw in ["/", "/shop/cart", "/.well-known/a%20b", "/%zz", "//a//"] {
            let path = RequestPath::parse(raw.as_bytes()).unwrap();
            assert!(matches!(path.into_inner(), Cow::Borrowed(_)), "{raw}");
        }
    }

    /// The rules one after the other, each on the whole text, with no fast way.
    fn reference(raw: &[u8]) -> Result<String, PathError> {
        if raw.first().is_some_and(|&b| b != b'/') {
            return Err(PathError::NoSlash);
        }
        let mut tokens: Vec<Vec<u8>> = Vec::new();
        let mut at = 0;
        while at < raw.len() {
            let hex = raw
                .get(at + 1..at + 3)
                .filter(|d| d.iter().all(u8::is_ascii_hexdigit));
            let token = match hex {
                Some(_) if raw[at] == b'%' => &raw[at..at + 3],
                _ => &raw[at..=at],
            };
            tokens.push(token.to_vec());
            at += token.len();
        }
        let text: Vec<u8> = decoded_tokens(&tokens)?.concat();
        let mut segments: Vec<&[u8]> = Vec::new();
        let all: Vec<&[u8]> = text.split(|&b| b == b'/').skip(1).collect();
        for (i, segment) in all.iter().enumerate() {
            match *segment {
                b"." => {}
                b".." => drop(segments.pop().ok_or(PathError::AboveRoot)?),
                other => segments.push(other),
            }
            if i + 1 == all.len() && matches!(*segment, b"." | b"..") {
                segments.push(b"");
            }
        }
        Ok(format!(
            "/{}",
            String::from_utf8(segments.join(&b'/')).unwrap()
        ))
    }

    fn decoded_tokens(tokens: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, PathError> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        for token in tokens {
            let byte = match token[..] {
                [byte] => byte,
                _ => u8::from_str_radix(std::str::from_utf8(&token[1..]).unwrap(), 16).unwrap(),
            };
            if byte < 32 || byte == 127 {
                return Err(PathError::Control);
            }
            let is_hex = |t: &Vec<u8>| t.len() == 1 && t[0].is_ascii_hexdigit();
            let completes = out.last().is_some_and(|t| t == b"%")
                || matches!(&out[..], [.., p, d] if p == b"%" && is_hex(d));
            let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            out.push(match token.len() {
                3 if plain && !(completes && byte.is_ascii_hexdigit()) => vec![byte],
                1 if byte >= 128 => format!("%{byte:02X}").into_bytes(),
                _ => token.clone(),
            });
        }
        Ok(out)
    }

    fn raw_path() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "/", "/", "/", ".", "..", "/..", "a", "B", "%", "%2", "%2e", "%2E", "%2f", "%5C",
            "%25", "%41", "%34", "%zz", "%C3", "\u{e9}", "4", "1", "e", "~", "*", "{", " ",
        ]);
        prop_oneof![
            9 => prop::collection::vec(piece, 0..14).prop_map(|p| format!("/{}", p.concat()).into_bytes()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn agrees_with_the_rules_taken_one_by_one(raw in raw_path()) {
            let path = RequestPath::parse(&raw).map(|p| p.as_str().to_owned());
            prop_assert_eq!(path, reference(&raw));
        }

        #[test]
        fn is_a_fixed_point_without_dot_segments(raw in raw_path()) {
            if let Ok(path) = RequestPath::parse(&raw) {
                let again = RequestPath::parse(path.as_str().as_bytes()).unwrap();
                prop_assert_eq!(again.as_str(), path.as_str());
                prop_assert!(path.as_str().is_ascii());
                prop_assert!(path.as_str().starts_with('/'));
                prop_assert!(!path.as_str().split('/').any(|s| matches!(s, "." | "..")));
            }
        }

        #[test]
        fn the_slow_way_agrees_with_the_fast_one(raw in raw_path()) {
            if let Ok(path) = RequestPath::parse(&raw)
                && !raw.is_empty()
            {
                let slow = resolve_dots(&decode(&raw).unwrap()).unwrap();
                prop_assert_eq!(slow, path.as_str());
            }
        }
    }
}
