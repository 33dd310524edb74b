//! The replies for gRPC, whose clients read no status of HTTP and no body: a call that fails is
//! a 200 of fields alone, with the status of the call among them.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::Refusal;

/// The media type of calls, and of what the proxy answers them with.
pub(crate) const MEDIA_TYPE: &str = "application/grpc";

/// The field, or trailer, of a call's status.
pub(crate) const STATUS: &str = "grpc-status";

/// The field, or trailer, of the sentence that goes with it.
pub(crate) const MESSAGE: &str = "grpc-message";

/// The characters that are percent-encoded in `grpc-message`, besides those outside ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// How a call ended, as far as a proxy can know:
/// <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Somebody gave the call up.
    Cancelled = 1,
    /// Nobody knows.
    Unknown = 2,
    /// It took too long.
    DeadlineExceeded = 4,
    /// The caller may not.
    PermissionDenied = 7,
    /// The call, or the caller, is too much.
    ResourceExhausted = 8,
    /// There is no such method.
    Unimplemented = 12,
    /// Somebody does not keep to the protocol.
    Internal = 13,
    /// The service is not there; another try may help.
    Unavailable = 14,
    /// The caller has not said who it is.
    Unauthenticated = 16,
}

impl Status {
    /// The status for what HTTP would be refused. The reason comes first, since the statuses of HTTP
    /// are the configuration's; then that of HTTP, as gRPC's clients read it:
    /// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>, and for what that
    /// leaves out as nginx's gateway for gRPC does (408, 413, 414, and with them 431; 405, 500).
    #[must_use]
    pub(crate) fn of(refusal: &Refusal) -> Self {
        match refusal.code {
            "NOT_FOUND" => return Self::Unimplemented,
            "UNREACHABLE" | "UPSTREAM_CLOSED" | "DRAINED" => return Self::Unavailable,
            "TIMEOUT" => return Self::DeadlineExceeded,
            "INVALID_RESPONSE" => return Self::Internal,
            _ => {}
        }
        match refusal.status.as_u16() {
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            408 => Self::DeadlineExceeded,
            413 | 414 | 431 => Self::ResourceExhausted,
            429 | 502..=504 => Self::Unavailable,
            400 | 405 | 500 => Self::Internal,
            _ => Self::Unknown,
        }
    }

    /// The status for a call whose stream the app has reset with this error code (RFC 9113, 7), as a
    /// client without a proxy would have it: the table "HTTP2 Transport Mapping, Errors" of the
    /// protocol.
    #[must_use]
    pub(crate) fn of_reset(code: u32) -> Self {
        match code {
            // REFUSED_STREAM
            0x7 => Self::Unavailable,
            // CANCEL
            0x8 => Self::Cancelled,
            // ENHANCE_YOUR_CALM
            0xb => Self::ResourceExhausted,
            // INADEQUATE_SECURITY
            0xc => Self::PermissionDenied,
            _ => Self::Internal,
        }
    }

    /// The status with a sentence: the fields of an answer without a body, or trailers.
    #[must_use]
    pub(crate) fn fields(self, message: &str) -> [(&'static str, HeaderValue); 2] {
        [
            (STATUS, HeaderValue::from(self as u16)),
            (MESSAGE, encoded(message)),
        ]
    }
}

/// Whether a `Content-Type` is that of a call: `application/grpc`, also with a suffix (`+proto`) or
/// parameters. gRPC-Web is another protocol.
#[must_use]
pub(crate) fn is_media_type(content_type: &[u8]) -> bool {
    let Some((name, rest)) = content_type.split_at_checked(MEDIA_TYPE.len()) else {
        return false;
    };
    name.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
        && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Percent-encodes a message: printable ASCII stays as it is, without `%`; of anything else each byte is
/// `%XX`.
fn encoded(message: &str) -> HeaderValue {
    let text = utf8_percent_encode(message, ENCODED).to_string();
    // What is encoded is a value; the other branch is never taken.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_refusal_has_a_status() {
        use Status as S;
        let cases = [
            (501, "NOT_FOUND", S::Unimplemented),
            // As it is configured.
            (404, "NOT_FOUND", S::Unimplemented),
            (500, "UNREACHABLE", S::Unavailable),
            (502, "UPSTREAM_CLOSED", S::Unavailable),
            (500, "DRAINED", S::Unavailable),
            (504, "TIMEOUT", S::DeadlineExceeded),
            (500, "INVALID_RESPONSE", S::Internal),
            (500, "INTERNAL", S::Internal),
            (400, "BAD_PATH", S::Internal),
            (401, "UNAUTHORIZED", S::Unauthenticated),
            (403, "FORBIDDEN", S::PermissionDenied),
            (404, "ANY", S::Unimplemented),
            (405, "METHOD_NOT_ALLOWED", S::Internal),
            (408, "BODY_TIMEOUT", S::DeadlineExceeded),
            (414, "TARGET_TOO_LONG", S::ResourceExhausted),
            (431, "HEAD_TOO_LONG", S::ResourceExhausted),
            (429, "ANY", S::Unavailable),
            (503, "ANY", S::Unavailable),
            (308, "ANY", S::Unknown),
        ];
        for (status, code, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal::new(status, code, "");
            assert_eq!(Status::of(&refusal), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_reset_is_told_as_the_protocol_has_it() {
        let cases = [
            (0, 13),
            (2, 13),
            (7, 14),
            (8, 1),
            (11, 8),
            (12, 7),
            (99, 13),
        ];
        for (code, expected) in cases {
            assert_eq!(Status::of_reset(code) as u16, expected, "{code}");
        }
    }

    #[test]
    fn calls_are_known_by_their_media_type() {
        for name in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC; charset=utf-8",
        ] {
            assert!(is_media_type(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcs",
            "application/json",
            "text/application/grpc",
        ] {
            assert!(!is_media_type(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_message_is_encoded() {
        let [(_, status), (_, message)] = Status::Unavailable.fields("100 % gewöhnlich\n");
        assert_eq!(status, "14");
        assert_eq!(message, "100 %25 gew%C3%B6hnlich%0A");
    }

    proptest! {
        #[test]
        fn any_message_can_be_read_again(message: String) {
            let [_, (_, value)] = Status::Internal.fields(&message);
            let mut bytes = value.as_bytes();
            let mut read = Vec::new();
            while let Some((first, rest)) = bytes.split_first() {
                let (byte, rest) = if *first == b'%' {
                    let (digits, rest) = rest.split_at(2);
                    let digits = std::str::from_utf8(digits).unwrap();
                    (u8::from_str_radix(digits, 16).unwrap(), rest)
                } else {
                    (*first, rest)
                };
                read.push(byte);
                bytes = rest;
            }
            prop_assert_eq!(read, message.as_bytes());
        }
    }
}
