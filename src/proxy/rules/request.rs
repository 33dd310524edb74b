//! The head of the request that an upstream is sent: which of the client's fields pass, and what the proxy
//! says itself.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use smallvec::SmallVec;

use crate::front::{Field, Fields, Framing, Request, TlsClient};
use crate::proxy::rules::forwarding::{self, Client};
use crate::route::{FieldAction, field_action};

/// A request as its upstream gets it.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct UpstreamRequest<'a> {
    pub(in crate::proxy) request: &'a Request,
    /// Whether the client is a proxy whose word is kept.
    pub(in crate::proxy) is_trusted: bool,
    /// Whether the client's side is encrypted, as far as we or a trusted proxy can tell.
    pub(in crate::proxy) is_encrypted: bool,
    pub(in crate::proxy) id_field: &'static str,
    pub(in crate::proxy) id: &'a [u8],
}

/// The HTTP version that an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Hop {
    Http1,
    Http2,
}

/// Where fields are written to.
pub(in crate::proxy) trait FieldSink {
    /// Writes a field.
    fn put(&mut self, name: &[u8], value: &[u8]);

    /// Writes a field of HTTP/2 as it is.
    fn put_parsed(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.put(name.as_str().as_bytes(), value.as_bytes());
    }

    /// Writes a field whose value is a list of earlier values and one of several parts.
    fn put_list(&mut self, name: &'static str, earlier: &[&[u8]], last: &[&[u8]]);
}

/// The wire of HTTP/1.
impl FieldSink for Vec<u8> {
    fn put(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.extend_from_slice(part);
        }
    }

    fn put_list(&mut self, name: &'static str, earlier: &[&[u8]], last: &[&[u8]]) {
        self.extend_from_slice(name.as_bytes());
        self.extend_from_slice(b": ");
        for value in earlier {
            self.extend_from_slice(value);
            self.extend_from_slice(b", ");
        }
        for part in last {
            self.extend_from_slice(part);
        }
        self.extend_from_slice(b"\r\n");
    }
}

/// The fields of HTTP/2.
impl FieldSink for HeaderMap {
    fn put(&mut self, name: &[u8], value: &[u8]) {
        // Each was a field already, in HTTP/1 or HTTP/2.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            self.append(name, value);
        }
    }

    fn put_parsed(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name.clone(), value.clone());
    }

    fn put_list(&mut self, name: &'static str, earlier: &[&[u8]], last: &[&[u8]]) {
        let mut text: SmallVec<[u8; 128]> = SmallVec::new();
        for value in earlier {
            text.extend_from_slice(value);
            text.extend_from_slice(b", ");
        }
        for part in last {
            text.extend_from_slice(part);
        }
        // All parts are of values that are some already.
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            self.insert(name, value);
        }
    }
}

/// A summary of the client's fields, by which the framing and forwarding fields behind them are written.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own.
struct ForwardingFields<'a> {
    forwarded_for: SmallVec<[&'a [u8]; 2]>,
    forwarded: SmallVec<[&'a [u8]; 2]>,
    has_proto: bool,
    has_port: bool,
    has_host: bool,
    has_length: bool,
    takes_trailers: bool,
}

impl<'a> UpstreamRequest<'a> {
    /// Writes the whole head for an upstream of HTTP/1. A request of HTTP/1.0 that names no host stays one:
    /// in HTTP/1.1 it would be invalid (RFC 9112, 3.2).
    pub(in crate::proxy) fn write_http1(&self) -> Vec<u8> {
        let request = self.request;
        let mut out = Vec::with_capacity(request.size() + 512);
        let version: &[u8] = if request.authority().is_none() {
            b" HTTP/1.0\r\n"
        } else {
            b" HTTP/1.1\r\n"
        };
        let method = request.method().as_str().as_bytes();
        for part in [method, b" ", &request.forwarded_target(), version] {
            out.extend_from_slice(part);
        }
        self.write_fields(Hop::Http1, &mut out);
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The host that the client asks for; none if it names none, or an empty one (RFC 9112, 3.2), which
    /// `:authority` cannot be (RFC 9113, 8.3.1).
    pub(in crate::proxy) fn host(&self) -> Option<&'a [u8]> {
        self.request.authority().filter(|host| !host.is_empty())
    }

    /// Writes the fields.
    pub(in crate::proxy) fn write_fields(&self, hop: Hop, out: &mut impl FieldSink) {
        let request = self.request;
        if let (Hop::Http1, Some(host)) = (hop, request.authority()) {
            out.put(b"Host", host);
        }
        let nominated = request.nominated();
        let mut said = ForwardingFields::default();
        let mut passes = |(name, value): Field<'a>| {
            let mut nominated = nominated.iter();
            let is_nominated = nominated.any(|other| name.eq_ignore_ascii_case(other));
            !is_nominated && self.passes((name, value), &mut said)
        };
        if let Fields::Map(fields) = request.fields() {
            for (name, value) in fields {
                if passes((name.as_str().as_bytes(), value.as_bytes())) {
                    out.put_parsed(name, value);
                }
            }
        } else {
            request.fields().each(|(name, value)| {
                if passes((name, value)) {
                    out.put(name, value);
                }
            });
        }
        self.write_framing(hop, &said, out);
        out.put(self.id_field.as_bytes(), self.id);
        let identity = request.caller().tls_client();
        for (name, value) in identity.into_iter().flat_map(TlsClient::identity) {
            out.put(name.as_str().as_bytes(), value.as_bytes());
        }
        self.write_forwarding(&said, out);
    }

    /// Whether a field of the client's goes on to the upstream; what is written later is noted.
    fn passes(&self, (name, value): Field<'a>, said: &mut ForwardingFields<'a>) -> bool {
        match field_action(name, self.id_field) {
            FieldAction::Passes => return true,
            // RFC 9110, 10.1.1: an expectation in HTTP/1.0 is ignored.
            FieldAction::Expect => return self.request.version() != Version::HTTP_10,
            FieldAction::Ends | FieldAction::Host => {}
            FieldAction::Length => said.has_length = true,
            FieldAction::Te => said.takes_trailers |= value.eq_ignore_ascii_case(b"trailers"),
            _ if !self.is_trusted => {}
            FieldAction::ForwardedFor => said.forwarded_for.push(value),
            FieldAction::Forwarded => said.forwarded.push(value),
            FieldAction::Claim => return true,
            FieldAction::ForwardedProto => {
                said.has_proto = true;
                return true;
            }
            FieldAction::ForwardedPort => {
                said.has_port = true;
                return true;
            }
            FieldAction::ForwardedHost => {
                said.has_host = true;
                return true;
            }
        }
        false
    }

    /// Says where the body ends, and what is asked of the connection.
    fn write_framing(&self, hop: Hop, said: &ForwardingFields<'_>, out: &mut impl FieldSink) {
        let request = self.request;
        match (request.framing(), hop) {
            (Framing::Length(length), _) => {
                let mut text = itoa::Buffer::new();
                out.put(b"Content-Length", text.format(length).as_bytes());
            }
            (Framing::None, _) if said.has_length || self.announces_nothing() => {
                out.put(b"Content-Length", b"0");
            }
            (Framing::Chunked, Hop::Http1) => out.put(b"Transfer-Encoding", b"chunked"),
            (Framing::Upgrade, Hop::Http1) => {
                out.put(b"Connection", b"Upgrade");
                out.put(b"Upgrade", b"websocket");
            }
            (Framing::None | Framing::Chunked | Framing::UntilClose | Framing::Upgrade, _) => {}
        }
        // RFC 9113, 8.2.2: the one thing that TE may say. gRPC asks for it.
        if hop == Hop::Http2 && said.takes_trailers && request.version() == Version::HTTP_2 {
            out.put(b"te", b"trailers");
        }
    }

    /// Whether the client has said by the end of its stream, rather than by a length of 0, that a request
    /// that may have a body has none (RFC 9110, 8.6).
    fn announces_nothing(&self) -> bool {
        let request = self.request;
        request.version() == Version::HTTP_2
            && matches!(
                *request.method(),
                Method::POST | Method::PUT | Method::PATCH
            )
    }

    /// Tells the upstream who asked: behind what a trusted proxy said, otherwise in its place.
    fn write_forwarding(&self, said: &ForwardingFields<'_>, out: &mut impl FieldSink) {
        let client = self.client();
        let address = forwarding::address_text(client.address);
        out.put_list("x-forwarded-for", &said.forwarded_for, &[&address]);
        // IPv6 in brackets and quotes (RFC 7239, 6).
        let (before, behind): (&[u8], &[u8]) = if memchr::memchr(b':', &address).is_some() {
            (b"\"[", b"]\"")
        } else {
            (b"", b"")
        };
        let scheme = client.scheme().as_bytes();
        let mut element: SmallVec<[&[u8]; 9]> =
            SmallVec::from_slice(&[b"for=", before, &address, behind, b";proto=", scheme]);
        let host = self.host();
        // A quoted string (RFC 7239, 4); a host that passed our check holds neither `"` nor `\`.
        if let Some(host) = host {
            element.extend_from_slice(&[b";host=\"", host, b"\""]);
        }
        out.put_list("forwarded", &said.forwarded, &element);
        if !said.has_proto {
            // A trusted proxy may say it in `Forwarded` alone; both fields say the same then.
            let last = said.forwarded.last().map(|line| std::str::from_utf8(line));
            let is_https = forwarding::claims_https(None, last.and_then(Result::ok));
            out.put(
                b"x-forwarded-proto",
                if is_https { b"https" } else { scheme },
            );
        }
        if !said.has_port {
            out.put(
                b"x-forwarded-port",
                &forwarding::port_text(client.named_port()),
            );
        }
        if let (Some(host), false) = (host, said.has_host) {
            out.put(b"x-forwarded-host", host);
        }
    }

    fn client(&self) -> Client {
        let caller = self.request.caller();
        Client {
            address: caller.address,
            is_tls: caller.tls.is_some(),
            port: self.request.port(),
        }
    }
}

/// Whether the proxy in front of this one says that its client's side is encrypted: by the last line of
/// each of its two fields.
pub(in crate::proxy) fn says_https(request: &Request) -> bool {
    let (mut proto, mut forwarded) = (None, None);
    request.fields().each(|(name, value)| {
        let text = std::str::from_utf8(value).ok();
        match name.len() {
            17 if name.eq_ignore_ascii_case(b"x-forwarded-proto") => proto = text.or(proto),
            9 if name.eq_ignore_ascii_case(b"forwarded") => forwarded = text.or(forwarded),
            _ => {}
        }
    });
    forwarding::claims_https(proto, forwarded)
}

#[cfg(test)]
mod tests;
