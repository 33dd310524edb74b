//! Challenges of certificate authorities over HTTP (RFC 8555, 8.3): who knows their answers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

/// Where an authority looks for the answer to a challenge; its token follows.
const PATH: &[u8] = b"/.well-known/acme-challenge/";

type Answer = dyn Fn(&str) -> Option<Arc<str>> + Send + Sync;

/// Who knows the answers. By default nobody does.
#[derive(Clone, Default)]
pub struct Challenges(Option<Arc<Answer>>);

impl Challenges {
    /// Answers are what a function has for a token; it is called on the request's path, so it must not
    /// block.
    pub fn new(answer: impl Fn(&str) -> Option<Arc<str>> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(answer)))
    }

    /// The answer to a request, if it is for a challenge that is known. An unknown one is a request
    /// like any other: the app behind may have asked for a certificate itself.
    pub(in crate::proxy) fn answer(
        &self,
        method: &Method,
        target: &[u8],
    ) -> Option<Response<Bytes>> {
        let answer = self.0.as_ref()?;
        let token = target.strip_prefix(PATH)?;
        let end = token.iter().position(|byte| *byte == b'?');
        let token = token.get(..end.unwrap_or(token.len()))?;
        let known = answer(std::str::from_utf8(token).ok()?)?;
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let body = if is_read {
            Bytes::from(known.as_bytes().to_vec())
        } else {
            Bytes::new()
        };
        let mut response = Response::new(body);
        let fields = response.headers_mut();
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if is_read {
            let kind = HeaderValue::from_static("application/octet-stream");
            fields.insert(CONTENT_TYPE, kind);
        } else {
            fields.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        Some(response)
    }
}

/// Whether they are the same.
impl PartialEq for Challenges {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Challenges {}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Challenges")
            .field(&self.0.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(challenges: &Challenges, method: &str, path: &str) -> Option<(u16, Bytes)> {
        let response = challenges.answer(&method.parse().unwrap(), path.as_bytes())?;
        Some((response.status().as_u16(), response.into_body()))
    }

    #[test]
    fn only_a_known_token_is_answered() {
        let known = Challenges::new(|token| (token == "abc").then(|| "abc.key".into()));
        let get = |path: &str| answer(&known, "GET", path);
        let expected = Some((200, Bytes::from_static(b"abc.key")));
        assert_eq!(get("/.well-known/acme-challenge/abc"), expected);
        assert_eq!(get("/.well-known/acme-challenge/abc?x=1"), expected);
        for path in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/abd",
            "/.well-known/acme-challenge/abc/",
            "/.well-known/acme-challenge/../abc",
            "/.well-known/acme-challenge/%61bc",
            "/.well-known/acme-challengeabc",
            "/x/.well-known/acme-challenge/abc",
            "/abc",
        ] {
            assert_eq!(get(path), None, "{path}");
        }
        let path = "/.well-known/acme-challenge/abc";
        assert_eq!(answer(&known, "POST", path), Some((405, Bytes::new())));
        assert_eq!(answer(&Challenges::default(), "GET", path), None);
    }
}
