//! Where a request in cleartext is sent to, when it ought to come over TLS.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Method, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::reply::Refusal;
use crate::route::RequestTarget;

/// The port of https (RFC 9110, 4.2.2), which a URL need not name.
const DEFAULT_PORT: u16 = 443;

/// Below this path a certificate authority asks for its proof (RFC 8555, 8.3), always in cleartext.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The characters that are percent-encoded in a `Location` field, besides those outside ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ');

/// Whether a request asks for the proof of a challenge: nothing that insists on TLS holds for it. What
/// follows the path is one token (RFC 8555, 8.3) and nothing that an app might take for a path of its
/// own.
pub(super) fn is_challenge(method: &Method, target: &[u8]) -> bool {
    let Some(token) = target.strip_prefix(CHALLENGES.as_bytes()) else {
        return false;
    };
    let token = token.split(|byte| *byte == b'?').next().unwrap_or_default();
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    matches!(*method, Method::GET | Method::HEAD)
        && !token.is_empty()
        && token.iter().all(is_of_token)
}

/// The URL of the same resource over TLS: `host` is a view's, without port, and `target` the request
/// target as the client wrote it. `port` is the public one of https.
///
/// What no URL can have stands percent-encoded (RFC 3986, 2.1); everything else stays as it is, dot
/// segments and double slashes too. `None` if the request names no host, or its target no path.
pub(super) fn location(host: &str, target: &[u8], port: u16) -> Option<String> {
    if host.is_empty() {
        return None;
    }
    let (path, query) = match RequestTarget::parse(target) {
        Ok(RequestTarget::Origin { path, query } | RequestTarget::Absolute { path, query, .. }) => {
            (path, query)
        }
        Ok(RequestTarget::Authority(_) | RequestTarget::Asterisk) | Err(_) => return None,
    };
    let mut location = String::with_capacity(16 + host.len() + target.len());
    location.push_str("https://");
    location.push_str(host);
    if port != DEFAULT_PORT {
        location.push(':');
        location.push_str(&port.to_string());
    }
    if path.is_empty() {
        location.push('/');
    }
    location.extend(percent_encode(path, ENCODED));
    if let Some(query) = query {
        location.push('?');
        location.extend(percent_encode(query, ENCODED));
    }
    Some(location)
}

/// The answer to a request that cannot be sent there.
pub(super) fn no_host() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "BAD_HOST",
        "The request names no host to go on at over https; send a Host field.",
    )
}

/// The answer that sends a client there: for any method, with the method and body that it came with
/// (308; RFC 9110, 15.4.9). Nobody keeps it: the setting may change.
///
/// # Errors
/// `location` is no value of a field; those of [`location`] are.
pub(super) fn redirect(location: &str) -> Result<Response<Bytes>, http::Error> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let fields = response.headers_mut();
    fields.insert(LOCATION, HeaderValue::from_str(location)?);
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_leads_to_the_same_resource() {
        let cases = [
            ("a.test", "/", 443, "https://a.test/"),
            ("a.test", "/b?c=d&e", 443, "https://a.test/b?c=d&e"),
            ("a.test", "/b?", 443, "https://a.test/b?"),
            ("a.test", "/b", 8443, "https://a.test:8443/b"),
            ("a.test", "/b", 80, "https://a.test:80/b"),
            ("[::1]", "/b", 443, "https://[::1]/b"),
            ("[2001:db8::1]", "/", 1, "https://[2001:db8::1]:1/"),
            ("10.0.0.1", "/b", 443, "https://10.0.0.1/b"),
            // As the client wrote it.
            (
                "a.test",
                "/./b/%2E%2e//c",
                443,
                "https://a.test/./b/%2E%2e//c",
            ),
            ("a.test", "//evil.test/", 443, "https://a.test//evil.test/"),
            ("a.test", "/%zz|^?{}\\", 443, "https://a.test/%zz|^?{}\\"),
            ("a.test", "/a?b?c/d", 443, "https://a.test/a?b?c/d"),
            // The absolute form: the view's host is of its authority.
            ("a.test", "http://a.test:80/b?c", 443, "https://a.test/b?c"),
            ("a.test", "http://a.test", 443, "https://a.test/"),
            ("a.test", "http://a.test?b", 443, "https://a.test/?b"),
            // What is no ASCII.
            ("a.test", "/ü?ö", 443, "https://a.test/%C3%BC?%C3%B6"),
        ];
        for (host, target, port, expected) in cases {
            let location = location(host, target.as_bytes(), port);
            assert_eq!(location.as_deref(), Some(expected), "{target}");
        }
        let bytes = location("a.test", b"/\xff\x7f", 443);
        assert_eq!(bytes.as_deref(), Some("https://a.test/%FF%7F"));
    }

    #[test]
    fn it_leads_nowhere_without_host_or_path() {
        for (host, target) in [
            ("", "/"),
            ("", "http:///a"),
            ("a.test", ""),
            ("a.test", "*"),
            ("a.test", "a.test:80"),
            ("a.test", "a"),
            ("a.test", "/a#b"),
        ] {
            assert_eq!(location(host, target.as_bytes(), 443), None, "{target}");
        }
    }

    #[test]
    fn a_challenge_is_one_token_below_its_path() {
        let of = |method: &Method, end: &str| {
            let target = format!("/.well-known/acme-challenge{end}");
            is_challenge(method, target.as_bytes())
        };
        for (end, expected) in [
            ("/token-1_A", true),
            ("/token?x=/..", true),
            ("/", false),
            ("", false),
            ("s/token", false),
            ("/a/b", false),
            ("/..", false),
            ("/..%2f..%2fsecret", false),
            ("/..%5csecret", false),
            ("/%74oken", false),
            ("//token", false),
            ("/token;x", false),
        ] {
            assert_eq!(of(&Method::GET, end), expected, "{end}");
            assert_eq!(of(&Method::HEAD, end), expected, "{end}");
            assert!(!of(&Method::POST, end), "{end}");
        }
        for other in [
            "/.Well-Known/acme-challenge/t",
            "/a/.well-known/acme-challenge/t",
        ] {
            assert!(!is_challenge(&Method::GET, other.as_bytes()), "{other}");
        }
    }

    proptest! {
        /// Whatever comes, it is one value of a field, of that host and over TLS.
        #[test]
        fn it_never_leads_elsewhere(
            target in prop::collection::vec(any::<u8>(), 0..40),
            port in any::<u16>(),
        ) {
            let target = [b"/", &target[..]].concat();
            if let Some(location) = location("a.test", &target, port) {
                let uri: Result<http::Uri, _> = location.parse();
                if let Ok(uri) = uri {
                    prop_assert_eq!(uri.host(), Some("a.test"));
                    prop_assert_eq!(uri.scheme_str(), Some("https"));
                }
                let answer = redirect(&location).unwrap();
                prop_assert_eq!(answer.headers()[LOCATION].as_bytes(), location.as_bytes());
                prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
