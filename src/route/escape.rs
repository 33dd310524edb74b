//! Percent-escapes and character classes (RFC 3986, sections 2.1 to 2.3), shared by the prefix that
//! an app registers and the path that a request asks for.

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

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
