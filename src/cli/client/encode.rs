//! Percent-encoding (RFC 3986, 2.1) of what goes into a request target.

use std::fmt::Write as _;

/// What a value of a query or a segment of a path may hold as it is (RFC 3986, 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// A value of a query.
pub(super) fn value(text: &str) -> String {
    encoded(text, is_unreserved)
}

/// One segment of a path; `*` stays, for it stands for any host.
pub(in super::super) fn segment(text: &str) -> String {
    encoded(text, |byte| is_unreserved(byte) || byte == b'*')
}

/// A prefix in a path: its own escapes and separators stay, and so does all that a path may hold
/// (RFC 3986, 3.3).
pub(in super::super) fn prefix(text: &str) -> String {
    encoded(text, |byte| {
        is_unreserved(byte) || b"/%!$&'()*+,;=:@".contains(&byte)
    })
}

fn encoded(text: &str, stays: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if stays(byte) {
            encoded.push(char::from(byte));
        } else if write!(encoded, "%{byte:02X}").is_err() {
            // A string takes everything.
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_unreserved_is_encoded() {
        assert_eq!(
            value("http://a.b/c?d=e&f"),
            "http%3A%2F%2Fa.b%2Fc%3Fd%3De%26f"
        );
        assert_eq!(value("gr\u{fc}n 1"), "gr%C3%BCn%201");
        assert_eq!(segment("*"), "*");
        assert_eq!(segment("*.example.com"), "*.example.com");
        assert_eq!(segment("a/b"), "a%2Fb");
        assert_eq!(segment("%41"), "%2541");
        assert_eq!(prefix("/a%2Fb/c d?e@"), "/a%2Fb/c%20d%3Fe@");
    }
}
