//! The head of an HTTP/1 request: read once, and checked.
//!
//! What lenient readers forgive is refused: a bare LF that ends a line, two framings, a request of
//! HTTP/1.1 without `Host`. The check is a scan for line ends and one run of the parser, and decides how
//! many bytes after the head belong to the request.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::{Method, StatusCode, Version};
use thiserror::Error;

use super::fields::{At, Fields, decimal, list};
use super::framing::Framing;
use super::request::{ConnectionOptions, Http1Head};

use crate::reply::Refusal;
use crate::route::RequestTarget;

/// The most fields that a head may have at all; Pingora refuses 256.
const MOST_FIELDS: usize = 200;

/// The most options that `Connection` may have, as Pingora has it.
const MOST_OPTIONS: usize = 10;

/// How large the head of a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// Bytes of the whole head.
    pub(crate) head: usize,
    /// Bytes of the request target.
    pub(crate) target: usize,
    /// Number of fields.
    pub(crate) fields: usize,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum HeadError {
    #[error("a line of the head ends in a bare LF; every line ends in CRLF")]
    BareLineFeed,
    #[error("the request line is not `METHOD target HTTP/1.1`")]
    RequestLine,
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    #[error("a field is not `name: value`")]
    Field,
    #[error("a field's value begins or ends with a space or a tab; leave it out")]
    Padded,
    #[error("a request of HTTP/1.1 needs one Host field")]
    HostMissing,
    #[error("there is more than one Host field")]
    HostRepeated,
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    TwoFramings,
    #[error("Content-Length is not one number")]
    ContentLength,
    #[error("the only transfer coding is `chunked`, once, in HTTP/1.1")]
    TransferEncoding,
    #[error("the request target is longer than `limits.target` allows; shorten path and query")]
    TargetTooLong,
    #[error("the head is longer than `limits.head` allows; send fewer or shorter fields")]
    HeadTooLong,
    #[error("the head has more fields than `limits.fields` allows; send fewer")]
    TooManyFields,
    #[error("CONNECT and TRACE are not served; send a request for a path")]
    Method,
    #[error("the request target has a fragment; leave out # and what follows it")]
    Fragment,
    #[error(
        "the request target has one of \" < > ` as it is; send it as an escape (%22, %3C, ...)"
    )]
    Unescaped,
    #[error("the host has a user name; leave out @ and what stands before it")]
    UserInfo,
    #[error("Connection names a field that may not be taken away, or too many; leave it out")]
    ConnectionOption,
}

impl HeadError {
    /// The answer for the client.
    pub(crate) fn refusal(self) -> Refusal {
        let (status, code) = match self {
            Self::Version => (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "VERSION_NOT_SUPPORTED",
            ),
            Self::TargetTooLong => (StatusCode::URI_TOO_LONG, "TARGET_TOO_LONG"),
            Self::HeadTooLong => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "HEAD_TOO_LONG"),
            Self::TooManyFields => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "TOO_MANY_FIELDS",
            ),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::UserInfo => (StatusCode::BAD_REQUEST, "BAD_HOST"),
            Self::BareLineFeed
            | Self::RequestLine
            | Self::Field
            | Self::Padded
            | Self::HostMissing
            | Self::HostRepeated
            | Self::TwoFramings
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Fragment
            | Self::ConnectionOption
            | Self::Unescaped => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
        };
        let refusal = Refusal::new(status, code, self.to_string());
        match self {
            // RFC 9110, 15.5.6: a 405 says what is allowed.
            Self::Method => refusal.allowing("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            _ => refusal,
        }
    }
}

/// Looks for the end of a head as bytes come in, each byte once.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// Bytes already looked at.
    seen: usize,
    /// Where the current line begins.
    line: usize,
    /// Whether the request line, rather than an empty line before it, has begun.
    begun: bool,
}

impl HeadScan {
    /// The length of the head with its empty line, once it is complete in `buffer`.
    ///
    /// Empty lines before the request line count into it (RFC 9112, 2.2).
    pub(crate) fn end(&mut self, buffer: &[u8]) -> Result<Option<usize>, HeadError> {
        let fresh = buffer.get(self.seen..).unwrap_or_default();
        let offset = self.seen;
        for found in memchr::memchr_iter(b'\n', fresh) {
            let at = offset + found;
            let line = buffer.get(self.line..at).unwrap_or_default();
            match line {
                [b'\r'] if self.begun => return Ok(Some(at + 1)),
                [b'\r'] => {}
                [.., b'\r'] => self.begun = true,
                _ => return Err(HeadError::BareLineFeed),
            }
            self.line = at + 1;
        }
        self.seen = buffer.len();
        Ok(None)
    }
}

/// The head and its length, if it is complete; then it stands at the front of `buffer`.
///
/// Neither depends on how the bytes were cut into reads: what is behind the most that a head may have is
/// not looked at.
pub(super) fn take(
    scan: &mut HeadScan,
    buffer: &mut BytesMut,
    limits: &HeadLimits,
) -> Result<Option<(usize, Http1Head)>, HeadError> {
    let within = buffer.get(..limits.head).unwrap_or(buffer);
    let Some(end) = scan.end(within)? else {
        return if buffer.len() > limits.head {
            Err(too_long(within))
        } else {
            Ok(None)
        };
    };
    let blank = empty_lines(within);
    buffer.advance(blank);
    let length = end - blank;
    let text = buffer.get(..length).unwrap_or_default();
    read(text, limits).map(|head| Some((length, head)))
}

/// How many bytes of empty lines come first. A CR without its LF is not an empty line.
fn empty_lines(buffer: &[u8]) -> usize {
    let lines = buffer.chunks_exact(2);
    2 * lines.take_while(|line| *line == b"\r\n").count()
}

/// Returns the error for a head that is too long before its end has come: it is the request target's if the
/// first line has no end either.
fn too_long(within: &[u8]) -> HeadError {
    if memchr::memchr(b'\n', within).is_some() {
        HeadError::HeadTooLong
    } else {
        HeadError::TargetTooLong
    }
}

/// Reads and checks a complete head, `buffer` being exactly the head with its empty line.
pub(super) fn read(buffer: &[u8], limits: &HeadLimits) -> Result<Http1Head, HeadError> {
    if buffer.len() > limits.head {
        return Err(HeadError::HeadTooLong);
    }
    // Room that is not written to: it is 6 KiB.
    let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(buffer, &mut room) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::Field),
        Err(error) => return Err(of_parser(error, buffer)),
    }
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(HeadError::RequestLine);
    };
    check_line(method, target, limits)?;
    if request.headers.len() > limits.fields {
        return Err(HeadError::TooManyFields);
    }
    let version = if version == 1 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let marks = Marks::read(Fields::Parsed(request.headers), method)?;
    let framing = marks.framing(version)?;
    check_target(target.as_bytes(), marks.host)?;
    let at = |part: &[u8]| At::of(buffer, part);
    let fields = request.headers.iter();
    Ok(Http1Head {
        method: Method::from_bytes(method.as_bytes()).map_err(|_token| HeadError::RequestLine)?,
        version,
        fields: fields
            .map(|field| (at(field.name.as_bytes()), at(field.value)))
            .collect(),
        target: at(target.as_bytes()),
        host: marks.host.map(at),
        framing,
        options: marks.options,
    })
}

/// Where the body of a request of HTTP/1 ends, and what becomes of its connection, if another reader has
/// taken its head apart.
pub(crate) fn framing_of(
    method: &Method,
    version: Version,
    fields: Fields<'_>,
) -> Result<(Framing, ConnectionOptions), HeadError> {
    let marks = Marks::read(fields, method.as_str())?;
    Ok((marks.framing(version)?, marks.options))
}

fn check_line(method: &str, target: &str, limits: &HeadLimits) -> Result<(), HeadError> {
    if target.len() > limits.target {
        return Err(HeadError::TargetTooLong);
    }
    if matches!(method, "CONNECT" | "TRACE" | "TRACK") {
        return Err(HeadError::Method);
    }
    Ok(())
}

/// The fields that decide where a request ends, whom it is for, and what becomes of its connection.
#[derive(Debug, Default)]
struct Marks<'a> {
    hosts: usize,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    /// How many `Upgrade` fields there are, and whether one names WebSocket.
    upgrades: usize,
    websocket: bool,
    options: ConnectionOptions,
    option_count: usize,
    is_get: bool,
}

impl<'a> Marks<'a> {
    fn read(fields: Fields<'a>, method: &str) -> Result<Self, HeadError> {
        let mut seen = Self {
            is_get: method == "GET",
            ..Self::default()
        };
        for (name, value) in fields {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            // Lengths first: most fields are none of these.
            match name.len() {
                4 if is("host") => {
                    seen.hosts += 1;
                    seen.host = Some(value);
                }
                7 if is("upgrade") => {
                    seen.upgrades += 1;
                    seen.websocket |= value.eq_ignore_ascii_case(b"websocket");
                }
                10 if is("connection") => seen.read_connection(value)?,
                14 if is("content-length") => {
                    if seen.length.is_some() {
                        return Err(HeadError::ContentLength);
                    }
                    seen.length = Some(decimal(value).ok_or(HeadError::ContentLength)?);
                }
                17 if is("transfer-encoding") => {
                    if seen.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(HeadError::TransferEncoding);
                    }
                    seen.chunked = true;
                }
                _ => {}
            }
        }
        Ok(seen)
    }

    fn read_connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in list(value) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            self.option_count += 1;
            if is(b"close") {
                self.options.closes = true;
            } else if is(b"keep-alive") {
                self.options.keeps = true;
            } else if self.option_count > MOST_OPTIONS || is_refused(option) {
                return Err(HeadError::ConnectionOption);
            } else if is(b"upgrade") {
                self.options.upgrades = true;
            } else {
                self.options.nominates = true;
            }
        }
        Ok(())
    }

    /// Whether the request asks for a WebSocket and for nothing else (RFC 6455, 4.1). `Upgrade` without
    /// `Connection: upgrade` asks for nothing (RFC 9110, 7.8).
    fn is_handshake(&self) -> bool {
        self.websocket && self.upgrades == 1 && self.options.upgrades
    }

    fn framing(&self, version: Version) -> Result<Framing, HeadError> {
        let is_http11 = version == Version::HTTP_11;
        match self.hosts {
            0 if is_http11 => return Err(HeadError::HostMissing),
            0 | 1 => {}
            _ => return Err(HeadError::HostRepeated),
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(HeadError::TwoFramings),
            (None, true) if !is_http11 => Err(HeadError::TransferEncoding),
            (None, true) => Ok(Framing::Chunked),
            (None | Some(0), false) if is_http11 && self.is_get && self.is_handshake() => {
                Ok(Framing::Upgrade)
            }
            (None | Some(0), false) => Ok(Framing::None),
            (Some(length), false) => Ok(Framing::Length(length)),
        }
    }
}

/// Whether a request that has this among the options of `Connection` is refused: it is no token, or
/// names what a hop may not take away.
fn is_refused(option: &[u8]) -> bool {
    const PROTECTED: [&str; 6] = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "content-length",
        "transfer-encoding",
    ];
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !option.iter().all(is_token)
        || PROTECTED
            .iter()
            .any(|name| option.eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether a target has a character that no URI has as it is, and that Pingora's parser for URIs
/// does not forgive.
fn is_unescaped(target: &[u8]) -> bool {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(end).unwrap_or((target, b""));
    memchr::memchr3(b'<', b'>', b'`', path).is_some()
        || memchr::memchr3(b'<', b'>', b'"', query).is_some()
}

/// One host, told once: Pingora refuses the rest as well, but without a word.
pub(super) fn check_target(target: &[u8], host: Option<&[u8]>) -> Result<(), HeadError> {
    if memchr::memchr(b'#', target).is_some() {
        return Err(HeadError::Fragment);
    }
    if is_unescaped(target) {
        return Err(HeadError::Unescaped);
    }
    let has_user = |host: &[u8]| memchr::memchr(b'@', host).is_some();
    if host.is_some_and(has_user) {
        return Err(HeadError::UserInfo);
    }
    // The usual form has no host.
    if target.first() == Some(&b'/') {
        return Ok(());
    }
    match RequestTarget::parse(target) {
        Ok(RequestTarget::Absolute { authority, .. }) if has_user(authority.as_bytes()) => {
            Err(HeadError::UserInfo)
        }
        _ => Ok(()),
    }
}

fn of_parser(error: httparse::Error, buffer: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HeadError::Field,
        httparse::Error::NewLine if has_request_line(buffer) => HeadError::Field,
        httparse::Error::Version if names_another_version(buffer) => HeadError::Version,
        _ => HeadError::RequestLine,
    }
}

/// Whether the first line ends with the version.
fn has_request_line(buffer: &[u8]) -> bool {
    let line = buffer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

/// Whether the request line is well-formed but for a version such as `HTTP/2.0`.
fn names_another_version(buffer: &[u8]) -> bool {
    let line = buffer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    matches!(
        words.as_slice(),
        [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]]
            if major.is_ascii_digit() && minor.is_ascii_digit()
    )
}

#[cfg(test)]
mod tests;
