//! Percent-encoding (RFC 3986, 2.1) of what goes into a request target.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters (RFC 3986, 2.3), as in a value of a query.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `*` stays, since it stands for any host.
const SEGMENT: &AsciiSet = &VALUE.remove(b'*');

/// Everything that a path may hold stays (RFC 3986, 3.3), its separators and escapes too.
const PREFIX: &AsciiSet = &SEGMENT
    .remove(b'/')
    .remove(b'%')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Encodes a value of a query.
pub(super) fn value(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

/// Encodes one segment of a path.
pub(in super::super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Encodes a prefix for a path.
pub(in super::super) fn prefix(text: &str) -> String {
    utf8_percent_encode(text, PREFIX).to_string()
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
        let may_stand_in_a_path = "/-._~!$&'()*+,;=:@%41";
        assert_eq!(prefix(may_stand_in_a_path), may_stand_in_a_path);
        assert_eq!(
            prefix("\"#<>[]^`{|}\\\u{7f}"),
            "%22%23%3C%3E%5B%5D%5E%60%7B%7C%7D%5C%7F"
        );
    }
}
