//! What the proxy keeps of one request while it is on its way.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderValue, StatusCode};
use pingora::http::RequestHeader;

use super::in_flight::InFlight;
use super::peer::Kind;
use crate::answer::Refusal;
use crate::route::{RequestHost, RequestPath, RequestTarget, Route};

/// One request on its way.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The route that takes it, and the instance that it goes to.
    pub(super) visit: Option<InFlight>,
    /// Who keeps the limits on the origin's pauses.
    pub(super) kind: Kind,
    /// The target to forward, if it is not the one that came, letter by letter.
    pub(super) rewritten: Option<Vec<u8>>,
    /// The port that the request names.
    pub(super) port: Option<u16>,
    /// Which address is tried: those of the chosen instance, the preferred one first, then those of
    /// the route's other instances.
    pub(super) attempt: usize,
    /// The index of the instance that is tried.
    pub(super) aimed: usize,
    /// Whether the table has to be asked again before the next try.
    pub(super) stale: bool,
    /// Set once the request was sent again on a new connection.
    pub(super) resent: bool,
    /// The request's id, sent to the origin and back to the client.
    pub(super) request_id: Option<HeaderValue>,
    /// What a request that is sent again does not meet of its new route.
    pub(super) unmet: Option<Refusal>,
    /// Whether the origin has begun its answer.
    pub(super) answered: bool,
    /// How long a call of gRPC may take by its own word.
    pub(super) deadline: Option<Duration>,
    /// The error code (RFC 9113, 7) by which the origin has reset its stream.
    pub(super) reset: Option<u32>,
    /// When the request came.
    pub(super) began: Began,
}

/// A moment whose default is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began(Instant);

impl Began {
    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

impl Default for Began {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Exchange {
    /// The route that takes the request.
    pub(super) fn route(&self) -> Option<&Arc<Route>> {
        self.visit.as_ref().map(InFlight::route)
    }

    /// Counts the status that the client gets.
    pub(super) fn answer_with(&mut self, status: StatusCode) {
        if let Some(visit) = &mut self.visit {
            visit.respond(status);
        }
    }
}

/// The one view of a request: what is matched is what is forwarded. Borrowed from the request as
/// long as that is in its one spelling already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View<'a> {
    /// The host, lower-case, without port; empty if the request names none.
    pub(super) host: Cow<'a, str>,
    /// The port that the request names.
    pub(super) port: Option<u16>,
    /// The path, normalised.
    pub(super) path: Cow<'a, str>,
    /// The query as it came.
    query: Option<&'a [u8]>,
    /// Whether the target came with its authority.
    is_absolute: bool,
}

impl<'a> View<'a> {
    /// Reads a request, or says why it cannot be served.
    pub(super) fn of(request: &'a RequestHeader) -> Result<Self, Refusal> {
        let authority = request.uri.authority().map(Authority::as_str);
        let host = request.headers.get(HOST).map(HeaderValue::as_bytes);
        Self::read(request.raw_path(), authority, host)
    }

    /// Reads the target of a request, with the authority that stands beside it in HTTP/2, and the value
    /// of its `Host` field.
    pub(super) fn read(
        target: &'a [u8],
        authority: Option<&'a str>,
        host: Option<&'a [u8]>,
    ) -> Result<Self, Refusal> {
        let target = RequestTarget::parse(target).map_err(|error| bad("BAD_TARGET", &error))?;
        let (path, query) = match target {
            RequestTarget::Origin { path, query } | RequestTarget::Absolute { path, query, .. } => {
                (path, query)
            }
            RequestTarget::Asterisk | RequestTarget::Authority(_) => {
                return Err(bad("BAD_TARGET", &"the proxy serves paths; send one"));
            }
        };
        let path = RequestPath::parse(path).map_err(|error| bad("BAD_PATH", &error))?;
        let (host, port) = named_host(&target, authority, host)?;
        let is_absolute = matches!(target, RequestTarget::Absolute { .. });
        Ok(Self {
            host,
            port,
            path: path.into_inner(),
            query,
            is_absolute,
        })
    }

    /// The target to forward, if it is not the one that came.
    pub(super) fn rewritten(&self) -> Option<Vec<u8>> {
        if matches!(self.path, Cow::Borrowed(_)) && !self.is_absolute {
            return None;
        }
        let mut target = self.path.as_bytes().to_vec();
        if let Some(query) = self.query {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        Some(target)
    }
}

/// The host of the absolute form, of `:authority`, or of the `Host` field (RFC 9112, 3.2.2).
fn named_host<'a>(
    target: &RequestTarget<'a>,
    authority: Option<&'a str>,
    host: Option<&'a [u8]>,
) -> Result<(Cow<'a, str>, Option<u16>), Refusal> {
    let text = match (target, authority, host) {
        (RequestTarget::Absolute { authority, .. }, ..) => authority,
        (_, Some(authority), _) => authority,
        (_, None, Some(host)) => match std::str::from_utf8(host) {
            Ok(host) if host.is_ascii() => host,
            _ => return Err(bad("BAD_HOST", &"the Host field is not ASCII")),
        },
        (_, None, None) => "",
    };
    if text.is_empty() {
        return Ok((Cow::Borrowed(""), None));
    }
    let host = RequestHost::parse(text).map_err(|error| bad("BAD_HOST", &error))?;
    let port = host.port();
    Ok((host.into_name(), port))
}

fn bad(code: &'static str, reason: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, host: &str) -> RequestHeader {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        if !host.is_empty() {
            request.insert_header("host", host).unwrap();
        }
        request
    }

    #[test]
    fn what_is_matched_is_what_is_forwarded() {
        let cases = [
            ("/shop/cart?x=%zz", "/shop/cart", None),
            ("/shop/./cart?x=1", "/shop/cart", Some("/shop/cart?x=1")),
            ("/shop/%2e%2e/admin?..", "/admin", Some("/admin?..")),
            ("/%73hop/a%2Fb", "/shop/a%2Fb", Some("/shop/a%2Fb")),
            ("//a//b", "//a//b", None),
            ("http://example.com/a?b", "/a", Some("/a?b")),
            ("http://example.com", "/", Some("/")),
            ("/a?", "/a", None),
            ("/a/%zz", "/a/%zz", None),
        ];
        for (target, path, rewritten) in cases {
            let request = request(target, "example.com");
            let view = View::of(&request).unwrap();
            assert_eq!(view.path, path, "{target}");
            let forwarded = view
                .rewritten()
                .map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(forwarded.as_deref(), rewritten, "{target}");
        }
    }

    #[test]
    fn hosts_are_put_into_one_spelling() {
        let cases = [
            ("EXAMPLE.com:8080", "example.com", Some(8080)),
            ("example.com.", "example.com", None),
            ("[::1]:3000", "[::1]", Some(3000)),
            ("", "", None),
        ];
        for (host, expected, port) in cases {
            let request = request("/", host);
            let view = View::of(&request).unwrap();
            assert_eq!((&*view.host, view.port), (expected, port), "{host}");
        }
    }

    #[test]
    fn what_cannot_be_served_says_why() {
        let cases = [
            ("*", "", "BAD_TARGET"),
            ("/../a", "", "BAD_PATH"),
            ("/a%00", "", "BAD_PATH"),
            ("/", "a b", "BAD_HOST"),
            ("/", "user@host", "BAD_HOST"),
        ];
        for (target, host, code) in cases {
            let request = request(target, host);
            let refusal = View::of(&request).expect_err(target);
            assert_eq!(refusal.code, code, "{target} {host}");
        }
    }
}
