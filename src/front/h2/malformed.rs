//! Requests that RFC 9113 calls malformed (8.1.1) and that h2 lets through: their streams end here,
//! and nobody else sees them.
//!
//! Each would be read in two ways by two programs, the proxy and an origin behind it: a target that
//! is more than one line of HTTP/1, two lengths, two hosts.

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use log::debug;
use thiserror::Error;

use super::super::fields::decimal;
use super::request::target;
use crate::reply::Refusal;

/// The problem with a request.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("the target has NUL, a space or the end of a line in it")]
    ForbiddenByte,
    #[error("Transfer-Encoding has no place in HTTP/2")]
    TransferEncoding,
    #[error("Content-Length is not one number")]
    ContentLength,
    #[error("there is more than one Host field")]
    HostRepeated,
    #[error("the host has a user name")]
    UserInfo,
    #[error("Host and :authority differ")]
    HostDiffers,
    #[error("there is neither Host nor :authority")]
    HostMissing,
    #[error("the host of a CONNECT can be read in two ways")]
    HostAmbiguous,
    #[error(":path begins with a scheme")]
    Scheme,
}

impl Malformed {
    /// Whether the request's end cannot be told, or that of its target: such a stream is reset. Of
    /// the others a status says more.
    pub(super) fn is_of_framing(self) -> bool {
        match self {
            Self::ForbiddenByte | Self::TransferEncoding | Self::ContentLength => true,
            Self::HostRepeated
            | Self::UserInfo
            | Self::HostDiffers
            | Self::HostMissing
            | Self::HostAmbiguous
            | Self::Scheme => false,
        }
    }

    /// Resets the stream of such a request.
    pub(super) fn reset(self, mut respond: SendResponse<Bytes>) {
        debug!("a request of HTTP/2 is malformed, and its stream is reset: {self}");
        respond.send_reset(Reason::PROTOCOL_ERROR);
    }

    /// Returns the refusal for the client of a malformed request.
    pub(super) fn refusal(self) -> Refusal {
        let code = match self {
            Self::HostRepeated
            | Self::UserInfo
            | Self::HostDiffers
            | Self::HostMissing
            | Self::HostAmbiguous => "BAD_HOST",
            Self::Scheme => "BAD_TARGET",
            Self::ForbiddenByte | Self::TransferEncoding | Self::ContentLength => "BAD_REQUEST",
        };
        let mut text = self.to_string();
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Refusal::new(StatusCode::BAD_REQUEST, code, text + ".")
    }
}

/// Checks the head of a request for what h2 does not.
pub(super) fn check(head: &Parts) -> Result<(), Malformed> {
    let is_forbidden = |byte| matches!(byte, b'\0' | b'\n' | b'\r' | b' ');
    if target(head).bytes().any(is_forbidden) {
        return Err(Malformed::ForbiddenByte);
    }
    // h2 refuses it, but a request that gets through has two ends.
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Malformed::TransferEncoding);
    }
    if !has_one_length(&head.headers) {
        return Err(Malformed::ContentLength);
    }
    check_host(head)?;
    check_form(head)
}

/// Whether all the lengths are numbers, and the same (RFC 9110, 8.6).
fn has_one_length(fields: &HeaderMap) -> bool {
    let mut lengths = fields
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|length| decimal(length.trim_ascii()));
    match lengths.next() {
        None => true,
        Some(None) => false,
        Some(first) => lengths.all(|length| length == first),
    }
}

/// One host, told once, or twice alike (RFC 9113, 8.3.1).
fn check_host(head: &Parts) -> Result<(), Malformed> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(Malformed::HostRepeated);
    }
    let host = host.map(http::HeaderValue::as_bytes);
    let authority = head.uri.authority().map(|name| name.as_str().as_bytes());
    if [host, authority]
        .iter()
        .flatten()
        .any(|name| name.contains(&b'@'))
    {
        return Err(Malformed::UserInfo);
    }
    match (host, authority) {
        (None, None) => Err(Malformed::HostMissing),
        (Some(host), Some(authority)) if host != authority => Err(Malformed::HostDiffers),
        _ => Ok(()),
    }
}

/// The target of a request is its path, and that of a CONNECT its host.
fn check_form(head: &Parts) -> Result<(), Malformed> {
    let is_connect =
        head.method == Method::CONNECT && head.extensions.get::<h2::ext::Protocol>().is_none();
    if is_connect {
        let authority = head.uri.authority();
        return match authority {
            Some(authority) if is_ambiguous(authority.as_str()) => Err(Malformed::HostAmbiguous),
            _ => Ok(()),
        };
    }
    if has_scheme(target(head)) {
        return Err(Malformed::Scheme);
    }
    Ok(())
}

/// Whether a lenient reader could find a scheme in a target, and behind it another host.
fn has_scheme(target: &str) -> bool {
    let first = target.split(['/', '?', '#']).next();
    first.is_some_and(|first| first.contains(':'))
}

/// Whether a host has more than one port, or brackets that are no pair around the address.
fn is_ambiguous(authority: &str) -> bool {
    let rest = match authority.strip_prefix('[') {
        None => authority,
        Some(literal) => match literal.split_once(']') {
            Some((address, rest)) if !address.contains('[') => rest,
            _ => return true,
        },
    };
    rest.contains(['[', ']']) || rest.matches(':').count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_has_one_host() {
        let at = |uri: &str, fields: &[(&str, &str)]| check(&request("GET", uri, fields));
        let (host, other) = (("host", "a.example"), ("host", "b.example"));
        let whole = "https://a.example/p";
        assert_eq!(at(whole, &[]), Ok(()));
        assert_eq!(at(whole, &[host]), Ok(()));
        assert_eq!(at("/p", &[host]), Ok(()));
        assert_eq!(at("/p?u=me@b.example", &[host]), Ok(()));
        assert_eq!(at("/p", &[]), Err(Malformed::HostMissing));
        assert_eq!(at(whole, &[other]), Err(Malformed::HostDiffers));
        assert_eq!(
            at(whole, &[("host", "A.example")]),
            Err(Malformed::HostDiffers)
        );
        assert_eq!(
            at("https://a.example:443/p", &[host]),
            Err(Malformed::HostDiffers)
        );
        assert_eq!(at("/p", &[host, host]), Err(Malformed::HostRepeated));
        assert_eq!(at(whole, &[host, other]), Err(Malformed::HostRepeated));
        assert_eq!(
            at("/p", &[("host", "me@a.example")]),
            Err(Malformed::UserInfo)
        );
        assert_eq!(at("https://me@a.example/p", &[]), Err(Malformed::UserInfo));
    }

    #[test]
    fn a_length_is_one_number() {
        let with = |lengths: &[&str]| {
            let mut fields = vec![("host", "a")];
            fields.extend(lengths.iter().map(|length| ("content-length", *length)));
            check(&request("POST", "/", &fields))
        };
        for good in [&[][..], &["0"], &["12"], &["12", "12"], &["12, 012"]] {
            assert_eq!(with(good), Ok(()), "{good:?}");
        }
        for bad in [
            &[""][..],
            &["a"],
            &["+1"],
            &["-1"],
            &["1 2"],
            &["1", "2"],
            &["1, 2"],
            &["1,"],
            &["1", ""],
            &["99999999999999999999"],
        ] {
            assert_eq!(with(bad), Err(Malformed::ContentLength), "{bad:?}");
        }
        let coded = request("POST", "/", &[("host", "a"), ("transfer-encoding", "gzip")]);
        assert_eq!(check(&coded), Err(Malformed::TransferEncoding));
    }

    #[test]
    fn a_target_is_a_path() {
        for path in ["/", "/a:b", "/http://b/", "*", "a", "a?b:c", "?b:c"] {
            assert!(!has_scheme(path), "{path}");
        }
        for path in [
            "http://b/",
            "http:b",
            "http:/\\b",
            "ht_tp://b",
            "://b",
            "x:y",
        ] {
            assert!(has_scheme(path), "{path}");
        }
    }

    #[test]
    fn the_host_of_a_connect_has_one_port() {
        let connect = |uri: &str| check(&request("CONNECT", uri, &[]));
        assert_eq!(connect("a.example:443"), Ok(()));
        for good in ["a", "a:1", "[::1]", "[::1]:1", ""] {
            assert!(!is_ambiguous(good), "{good}");
        }
        for bad in ["a:1:2", "::1", "[::1", "[::1]:1:2", "[a[b]:1", "a[b]", "a]"] {
            assert!(is_ambiguous(bad), "{bad}");
        }
    }

    #[test]
    fn a_target_is_one_word() {
        use http::uri::PathAndQuery;
        // What the parser of URIs lets through depends on its version.
        for target in ["/a b", "/a\r\nx: y", "/a\0"] {
            let Ok(path) = PathAndQuery::try_from(target) else {
                continue;
            };
            let mut head = request("GET", "/", &[("host", "a")]);
            head.uri = path.into();
            assert_eq!(check(&head), Err(Malformed::ForbiddenByte), "{target:?}");
        }
    }

    #[test]
    fn what_cannot_be_framed_is_reset() {
        assert!(Malformed::ContentLength.is_of_framing());
        assert!(Malformed::ForbiddenByte.is_of_framing());
        assert!(!Malformed::HostDiffers.is_of_framing());
    }
}
