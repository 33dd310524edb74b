//! The head of an HTTP/2 request, held to what heads of HTTP/1 are held to.
//!
//! What RFC 9113 calls malformed does not come here: h2 resets such a stream (fields that belong to a
//! connection, pseudo-header fields that are missing or repeated), or [`super::malformed`] ends it.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, COOKIE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};

use super::super::fields::is_padded;
use super::super::head::{self, HeadError, HeadLimits};

/// Returns the request target: the `:path`, or the authority of a CONNECT.
pub(super) fn target(request: &Parts) -> &str {
    let path = request.uri.path_and_query().map(PathAndQuery::as_str);
    path.or_else(|| request.uri.authority().map(Authority::as_str))
        .unwrap_or_default()
}

/// Checks the head of a request.
pub(super) fn check(request: &Parts, limits: &HeadLimits) -> Result<(), HeadError> {
    let target = target(request);
    if target.len() > limits.target {
        return Err(HeadError::TargetTooLong);
    }
    let fields = Fields::of(request);
    if fields.size > limits.head {
        return Err(HeadError::HeadTooLong);
    }
    if request.headers.len() > limits.fields && count(&request.headers) > limits.fields {
        return Err(HeadError::TooManyFields);
    }
    if matches!(request.method.as_str(), "CONNECT" | "TRACE" | "TRACK") {
        return Err(HeadError::Method);
    }
    if request.headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(HeadError::ContentLength);
    }
    if fields.is_padded {
        return Err(HeadError::Padded);
    }
    head::check_target(target.as_bytes(), None)
}

/// A summary of all fields of a head.
struct Fields {
    /// How long the head is: each field counts as its name, its value and 32 bytes (RFC 9113, 6.5.2).
    size: usize,
    is_padded: bool,
}

impl Fields {
    fn of(request: &Parts) -> Self {
        const OVERHEAD: usize = 32;
        let uri = &request.uri;
        let pseudo = [
            (":method", Some(request.method.as_str())),
            (":path", uri.path_and_query().map(PathAndQuery::as_str)),
            (":scheme", uri.scheme_str()),
            (":authority", uri.authority().map(Authority::as_str)),
        ];
        let size = |(name, value): (&str, Option<&str>)| {
            value.map_or(0, |value| name.len() + value.len() + OVERHEAD)
        };
        let mut fields = Self {
            size: pseudo.into_iter().map(size).sum(),
            is_padded: false,
        };
        for (name, value) in &request.headers {
            fields.size += name.as_str().len() + value.len() + OVERHEAD;
            fields.is_padded |= is_padded(value.as_bytes());
        }
        fields
    }
}

/// The number of fields: those of `Cookie` are parts of one (RFC 9113, 8.2.3).
fn count(fields: &HeaderMap) -> usize {
    let cookies = fields.get_all(COOKIE).iter().count();
    fields.len() - cookies.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        head: 400,
        target: 64,
        fields: 3,
    };

    fn request(method: &str, target: &str, fields: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn heads_are_held_to_the_limits() {
        let long = "/".repeat(65);
        let field = ("a", "b");
        let length = ("content-length", "1");
        let crumb = ("cookie", "a=b");
        let cases = [
            (request("GET", "/a?b", &[field]), Ok(())),
            (request("GET", "*", &[]), Ok(())),
            (request("GET", &long, &[]), Err(HeadError::TargetTooLong)),
            (
                request("GET", "/", &[field; 4]),
                Err(HeadError::TooManyFields),
            ),
            (
                request("GET", "/", &[field, crumb, crumb, crumb, field]),
                Ok(()),
            ),
            (
                request("GET", "/", &[field, crumb, crumb, field, field]),
                Err(HeadError::TooManyFields),
            ),
            // 42 bytes of `:method`, 38 of `:path`, and 33 with the value.
            (request("GET", "/", &[("a", &"v".repeat(287))]), Ok(())),
            (
                request("GET", "/", &[("a", &"v".repeat(288))]),
                Err(HeadError::HeadTooLong),
            ),
            (request("TRACE", "/", &[]), Err(HeadError::Method)),
            (request("GET", "/", &[("a", " b")]), Err(HeadError::Padded)),
            (request("GET", "/", &[("a", "b\t")]), Err(HeadError::Padded)),
            (request("GET", "/", &[("a", "b c"), ("d", "")]), Ok(())),
            (
                request("POST", "/", &[length, length]),
                Err(HeadError::ContentLength),
            ),
        ];
        for (request, expected) in cases {
            assert_eq!(check(&request, &LIMITS), expected, "{request:?}");
        }
    }
}
