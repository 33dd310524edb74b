//! The head of a request as its target gets it.

use std::mem::MaybeUninit;

use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::answer::options;
use super::body::Framing;
use super::client::Field;
use crate::front::TlsClient;
use crate::proxy::headers::{self, Client};

/// The most fields of a request; the front refuses more.
const MOST_FIELDS: usize = 200;

/// The most options that `Connection` may have, as Pingora has it.
const MOST_OPTIONS: usize = 10;

/// Room for the fields of a head, which is not written to before they are.
type Room<'b> = [MaybeUninit<httparse::Header<'b>>; MOST_FIELDS];

/// Room for the fields of a head.
pub(super) fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; MOST_FIELDS]
}

/// Method, target and fields of a head that the front has checked; none if it is not of HTTP/1.1.
pub(super) fn parse<'r, 'b>(
    head: &'b [u8],
    room: &'r mut Room<'b>,
) -> Option<(&'b str, &'b str, &'r [httparse::Header<'b>])> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, room) {
        Ok(httparse::Status::Complete(_)) if request.version == Some(1) => {}
        _ => return None,
    }
    Some((request.method?, request.path?, request.headers))
}

/// A request as it came, of either HTTP.
pub(super) struct Message<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a [u8],
    /// The authority that stands beside the target in HTTP/2.
    pub(super) authority: Option<&'a str>,
    pub(super) fields: Fields<'a>,
}

/// Its fields.
#[derive(Clone, Copy)]
pub(super) enum Fields<'a> {
    Http1(&'a [httparse::Header<'a>]),
    Http2(&'a HeaderMap),
}

impl<'a> Fields<'a> {
    /// Calls `each` with every field, in their order.
    #[inline]
    fn each(self, mut each: impl FnMut(Field<'a>)) {
        match self {
            Self::Http1(fields) => {
                for field in fields {
                    each((field.name.as_bytes(), field.value));
                }
            }
            Self::Http2(fields) => {
                for (name, value) in fields {
                    each((name.as_str().as_bytes(), value.as_bytes()));
                }
            }
        }
    }
}

/// What of the fields matters to the way of a request.
#[derive(Default)]
pub(super) struct Survey<'a> {
    pub(super) host: Option<&'a [u8]>,
    pub(super) id: Option<&'a [u8]>,
    /// Whether the client wants its connection closed.
    pub(super) closes: bool,
    /// The other fields that are for this hop alone.
    nominated: SmallVec<[&'a [u8]; 4]>,
    is_odd: bool,
}

impl<'a> Survey<'a> {
    /// Looks at the fields; none if one of them has to be refused.
    pub(super) fn of(message: &Message<'a>, id_field: &str) -> Option<Self> {
        let mut survey = Self::default();
        message.fields.each(|(name, value)| {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            if name.len() == 4 && is("host") {
                survey.host = Some(value);
            } else if name.len() == 10 && is("connection") {
                survey.read_connection(value);
            }
            if name.len() == id_field.len() && is(id_field) && survey.id.is_none() {
                survey.id = Some(value);
            }
        });
        (!survey.is_odd).then_some(survey)
    }

    fn read_connection(&mut self, value: &'a [u8]) {
        for (index, option) in options(value).enumerate() {
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if !option.eq_ignore_ascii_case(b"keep-alive") {
                self.nominated.push(option);
                self.is_odd |= index + 1 >= MOST_OPTIONS || is_refused(option);
            }
        }
        self.is_odd |= self.nominated.len() >= MOST_OPTIONS;
    }
}

/// Whether a request that has this among the options of `Connection` is refused: it is no token, or
/// names what a hop may not take away. Pingora says so to the client.
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

/// What the proxy says to a target.
pub(super) struct Said<'a> {
    pub(super) client: Client,
    /// Who the client is by its certificate.
    pub(super) identity: Option<&'a TlsClient>,
    /// Whether the client is a proxy whose word is kept.
    pub(super) is_trusted: bool,
    pub(super) id_field: &'static str,
    pub(super) id: &'a [u8],
}

/// Where fields are written to.
pub(super) trait Out {
    /// Writes a field whose value is a list of earlier values and one of several parts.
    fn put_list(&mut self, name: &'static str, earlier: &[&[u8]], last: &[&[u8]]);
}

impl Out for Vec<u8> {
    fn put_list(&mut self, name: &'static str, earlier: &[&[u8]], last: &[&[u8]]) {
        put_list(self, name.as_bytes(), earlier, last);
    }
}

impl Out for HeaderMap {
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

/// What becomes of a field on its way to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    /// It is for this hop, or a claim that only the proxy may make.
    Ends,
    /// The addresses that the request came from so far.
    ForwardedFor,
    Forwarded,
    /// A claim that stands if the client is trusted.
    Proto,
    Port,
    Host,
    RealIp,
}

fn fate(name: &[u8], id_field: &str) -> Fate {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    // Lengths first: most fields are none of these.
    let fate = match name.len() {
        2 if is("te") => Fate::Ends,
        7 if is("trailer") || is("upgrade") => Fate::Ends,
        9 if is("forwarded") => Fate::Forwarded,
        9 if is("x-real-ip") => Fate::RealIp,
        10 if is("connection") || is("keep-alive") => Fate::Ends,
        14 if is("http2-settings") => Fate::Ends,
        15 if is("x-forwarded-for") => Fate::ForwardedFor,
        16 if is("x-forwarded-host") => Fate::Host,
        16 if is("x-forwarded-port") => Fate::Port,
        16 if is("proxy-connection") => Fate::Ends,
        17 if is("x-forwarded-proto") => Fate::Proto,
        17 if is("transfer-encoding") => Fate::Ends,
        18 if is("proxy-authenticate") => Fate::Ends,
        19 if is("proxy-authorization") => Fate::Ends,
        _ => Fate::Passes,
    };
    let is_ours = || (name.len() == id_field.len() && is(id_field)) || TlsClient::is_identity(name);
    if fate == Fate::Passes && is_ours() {
        Fate::Ends
    } else {
        fate
    }
}

/// What a trusted proxy has said already.
#[derive(Default)]
pub(super) struct Earlier<'a> {
    forwarded_for: SmallVec<[&'a [u8]; 2]>,
    forwarded: SmallVec<[&'a [u8]; 2]>,
    has_proto: bool,
    has_port: bool,
    has_host: bool,
}

impl<'a> Message<'a> {
    /// About how long its head is.
    pub(super) fn size(&self) -> usize {
        let mut size = self.method.len() + self.target.len();
        self.fields
            .each(|(name, value)| size += name.len() + value.len() + 4);
        size
    }

    /// Whether the proxy in front of this one says that its client's side is encrypted.
    pub(super) fn says_https(&self) -> bool {
        let (mut proto, mut forwarded) = (None, None);
        let text = |value: &'a [u8]| std::str::from_utf8(value).ok();
        self.fields.each(|(name, value)| match name.len() {
            17 if name.eq_ignore_ascii_case(b"x-forwarded-proto") => proto = text(value).or(proto),
            9 if name.eq_ignore_ascii_case(b"forwarded") => forwarded = text(value).or(forwarded),
            _ => {}
        });
        headers::claims_https(proto, forwarded)
    }

    /// Writes the head for the target.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        target: &[u8],
        survey: &Survey<'a>,
        said: &Said<'_>,
        body: Framing,
    ) {
        for part in [self.method.as_bytes(), b" ", target, b" HTTP/1.1\r\n"] {
            out.extend_from_slice(part);
        }
        let host = self.host(survey);
        if let (Some(host), Fields::Http2(_)) = (host, self.fields) {
            put(out, b"Host", &[host]);
        }
        let mut earlier = Earlier::default();
        self.fields.each(|(name, value)| {
            self.write_field(out, (name, value), survey, said, &mut earlier);
        });
        match body {
            Framing::Chunked => put(out, b"Transfer-Encoding", &[b"chunked"]),
            Framing::Upgrade => {
                put(out, b"Connection", &[b"Upgrade"]);
                put(out, b"Upgrade", &[b"websocket"]);
            }
            Framing::None | Framing::Length(_) | Framing::UntilClose => {}
        }
        put(out, said.id_field.as_bytes(), &[said.id]);
        for (name, value) in said.identity.into_iter().flat_map(TlsClient::identity) {
            put(out, name.as_str().as_bytes(), &[value.as_bytes()]);
        }
        said.write_forwarding(out, host, &earlier);
        out.extend_from_slice(b"\r\n");
    }

    fn write_field(
        &self,
        out: &mut Vec<u8>,
        (name, value): Field<'a>,
        survey: &Survey<'a>,
        said: &Said<'_>,
        earlier: &mut Earlier<'a>,
    ) {
        let is_nominated = || {
            let mut nominated = survey.nominated.iter();
            nominated.any(|other| name.eq_ignore_ascii_case(other))
        };
        if !survey.nominated.is_empty() && is_nominated() {
            return;
        }
        let is_host = || name.len() == 4 && name.eq_ignore_ascii_case(b"host");
        // That of HTTP/2 is written already.
        let is_written = matches!(self.fields, Fields::Http2(_)) && is_host();
        if !is_written && said.passes((name, value), earlier) {
            put(out, name, &[value]);
        }
    }

    /// The host that it is for, as the client wrote it.
    pub(super) fn host(&self, survey: &Survey<'a>) -> Option<&'a [u8]> {
        match self.authority {
            Some(authority) => Some(authority.as_bytes()),
            None => survey.host,
        }
    }
}

impl Said<'_> {
    /// Whether a field of the client's goes on to the target; what a trusted proxy says is noted.
    pub(super) fn passes<'a>(&self, (name, value): Field<'a>, earlier: &mut Earlier<'a>) -> bool {
        match fate(name, self.id_field) {
            Fate::Passes => true,
            Fate::Ends => false,
            _ if !self.is_trusted => false,
            Fate::ForwardedFor => {
                earlier.forwarded_for.push(value);
                false
            }
            Fate::Forwarded => {
                earlier.forwarded.push(value);
                false
            }
            Fate::RealIp => true,
            Fate::Proto => {
                earlier.has_proto = true;
                true
            }
            Fate::Port => {
                earlier.has_port = true;
                true
            }
            Fate::Host => {
                earlier.has_host = true;
                true
            }
        }
    }

    /// Tells the target who asked: behind what a trusted proxy said, otherwise in its place.
    pub(super) fn write_forwarding(
        &self,
        out: &mut impl Out,
        host: Option<&[u8]>,
        earlier: &Earlier<'_>,
    ) {
        let address = headers::address_text(self.client.address);
        out.put_list("x-forwarded-for", &earlier.forwarded_for, &[&address]);
        // IPv6 in brackets and quotes (RFC 7239, 6).
        let (before, behind): (&[u8], &[u8]) = if memchr::memchr(b':', &address).is_some() {
            (b"\"[", b"]\"")
        } else {
            (b"", b"")
        };
        let scheme = self.client.scheme().as_bytes();
        let mut element: SmallVec<[&[u8]; 9]> =
            SmallVec::from_slice(&[b"for=", before, &address, behind, b";proto=", scheme]);
        // A quoted string (RFC 7239, 4); a host that passed our check holds neither `"` nor `\`.
        if let Some(host) = host {
            element.extend_from_slice(&[b";host=\"", host, b"\""]);
        }
        out.put_list("forwarded", &earlier.forwarded, &element);
        if !earlier.has_proto {
            out.put_list("x-forwarded-proto", &[], &[scheme]);
        }
        if !earlier.has_port {
            let port = headers::port_text(self.client.named_port());
            out.put_list("x-forwarded-port", &[], &[&port]);
        }
        if let (Some(host), false) = (host, earlier.has_host) {
            out.put_list("x-forwarded-host", &[], &[host]);
        }
    }
}

/// Writes a field whose value is of several parts.
pub(super) fn put(out: &mut Vec<u8>, name: &[u8], value: &[&[u8]]) {
    put_list(out, name, &[], value);
}

/// Writes a field whose value is a list of earlier values and one of several parts.
fn put_list(out: &mut Vec<u8>, name: &[u8], earlier: &[&[u8]], last: &[&[u8]]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    for value in earlier {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    for part in last {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}
