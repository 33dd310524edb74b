//! The heads that Pingora reads and writes, by the rules of the data path.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{BError, Error, ErrorType, Result};
use pingora_proxy::Session;

use crate::front::{Fields, Framing, list};
use crate::proxy::rules::request::{Hop, UpstreamRequest};
use crate::proxy::rules::response::{self, Asked, ResponseError, ResponseHead, StatusLine};

/// Makes the head that Pingora is about to send to an upstream the one that the rules have. `name` is the
/// upstream's own, for one of HTTP/2 that is asked by a client that names none.
pub(in crate::proxy) fn to_upstream(
    request: &mut RequestHeader,
    upstream: UpstreamRequest<'_>,
    name: &str,
) -> Result<()> {
    let asked = upstream.request;
    let is_http2 = request.version == Version::HTTP_2;
    let hop = if is_http2 { Hop::Http2 } else { Hop::Http1 };
    let mut fields = HeaderMap::with_capacity(request.headers.len() + 8);
    upstream.write_fields(hop, &mut fields);
    let host = asked.authority();
    if is_http2 {
        // Pingora makes `:authority` of it, and sends no request without one.
        let host = upstream.host().unwrap_or(name.as_bytes());
        if let Ok(host) = HeaderValue::from_bytes(host) {
            fields.insert(HOST, host);
        }
    } else if host.is_none() {
        // In HTTP/1.1 it would be invalid (RFC 9112, 3.2).
        request.set_version(Version::HTTP_10);
    }
    request.set_raw_path(&asked.forwarded_target())?;
    replace(request, &fields)
}

/// Gives a request these fields; those that stay as they are keep their spelling.
fn replace(request: &mut RequestHeader, fields: &HeaderMap) -> Result<()> {
    let gone: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| !has_same(&request.headers, fields, name))
        .cloned()
        .collect();
    for name in &gone {
        request.remove_header(name);
    }
    for name in fields.keys() {
        if !request.headers.contains_key(name) {
            for value in fields.get_all(name) {
                request.append_header(name.clone(), value.clone())?;
            }
        }
    }
    Ok(())
}

fn has_same(one: &HeaderMap, other: &HeaderMap, name: &HeaderName) -> bool {
    one.get_all(name).iter().eq(other.get_all(name).iter())
}

/// Information about a response whose head has been passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own.
pub(in crate::proxy) struct Passed {
    /// Whether it has an id of the upstream's own.
    pub(in crate::proxy) has_id: bool,
    /// Whether its body has no length. Clients of HTTP/1.0 get it until their connection ends.
    pub(in crate::proxy) is_unbounded: bool,
    /// Whether it has no body.
    pub(in crate::proxy) is_bodiless: bool,
    /// Whether the connection that it came over may not be used again, though Pingora keeps it.
    pub(in crate::proxy) gives_up: bool,
}

/// Makes the head of an upstream's response the one that the client is to get.
pub(in crate::proxy) fn to_client(
    session: &Session,
    response: &mut ResponseHeader,
    id_field: &str,
) -> Result<Passed> {
    let (framing, announced, has_id, keeps, gone) = {
        let head = read(session, response, id_field);
        let head = head.map_err(|error| invalid(&error.to_string()))?;
        let gone = left_out(&response.headers, &head);
        (head.framing, head.announced, head.has_id, head.keeps, gone)
    };
    if framing == Framing::UntilClose && response.headers.contains_key(TRANSFER_ENCODING) {
        // Pingora has dropped the length that may stand beside it.
        return Err(invalid("a transfer coding other than chunked"));
    }
    let coding = response.headers.get(TRANSFER_ENCODING);
    if framing == Framing::Chunked && coding.is_some_and(|coding| !ends_in_chunked(coding)) {
        // Pingora would pass its chunks on as data.
        return Err(invalid("a list of transfer codings with an empty end"));
    }
    let passed = Passed {
        has_id,
        is_bodiless: framing == Framing::None,
        is_unbounded: matches!(framing, Framing::Chunked | Framing::UntilClose),
        gives_up: announces_absent_body(response) || (!keeps && is_kept_by_pingora(response)),
    };
    for name in &gone {
        response.remove_header(name);
    }
    set_framing(response, framing, announced)?;
    Ok(passed)
}

/// Whether a value is read as chunked coding by Pingora, which looks at its end.
fn ends_in_chunked(coding: &HeaderValue) -> bool {
    let value = coding.as_bytes();
    let end = value.len().saturating_sub(b"chunked".len());
    value
        .get(end..)
        .is_some_and(|end| end.eq_ignore_ascii_case(b"chunked"))
}

fn set_framing(response: &mut ResponseHeader, framing: Framing, announced: Framing) -> Result<()> {
    match (framing, announced) {
        (Framing::Length(length), _) | (Framing::None, Framing::Length(length)) => {
            response.insert_header(CONTENT_LENGTH, length)
        }
        (Framing::Chunked, _) | (Framing::None, Framing::Chunked) => {
            response.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
        }
        _ => Ok(()),
    }
}

/// The names of the fields that are not for the client. Of `Strict-Transport-Security` more is to be said.
fn left_out(fields: &HeaderMap, head: &ResponseHead<'_>) -> Vec<HeaderName> {
    let passing: Vec<&[u8]> = head.for_client().map(|(name, _)| name).collect();
    let names = fields
        .keys()
        .filter(|name| **name != STRICT_TRANSPORT_SECURITY);
    let gone = names.filter(|name| !passing.contains(&name.as_str().as_bytes()));
    gone.cloned().collect()
}

fn read<'h>(
    session: &Session,
    response: &'h ResponseHeader,
    id_field: &str,
) -> Result<ResponseHead<'h>, ResponseError> {
    let asked = if session.req_header().method == Method::HEAD {
        Asked::Head
    } else if session.is_upgrade_req() {
        Asked::Upgrade
    } else {
        Asked::Body
    };
    let line = StatusLine {
        status: response.status,
        reason: "",
        version: response.version,
    };
    ResponseHead::read(line, Fields::Map(&response.headers), asked, id_field)
}

/// Checks the trailers of an upstream's response.
pub(in crate::proxy) fn check_trailers(trailers: &HeaderMap) -> Result<()> {
    response::check_trailers(trailers).map_err(|error| invalid(&error.to_string()))
}

#[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
fn invalid(reason: &str) -> BError {
    Error::explain(ErrorType::InvalidHTTPHeader, reason.to_owned()).into_up()
}

/// Whether Pingora keeps the connection of a response: it reads one line of `Connection`.
fn is_kept_by_pingora(response: &ResponseHeader) -> bool {
    let connection = response.headers.get(CONNECTION);
    let connection = connection.map_or(&b""[..], HeaderValue::as_bytes);
    let mut options = list(connection);
    let is_closed = std::str::from_utf8(connection).is_ok()
        && options.any(|option| option.eq_ignore_ascii_case(b"close"));
    match response.version {
        Version::HTTP_11 => !is_closed,
        Version::HTTP_10 => connection.eq_ignore_ascii_case(b"keep-alive"),
        _ => false,
    }
}

/// Whether a response that never has a body announces one all the same. The length in a 304 is that of
/// another response.
fn announces_absent_body(response: &ResponseHeader) -> bool {
    let length = response.headers.get(CONTENT_LENGTH);
    let has_coding = response.headers.contains_key(TRANSFER_ENCODING);
    match response.status {
        StatusCode::NO_CONTENT => has_coding || length.is_some_and(|length| length != "0"),
        StatusCode::NOT_MODIFIED => has_coding,
        _ => false,
    }
}
