//! The interface of this module's parsers for the fuzz targets (`fuzz/`): plain facts about bytes.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::caller::Caller;
use super::chunked::ChunkScan;
use super::framing::Body;
pub use super::framing::Framing;
use super::head::{self, HeadLimits, HeadScan};
use super::proxy_protocol::{self, Announced, Beginning};
use super::request::Request;

/// The result of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// More is needed.
    Open,
    /// They are refused, for this reason.
    Refused(String),
    Taken(T),
}

/// A field, as it stands in a head.
pub type OwnedField = (Vec<u8>, Vec<u8>);

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// How many bytes it has, with the empty lines before it.
    pub length: usize,
    pub method: String,
    /// Whether the version is HTTP/1.1, rather than HTTP/1.0.
    pub is_http11: bool,
    pub target: Vec<u8>,
    pub framing: Framing,
    /// The host and port, as the client wrote them.
    pub authority: Option<Vec<u8>>,
    pub fields: Vec<OwnedField>,
    /// Whether it is for a path and a host that can be served.
    pub is_served: bool,
    /// The path and the host as they are matched.
    pub matched: (String, String),
}

/// Limits of the head of a request, in bytes and in fields.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub head: usize,
    pub target: usize,
    pub fields: usize,
}

/// Reads the head of a request that comes in these pieces.
pub fn request<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    limits: Limits,
) -> Verdict<(usize, Request)> {
    let limits = HeadLimits {
        head: limits.head,
        target: limits.target,
        fields: limits.fields,
    };
    let (mut scan, mut buffer, mut come) = (HeadScan::default(), BytesMut::new(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        come += piece.len();
        match head::take(&mut scan, &mut buffer, &limits) {
            Ok(None) => {}
            Ok(Some((length, head))) => {
                let blank = come - buffer.len();
                buffer.truncate(length);
                let request = Request::http1(buffer, head, Caller::nobody());
                return Verdict::Taken((blank + length, request));
            }
            Err(error) => return Verdict::Refused(error.to_string()),
        }
    }
    Verdict::Open
}

/// Returns the head of a request as plain values.
#[must_use]
pub fn facts(length: usize, request: &Request) -> RequestHead {
    let mut fields = Vec::new();
    request
        .fields()
        .each(|(name, value)| fields.push((name.to_vec(), value.to_vec())));
    RequestHead {
        length,
        method: request.method().to_string(),
        is_http11: request.version() == http::Version::HTTP_11,
        target: request.target().to_vec(),
        framing: request.framing(),
        authority: request.authority().map(<[u8]>::to_vec),
        fields,
        is_served: request.fault().is_none(),
        matched: (request.path().to_owned(), request.host().to_owned()),
    }
}

/// How many of the bytes that come in these pieces belong to a chunked body.
pub fn chunked_length<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Verdict<usize> {
    let (mut scan, mut before) = (ChunkScan::default(), 0);
    for piece in pieces {
        let end = scan.end(piece);
        if scan.is_odd() {
            return Verdict::Refused(String::new());
        }
        if let Some(end) = end {
            return Verdict::Taken(before + end);
        }
        before += piece.len();
    }
    Verdict::Open
}

/// The data of a chunked body that comes in these pieces, as it is moved over, up to where it ends or is
/// refused; and how many bytes were moved over.
pub fn chunked_data<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<u8>, Verdict<usize>) {
    let (mut body, mut data, mut moved) = (Body::new(Framing::Chunked), Vec::new(), 0);
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let Ok(next) = body.advance(rest) else {
                return (data, Verdict::Refused(String::new()));
            };
            let end = next.framing + next.data;
            data.extend_from_slice(rest.get(next.framing..end).unwrap_or_default());
            rest = rest.get(end..).unwrap_or_default();
            moved += end;
            if body.is_over() {
                return (data, Verdict::Taken(moved));
            }
        }
    }
    (data, Verdict::Open)
}

/// The data of a chunked body, extracted in place; `None` if the body is refused.
pub fn chunked_extract<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Option<(Vec<u8>, bool)> {
    let (mut body, mut data) = (Body::new(Framing::Chunked), Vec::new());
    for piece in pieces {
        let mut piece = piece.to_vec();
        let kept = body.extract(&mut piece).ok()?;
        data.extend_from_slice(piece.get(..kept).unwrap_or_default());
    }
    Some((data, body.is_over()))
}

/// A header of the PROXY protocol at the front of bytes: its length and the client that it names.
#[must_use]
pub fn proxy_header(bytes: &[u8]) -> Verdict<(usize, Option<SocketAddr>)> {
    match proxy_protocol::parse(bytes) {
        Ok(None) => Verdict::Open,
        Ok(Some((length, Announced::Client(client)))) => Verdict::Taken((length, Some(client))),
        Ok(Some((length, Announced::Nobody))) => Verdict::Taken((length, None)),
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

/// Whether bytes begin with a header of the PROXY protocol, if that can be told.
#[must_use]
pub fn begins_with_proxy_header(bytes: &[u8]) -> Option<bool> {
    match proxy_protocol::beginning(bytes) {
        Beginning::Header => Some(true),
        Beginning::Other => Some(false),
        Beginning::Open => None,
    }
}
