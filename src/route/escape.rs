//! Percent-escapes and character classes (RFC 3986, sections 2.1 to 2.3), shared by the prefix that
//! an app registers and the path that a request asks for.

use std::borrow::Cow;

/// The byte that the escape at the start of `text` stands for; `None` if there is no whole escape.
pub(super) fn escaped_byte(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => Some((hex_digit(*high)? << 4) | hex_digit(*low)?),
        _ => None,
    }
}

/// Unreserved characters mean the same escaped or not (RFC 3986, 2.3 and 6.2.2.2).
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// NUL, the other C0 controls, and DEL: never part of a URI.
pub(super) fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// Appends `byte` as an escape with upper-case digits (RFC 3986, 2.1).
pub(super) fn push_escape(out: &mut String, byte: u8) {
    out.push_str(percent_encoding::percent_encode_byte(byte));
}

/// Whether a path has this character only as an escape (RFC 3986, 3.3). `[` and `]` are none of these, though
/// they should be: browsers send them as they are.
pub(super) fn is_escaped_in_path(byte: u8) -> bool {
    !byte.is_ascii_graphic()
        || matches!(
            byte,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        )
}

/// A path as prefixes are spelled: the digits of its escapes in upper case (RFC 3986, 6.2.2.1), and escaped
/// what a path has only as an escape.
pub(super) fn in_one_spelling(path: &str) -> Cow<'_, str> {
    let mut bytes = path.bytes();
    if !bytes.any(|byte| byte == b'%' || is_escaped_in_path(byte)) {
        return Cow::Borrowed(path);
    }
    let mut rest = path.as_bytes();
    let mut out = String::with_capacity(path.len() + 16);
    let mut is_changed = false;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'%', [high, low, behind @ ..]) if is_escape(*high, *low) => {
                out.push('%');
                out.extend([high, low].map(|digit| char::from(digit.to_ascii_uppercase())));
                is_changed |= high.is_ascii_lowercase() || low.is_ascii_lowercase();
                rest = behind;
            }
            (byte, _) if is_escaped_in_path(*byte) => {
                push_escape(&mut out, *byte);
                is_changed = true;
            }
            (byte, _) => out.push(char::from(*byte)),
        }
    }
    if is_changed {
        Cow::Owned(out)
    } else {
        Cow::Borrowed(path)
    }
}

fn is_escape(high: u8, low: u8) -> bool {
    high.is_ascii_hexdigit() && low.is_ascii_hexdigit()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
