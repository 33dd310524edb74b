//! The head of an upstream's response: what it says of its body, and what of it is for the client.

use http::{HeaderMap, StatusCode, Version};
use smallvec::SmallVec;

use crate::front::{Field, Fields, Framing, decimal, is_padded, list};

/// Why a response cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum ResponseError {
    #[error("the response is not HTTP/1")]
    NotHttp,
    #[error("the Content-Length of the response is not one number")]
    Length,
    #[error("the response has a transfer coding other than chunked")]
    Coding,
    #[error("101 to a request that asks for no other protocol")]
    Switch,
    #[error("the head of the response is too long")]
    TooLong,
    #[error("more interim responses than a request may have")]
    TooManyInterim,
    #[error("a field of the response has a name or a value that HTTP/2 does not allow")]
    Field,
}

/// The kind of response that a request asks for, on which the framing of the response depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Asked {
    /// By `HEAD`: a response without its body.
    Head,
    /// Another protocol.
    Upgrade,
    /// Anything else.
    Body,
}

/// The first line of a response.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct StatusLine<'h> {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) reason: &'h str,
    pub(in crate::proxy) version: Version,
}

/// The head of a response, read.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseHead<'h> {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) reason: &'h str,
    pub(in crate::proxy) framing: Framing,
    /// The framing that a response without a body announces for the body that it leaves out: a response to
    /// `HEAD`, or a 304 (Not Modified).
    pub(in crate::proxy) announced: Framing,
    /// Whether the connection can be used again after the body; of HTTP/1.
    pub(in crate::proxy) keeps: bool,
    /// Whether it says when it was made.
    pub(in crate::proxy) has_date: bool,
    /// Whether it has an id of the upstream's own.
    pub(in crate::proxy) has_id: bool,
    /// The value of its `Strict-Transport-Security` field, if it has one.
    pub(in crate::proxy) hsts: Option<&'h [u8]>,
    fields: Fields<'h>,
    nominated: SmallVec<[&'h [u8]; 4]>,
}

/// A transfer coding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Nothing: what old servers say instead of saying nothing.
    Identity,
    Chunked,
}

/// The fields that concern the proxy itself, as they were read, before they are weighed against each other.
#[derive(Default)]
struct FramingFields<'b> {
    length: Option<u64>,
    coding: Option<Coding>,
    /// Whether the connection is kept, if that is said.
    keeps: Option<bool>,
    has_date: bool,
    has_id: bool,
    hsts: Option<&'b [u8]>,
    nominated: SmallVec<[&'b [u8]; 4]>,
}

impl<'h> ResponseHead<'h> {
    /// Reads the fields of a response; `id_field` is the name of the field for a request's id.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub(in crate::proxy) fn read(
        line: StatusLine<'h>,
        fields: Fields<'h>,
        asked: Asked,
        id_field: &str,
    ) -> Result<Self, ResponseError> {
        let StatusLine {
            status,
            reason,
            version,
        } = line;
        let is_http11 = version == Version::HTTP_11;
        let is_switch = status == StatusCode::SWITCHING_PROTOCOLS;
        if is_switch && !(asked == Asked::Upgrade && is_http11) {
            return Err(ResponseError::Switch);
        }
        if version == Version::HTTP_2 && fields.into_iter().any(|(_, value)| is_padded(value)) {
            return Err(ResponseError::Field);
        }
        let said = FramingFields::read(fields, id_field)?;
        let framing = said.framing(status, asked);
        let keeps = said.keeps.unwrap_or(is_http11)
            && !matches!(framing, Framing::UntilClose | Framing::Upgrade)
            // RFC 9112, 6.1: HTTP/1.0 has no codings, and a length beside one contradicts it. Whoever
            // sends either is not to be trusted with the next message.
            && (said.coding.is_none() || (is_http11 && said.length.is_none()));
        Ok(Self {
            status,
            reason,
            announced: said.announced(status, asked),
            framing,
            keeps,
            has_date: said.has_date,
            has_id: said.has_id,
            hsts: said.hsts,
            fields,
            nominated: said.nominated,
        })
    }

    /// The stream of the response has ended with its head: there is no body.
    pub(in crate::proxy) fn end_with_head(&mut self) {
        if self.framing == Framing::UntilClose {
            self.framing = Framing::None;
        }
    }

    /// Whether it is an interim response, before the final one (RFC 9110, 15.2).
    pub(in crate::proxy) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.framing != Framing::Upgrade
    }

    /// The fields that are for the client: without those of the connection and of the framing, unless
    /// they name the next protocol, and without `Strict-Transport-Security`, which the proxy decides on.
    pub(in crate::proxy) fn for_client<'s>(&'s self) -> impl Iterator<Item = Field<'s>> {
        let is_switch = self.framing == Framing::Upgrade;
        let keeps_upgrade = is_switch || self.status == StatusCode::UPGRADE_REQUIRED;
        let passes = move |name: &[u8]| {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            let is_own = match name.len() {
                7 => is("trailer") || (is("upgrade") && !keeps_upgrade),
                2 => is("te"),
                10 => (is("connection") && !is_switch) || is("keep-alive"),
                14 => is("content-length"),
                16 => is("proxy-connection"),
                17 => is("transfer-encoding"),
                25 => is("strict-transport-security"),
                _ => false,
            };
            let mut nominated = self.nominated.iter();
            !(is_own || nominated.any(|other| name.eq_ignore_ascii_case(other)))
        };
        let fields: Fields<'s> = self.fields;
        fields.into_iter().filter(move |(name, _)| passes(name))
    }
}

/// Checks the trailers of a response of HTTP/2.
///
/// # Errors
/// [`ResponseError::Field`].
pub(in crate::proxy) fn check_trailers(trailers: &HeaderMap) -> Result<(), ResponseError> {
    if trailers.values().any(|value| is_padded(value.as_bytes())) {
        return Err(ResponseError::Field);
    }
    Ok(())
}

impl<'b> FramingFields<'b> {
    fn read(fields: Fields<'b>, id_field: &str) -> Result<Self, ResponseError> {
        let mut said = Self::default();
        for (name, value) in fields {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            // Lengths first: most fields are none of these.
            match name.len() {
                4 if is("date") => said.has_date = true,
                10 if is("connection") => said.read_connection(value),
                14 if is("content-length") => said.read_length(value)?,
                17 if is("transfer-encoding") => said.read_coding(value)?,
                25 if is("strict-transport-security") => said.hsts = Some(value),
                _ => {}
            }
            said.has_id |= name.len() == id_field.len() && is(id_field);
        }
        Ok(said)
    }

    fn read_connection(&mut self, value: &'b [u8]) {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.keeps = Some(false);
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keeps.get_or_insert(true);
            } else if !is_protected(option) {
                self.nominated.push(option);
            }
        }
    }

    /// One number, however often it is said (RFC 9110, 8.6).
    fn read_length(&mut self, value: &[u8]) -> Result<(), ResponseError> {
        for number in value.split(|byte| *byte == b',') {
            let number = decimal(number.trim_ascii()).ok_or(ResponseError::Length)?;
            if self.length.is_some_and(|length| length != number) {
                return Err(ResponseError::Length);
            }
            self.length = Some(number);
        }
        Ok(())
    }

    fn read_coding(&mut self, value: &[u8]) -> Result<(), ResponseError> {
        for coding in list(value) {
            let is = |name: &[u8]| coding.eq_ignore_ascii_case(name);
            self.coding = match self.coding {
                Some(Coding::Chunked) => return Err(ResponseError::Coding),
                _ if is(b"chunked") => Some(Coding::Chunked),
                _ if is(b"identity") => Some(Coding::Identity),
                _ => return Err(ResponseError::Coding),
            };
        }
        Ok(())
    }

    /// Returns the framing that a response without a body announces for the body that it leaves out.
    fn announced(&self, status: StatusCode, asked: Asked) -> Framing {
        // RFC 9110, 8.6; RFC 9112, 6.1: these have no length and no coding, whatever the method is.
        let has_none = status.is_informational() || status == StatusCode::NO_CONTENT;
        if has_none || (asked != Asked::Head && status != StatusCode::NOT_MODIFIED) {
            return Framing::None;
        }
        match self.framing(StatusCode::OK, Asked::Body) {
            Framing::UntilClose => Framing::None,
            // RFC 9112, 6.1: a 304 may do without one, which means nothing behind this hop.
            Framing::Chunked if status == StatusCode::NOT_MODIFIED => Framing::None,
            framing => framing,
        }
    }

    /// RFC 9112, 6.3.
    fn framing(&self, status: StatusCode, asked: Asked) -> Framing {
        let is_bodiless = asked == Asked::Head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match (self.coding, self.length) {
            _ if status == StatusCode::SWITCHING_PROTOCOLS => Framing::Upgrade,
            _ if is_bodiless => Framing::None,
            (Some(Coding::Chunked), _) => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::UntilClose,
        }
    }
}

/// Fields without which the message would be another: no `Connection` may take them away.
fn is_protected(name: &[u8]) -> bool {
    [
        "upgrade",
        "content-length",
        "transfer-encoding",
        "content-type",
        "date",
    ]
    .iter()
    .any(|protected| name.eq_ignore_ascii_case(protected.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (u16, Framing, bool);

    /// Returns the result of `look` for the head of an HTTP/1 response.
    fn with<T>(
        text: &str,
        asked: Asked,
        look: impl FnOnce(&ResponseHead<'_>) -> T,
    ) -> Result<T, ResponseError> {
        let mut room = [httparse::EMPTY_HEADER; 20];
        let mut response = httparse::Response::new(&mut room);
        assert!(response.parse(text.as_bytes()).unwrap().is_complete());
        let version = if response.version == Some(1) {
            Version::HTTP_11
        } else {
            Version::HTTP_10
        };
        let line = StatusLine {
            status: StatusCode::from_u16(response.code.unwrap()).unwrap(),
            reason: "",
            version,
        };
        let fields = Fields::Parsed(response.headers);
        ResponseHead::read(line, fields, asked, "x-request-id").map(|head| look(&head))
    }

    fn read(text: &str, asked: Asked) -> Result<Read, ResponseError> {
        with(text, asked, |head| {
            (head.status.as_u16(), head.framing, head.keeps)
        })
    }

    fn fields(text: &str) -> Vec<String> {
        let names = |head: &ResponseHead<'_>| {
            head.for_client()
                .map(|(name, _)| String::from_utf8(name.to_vec()).unwrap())
                .collect()
        };
        with(text, Asked::Upgrade, names).unwrap()
    }

    #[test]
    fn a_head_says_where_its_body_ends() {
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length:5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                Framing::Chunked,
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, false),
            (
                "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
                Framing::None,
                true,
            ),
            (
                "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n",
                Framing::None,
                true,
            ),
            ("HTTP/1.1 103 Hints\r\n\r\n", Framing::None, true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
                Framing::Chunked,
                false,
            ),
        ];
        for (text, framing, keeps) in cases {
            let (_, seen, seen_keeps) = read(text, Asked::Body).expect(text);
            assert_eq!((seen, seen_keeps), (framing, keeps), "{text:?}");
        }
        let head = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked::Head);
        assert_eq!(head, Ok((200, Framing::None, true)));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n",
                ResponseError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
                ResponseError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
                ResponseError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                ResponseError::Coding,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                ResponseError::Coding,
            ),
            (
                "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
                ResponseError::Switch,
            ),
        ];
        for (text, error) in cases {
            assert_eq!(read(text, Asked::Body), Err(error), "{text:?}");
        }
    }

    #[test]
    fn only_a_head_that_could_have_a_body_announces_one() {
        let announced = |status: &str, asked| {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
            with(&text, asked, |head| head.announced).unwrap()
        };
        assert_eq!(announced("200", Asked::Head), Framing::Length(5));
        assert_eq!(announced("304", Asked::Body), Framing::Length(5));
        let chunked = |status: &str, asked| {
            let text = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
            with(&text, asked, |head| head.announced).unwrap()
        };
        assert_eq!(chunked("200", Asked::Head), Framing::Chunked);
        assert_eq!(chunked("304", Asked::Body), Framing::None);
        assert_eq!(chunked("304", Asked::Head), Framing::None);
        for asked in [Asked::Head, Asked::Body] {
            assert_eq!(announced("204", asked), Framing::None);
            assert_eq!(announced("103", asked), Framing::None);
        }
    }

    #[test]
    fn what_is_for_the_proxy_alone_ends_there() {
        let text = "HTTP/1.1 200 OK\r\nConnection: X-Own, content-type\r\nX-Own: 1\r\nKeep-Alive: 5\r\n\
            Proxy-Connection: x\r\nTrailer: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\nContent-Type: a/b\r\n\
            X-Request-ID: 7\r\nStrict-Transport-Security: max-age=1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        assert_eq!(
            fields(text),
            ["Content-Type", "X-Request-ID", "Set-Cookie", "Set-Cookie"]
        );
        let text = "HTTP/1.1 426 No\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(fields(text), ["Upgrade"]);
    }

    #[test]
    fn a_switch_is_for_who_asked_and_names_the_next_protocol() {
        let text = "HTTP/1.1 101 Switching\r\nConnection: Upgrade, X-Own\r\nX-Own: 1\r\nUpgrade: websocket\r\n\
            Keep-Alive: 5\r\nContent-Length: 0\r\nSec-WebSocket-Accept: x\r\n\r\n";
        let head = read(text, Asked::Upgrade);
        assert_eq!(head, Ok((101, Framing::Upgrade, false)));
        assert_eq!(
            fields(text),
            ["Connection", "Upgrade", "Sec-WebSocket-Accept"]
        );
        for asked in [Asked::Body, Asked::Head] {
            assert_eq!(read(text, asked), Err(ResponseError::Switch));
        }
        let old = text.replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(read(&old, Asked::Upgrade), Err(ResponseError::Switch));
    }
}
