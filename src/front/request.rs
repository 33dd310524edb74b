//! A request, read and checked once: the one view of it that control and proxy share.

use std::borrow::Cow;

use bytes::BytesMut;
use http::header::{CONTENT_TYPE, COOKIE, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use smallvec::SmallVec;

use super::caller::Caller;
use super::fields::{At, FieldAt, Fields, nominated};
use super::framing::Framing;
use crate::reply::{Refusal, grpc};
use crate::route::{RequestHost, RequestPath, RequestTarget, TargetFormError};

/// A request that may be served: its head as it came, and what has been read in it.
pub struct Request {
    head: Head,
    method: Method,
    version: Version,
    framing: Framing,
    options: ConnectionOptions,
    view: View,
    /// Why it cannot be served, if it cannot.
    fault: Option<Box<Refusal>>,
    caller: Caller,
}

/// The head of a request.
enum Head {
    /// Of HTTP/1: the bytes, with the empty line, and where in them things stand.
    Http1 {
        bytes: BytesMut,
        fields: SmallVec<[FieldAt; 16]>,
        /// The request target.
        target: At,
        /// The target without scheme and authority.
        origin_form: At,
        /// The host, of the absolute form or of the `Host` field.
        host: Option<At>,
    },
    /// Of HTTP/2.
    Http2(Parts),
}

/// The options that the `Connection` field asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is an option of its own.
pub(crate) struct ConnectionOptions {
    /// `close`.
    pub(crate) closes: bool,
    /// `keep-alive`.
    pub(crate) keeps: bool,
    /// `upgrade`.
    pub(crate) upgrades: bool,
    /// Other names, of fields that end at this hop (RFC 9110, 7.6.1).
    pub(crate) nominates: bool,
}

impl ConnectionOptions {
    /// Whether the connection may serve another request behind one of this version (RFC 9112, 9.3).
    pub(crate) fn persists(self, version: Version) -> bool {
        !self.closes && (version != Version::HTTP_10 || self.keeps)
    }
}

/// The parsed head of an HTTP/1 request.
pub(super) struct Http1Head {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) fields: SmallVec<[FieldAt; 16]>,
    pub(super) target: At,
    /// The value of the `Host` field.
    pub(super) host: Option<At>,
    pub(super) framing: Framing,
    pub(super) options: ConnectionOptions,
}

/// Host and path as they are matched. Both are the beginning of what was sent, as long as that is in its
/// one spelling already.
#[derive(Debug)]
struct View {
    host: Text,
    port: Option<u16>,
    path: Text,
}

#[derive(Debug)]
enum Text {
    /// So many bytes of what was sent.
    AsSent(usize),
    Own(Cow<'static, str>),
}

impl Text {
    fn new(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed("/") => Self::Own(Cow::Borrowed("/")),
            Cow::Borrowed(text) => Self::AsSent(text.len()),
            Cow::Owned(text) => Self::Own(Cow::Owned(text)),
        }
    }

    fn of<'a>(&'a self, sent: &'a [u8]) -> &'a str {
        match self {
            // Checked when it was read.
            Self::AsSent(length) => {
                let text = sent.get(..*length).unwrap_or_default();
                std::str::from_utf8(text).unwrap_or_default()
            }
            Self::Own(text) => text,
        }
    }
}

impl Request {
    /// A request of HTTP/1.
    pub(super) fn http1(bytes: BytesMut, head: Http1Head, caller: Caller) -> Self {
        let target = head.target.of_bytes(&bytes);
        let form = RequestTarget::parse(target);
        // RFC 9112, 3.2.2: the host of the absolute form, whatever `Host` says.
        let (origin_form, host) = match &form {
            Ok(RequestTarget::Absolute {
                authority, path, ..
            }) => {
                let behind = At::of(target, path).and_behind(target);
                let authority = At::of(&bytes, authority.as_bytes());
                (At::of(&bytes, behind), Some(authority))
            }
            _ => (head.target, head.host),
        };
        let view = View::read(form, host.map(|host| host.of_bytes(&bytes)));
        let (view, fault) = or_fault(view, target);
        Self {
            method: head.method,
            version: head.version,
            framing: head.framing,
            options: head.options,
            view,
            fault,
            caller,
            head: Head::Http1 {
                bytes,
                fields: head.fields,
                target: head.target,
                origin_form,
                host,
            },
        }
    }

    /// A request of HTTP/2.
    pub(super) fn http2(mut head: Parts, framing: Framing, caller: Caller) -> Self {
        if let Some(cookies) = joined_cookies(&head.headers) {
            head.headers.insert(COOKIE, cookies);
        }
        let view = View::read(RequestTarget::parse(target_of(&head)), host_of(&head));
        let (view, fault) = or_fault(view, target_of(&head));
        Self {
            method: head.method.clone(),
            version: Version::HTTP_2,
            framing,
            options: ConnectionOptions::default(),
            view,
            fault,
            caller,
            head: Head::Http2(head),
        }
    }

    /// The request as a library's server has read it, for embedders and for `engine: pingora`.
    pub(crate) fn of_parts(
        head: Parts,
        (framing, options): (Framing, ConnectionOptions),
        caller: Caller,
    ) -> Self {
        let version = head.version;
        let mut request = Self::http2(head, framing, caller);
        request.version = version;
        request.options = options;
        request
    }

    /// This request as one that cannot be served, for this reason.
    pub(crate) fn refused(mut self, refusal: Refusal) -> Self {
        self.fault = Some(Box::new(refusal));
        self
    }

    /// Why it cannot be served, if it cannot: its target is no path, or its host none.
    pub(crate) fn fault(&self) -> Option<&Refusal> {
        self.fault.as_deref()
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The version that the client speaks: HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Where its body ends.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) fn options(&self) -> ConnectionOptions {
        self.options
    }

    /// Sets [`Caller::takes_much`].
    pub(super) fn set_takes_much(&mut self, takes_much: bool) {
        self.caller.takes_much = takes_much;
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The host as it is matched: lower-case, without port; empty if the request names none.
    pub(crate) fn host(&self) -> &str {
        self.view.host.of(self.authority().unwrap_or_default())
    }

    /// The port that the request names.
    pub(crate) fn port(&self) -> Option<u16> {
        self.view.port
    }

    /// The path as it is matched and forwarded; as it came, if it cannot be served.
    pub(crate) fn path(&self) -> &str {
        self.view.path.of(self.origin_form())
    }

    /// The target as the client wrote it.
    pub(crate) fn target(&self) -> &[u8] {
        match &self.head {
            Head::Http1 { bytes, target, .. } => target.of_bytes(bytes),
            Head::Http2(head) => target_of(head),
        }
    }

    /// The target without scheme and authority.
    fn origin_form(&self) -> &[u8] {
        match &self.head {
            Head::Http1 {
                bytes, origin_form, ..
            } => origin_form.of_bytes(bytes),
            Head::Http2(head) => target_of(head),
        }
    }

    /// The target to forward: the path that was matched, and the query as it came.
    pub(crate) fn forwarded_target(&self) -> Cow<'_, [u8]> {
        let sent = self.origin_form();
        let path = match &self.view.path {
            Text::AsSent(_) => return Cow::Borrowed(sent),
            Text::Own(path) if path == "/" && matches!(sent, [b'/'] | [b'/', b'?', ..]) => {
                return Cow::Borrowed(sent);
            }
            Text::Own(path) => path,
        };
        let mut target = path.as_bytes().to_vec();
        if let Some(query) = memchr::memchr(b'?', sent).and_then(|at| sent.get(at..)) {
            target.extend_from_slice(query);
        }
        Cow::Owned(target)
    }

    /// The host and port as the client wrote them: of the absolute form, `:authority` or `Host`.
    pub(crate) fn authority(&self) -> Option<&[u8]> {
        match &self.head {
            Head::Http1 { bytes, host, .. } => host.map(|host| host.of_bytes(bytes)),
            Head::Http2(head) => host_of(head),
        }
    }

    /// Its fields as they came.
    pub(crate) fn fields(&self) -> Fields<'_> {
        match &self.head {
            Head::Http1 { bytes, fields, .. } => Fields::Kept(bytes, fields),
            Head::Http2(head) => Fields::Map(&head.headers),
        }
    }

    /// The names of the fields that are for this hop alone, besides the usual ones: `Connection` has them
    /// (RFC 9110, 7.6.1).
    pub(crate) fn nominated(&self) -> SmallVec<[&[u8]; 4]> {
        if self.options.nominates {
            nominated(self.fields())
        } else {
            SmallVec::new()
        }
    }

    /// About how long its head is.
    pub(crate) fn size(&self) -> usize {
        match &self.head {
            Head::Http1 { bytes, .. } => bytes.len(),
            Head::Http2(head) => 64 + 64 * head.headers.len(),
        }
    }

    /// Whether it is a call of gRPC, which is spoken over HTTP/2 alone.
    pub(crate) fn is_grpc(&self) -> bool {
        self.version == Version::HTTP_2
            && self
                .fields()
                .get(&CONTENT_TYPE)
                .is_some_and(grpc::is_media_type)
    }

    /// The bytes of a head of HTTP/1, for another reader.
    pub(super) fn into_bytes(self) -> BytesMut {
        match self.head {
            Head::Http1 { bytes, .. } => bytes,
            Head::Http2(_) => BytesMut::new(),
        }
    }
}

fn or_fault(view: Result<View, Refusal>, target: &[u8]) -> (View, Option<Box<Refusal>>) {
    match view {
        Ok(view) => (view, None),
        Err(refusal) => {
            let unread = View {
                host: Text::Own(Cow::Borrowed("")),
                port: None,
                path: Text::Own(Cow::Owned(String::from_utf8_lossy(target).into_owned())),
            };
            (unread, Some(Box::new(refusal)))
        }
    }
}

impl View {
    fn read(
        target: Result<RequestTarget<'_>, TargetFormError>,
        authority: Option<&[u8]>,
    ) -> Result<Self, Refusal> {
        let target = target.map_err(|error| bad("BAD_TARGET", &error))?;
        let Some(path) = target.path() else {
            return Err(bad("BAD_TARGET", &"the proxy serves paths; send one"));
        };
        let path = RequestPath::parse(path).map_err(|error| bad("BAD_PATH", &error))?;
        let (host, port) = match authority {
            None | Some([]) => (Text::Own(Cow::Borrowed("")), None),
            Some(authority) => read_host(authority)?,
        };
        Ok(Self {
            host,
            port,
            path: Text::new(path.into_inner()),
        })
    }
}

fn read_host(authority: &[u8]) -> Result<(Text, Option<u16>), Refusal> {
    let text = match std::str::from_utf8(authority) {
        Ok(text) if text.is_ascii() => text,
        _ => return Err(bad("BAD_HOST", &"the Host field is not ASCII")),
    };
    let host = RequestHost::parse(text).map_err(|error| bad("BAD_HOST", &error))?;
    let port = host.port();
    Ok((Text::new(host.into_name()), port))
}

fn bad(code: &'static str, reason: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, reason.to_string())
}

/// The target of a request of HTTP/2: its `:path`, or the host of a CONNECT.
fn target_of(head: &Parts) -> &[u8] {
    let path = head.uri.path_and_query().map(PathAndQuery::as_str);
    path.or_else(|| head.uri.authority().map(Authority::as_str))
        .unwrap_or_default()
        .as_bytes()
}

fn host_of(head: &Parts) -> Option<&[u8]> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => head.headers.get(HOST).map(HeaderValue::as_bytes),
    }
}

/// One `Cookie` field of several: HTTP/2 lets a client send each pair by itself, and nobody else expects
/// that (RFC 9113, 8.2.3).
pub(super) fn joined_cookies(fields: &HeaderMap) -> Option<HeaderValue> {
    let mut cookies = fields.get_all(COOKIE).iter();
    let (first, second) = (cookies.next()?, cookies.next()?);
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    HeaderValue::from_bytes(&joined).ok()
}

#[cfg(test)]
pub(crate) mod tests;
