//! The head of a target's answer: read, checked, and what of it is for the client.

use std::mem::MaybeUninit;

use http::StatusCode;
use smallvec::SmallVec;

use super::body::Framing;
use super::client::Field;

/// The most fields that a target's head may have, as Pingora has it.
pub(super) const MOST_FIELDS: usize = 256;

/// How large a target's head may be.
pub(super) const LONGEST_HEAD: usize = 1024 * 1024;

/// Room for the fields of a head, which is not written to before they are.
pub(super) type Room<'b> = [MaybeUninit<httparse::Header<'b>>; MOST_FIELDS];

/// A target's answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("the answer is not HTTP/1")]
    NotHttp,
    #[error("the answer's Content-Length is not one number")]
    Length,
    #[error("the answer has a transfer coding other than chunked")]
    Coding,
    #[error("101 to a request that asks for no other protocol")]
    Switch,
    #[error("the head of the answer is too long")]
    TooLong,
}

/// What a target is asked for, as far as it decides what the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// By `HEAD`: an answer without its body.
    Head,
    /// Another protocol.
    Upgrade,
    /// Anything else.
    Body,
}

/// A complete head.
#[derive(Debug)]
pub(super) struct Head<'r, 'b> {
    /// Its length in bytes.
    pub(super) length: usize,
    pub(super) status: StatusCode,
    pub(super) reason: &'b str,
    pub(super) framing: Framing,
    /// Whether the connection can be used again after the body.
    pub(super) keeps: bool,
    /// Whether it says when it was made.
    pub(super) has_date: bool,
    /// What it says of later requests, `Strict-Transport-Security`.
    pub(super) hsts: Option<&'b [u8]>,
    fields: &'r [httparse::Header<'b>],
    nominated: SmallVec<[&'b [u8]; 4]>,
}

/// What a transfer coding does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Nothing: what old servers say instead of saying nothing.
    Identity,
    Chunked,
}

/// What the fields say, before it is weighed.
#[derive(Default)]
struct Said<'b> {
    length: Option<u64>,
    coding: Option<Coding>,
    /// Whether the connection is kept, if that is said.
    keeps: Option<bool>,
    has_date: bool,
    hsts: Option<&'b [u8]>,
    nominated: SmallVec<[&'b [u8]; 4]>,
}

impl<'r, 'b> Head<'r, 'b> {
    /// Reads a head at the front of `bytes`; none if there is more to come.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub(super) fn parse(
        bytes: &'b [u8],
        room: &'r mut Room<'b>,
        asked: Asked,
    ) -> Result<Option<Self>, AnswerError> {
        let mut parser = httparse::ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true);
        parser.allow_obsolete_multiline_headers_in_responses(true);
        let mut response = httparse::Response::new(&mut []);
        let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, room);
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() > LONGEST_HEAD => {
                return Err(AnswerError::TooLong);
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_syntax) => return Err(AnswerError::NotHttp),
        };
        let status = response
            .code
            .and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(AnswerError::NotHttp)?;
        let is_http11 = response.version == Some(1);
        let is_switch = status == StatusCode::SWITCHING_PROTOCOLS;
        if is_switch && !(asked == Asked::Upgrade && is_http11) {
            return Err(AnswerError::Switch);
        }
        let fields: &'r [httparse::Header<'b>] = response.headers;
        let said = Said::read(fields)?;
        let framing = said.framing(status, asked);
        let keeps = said.keeps.unwrap_or(is_http11)
            && !matches!(framing, Framing::UntilClose | Framing::Upgrade)
            // RFC 9112, 6.1: HTTP/1.0 has no codings, and a length beside one contradicts it. Whoever
            // sends either is not to be trusted with the next message.
            && (said.coding.is_none() || (is_http11 && said.length.is_none()));
        Ok(Some(Self {
            length,
            status,
            reason: response.reason.unwrap_or_default(),
            framing,
            keeps,
            has_date: said.has_date,
            hsts: said.hsts,
            fields,
            nominated: said.nominated,
        }))
    }

    /// The fields that are for the client: without those of the connection and of the framing, unless
    /// they name the next protocol, and without `Strict-Transport-Security`, which the proxy weighs, and
    /// the field of its own.
    pub(super) fn for_client<'s>(&'s self, id_field: &'s str) -> impl Iterator<Item = Field<'s>> {
        let is_switch = self.framing == Framing::Upgrade;
        let keeps_upgrade = is_switch || self.status == StatusCode::UPGRADE_REQUIRED;
        let passes = move |name: &[u8]| {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            let is_own = match name.len() {
                7 => is("trailer") || (is("upgrade") && !keeps_upgrade),
                10 => (is("connection") && !is_switch) || is("keep-alive"),
                14 => is("content-length"),
                16 => is("proxy-connection"),
                17 => is("transfer-encoding"),
                25 => is("strict-transport-security"),
                _ => false,
            };
            let is_id = || name.len() == id_field.len() && is(id_field);
            let mut nominated = self.nominated.iter();
            let mut is_nominated = || nominated.any(|other| name.eq_ignore_ascii_case(other));
            !(is_own || is_id() || is_nominated())
        };
        self.fields
            .iter()
            .map(|field| (field.name.as_bytes(), field.value))
            .filter(move |(name, _)| passes(name))
    }

    /// What an answer without a body says of the one that it would have: to `HEAD`, or unchanged.
    pub(super) fn said_framing(&self, asked: Asked) -> Framing {
        if asked == Asked::Head || self.status == StatusCode::NOT_MODIFIED {
            Said::read(self.fields).map_or(Framing::None, |said| {
                match said.framing(StatusCode::OK, Asked::Body) {
                    Framing::UntilClose => Framing::None,
                    framing => framing,
                }
            })
        } else {
            Framing::None
        }
    }
}

impl<'b> Said<'b> {
    fn read(fields: &[httparse::Header<'b>]) -> Result<Self, AnswerError> {
        let mut said = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            // Lengths first: most fields are none of these.
            match field.name.len() {
                4 if is("date") => said.has_date = true,
                10 if is("connection") => said.read_connection(field.value),
                14 if is("content-length") => said.read_length(field.value)?,
                17 if is("transfer-encoding") => said.read_coding(field.value)?,
                25 if is("strict-transport-security") => said.hsts = Some(field.value),
                _ => {}
            }
        }
        Ok(said)
    }

    fn read_connection(&mut self, value: &'b [u8]) {
        for option in options(value) {
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
    fn read_length(&mut self, value: &[u8]) -> Result<(), AnswerError> {
        for number in value.split(|byte| *byte == b',') {
            let number = decimal(number.trim_ascii()).ok_or(AnswerError::Length)?;
            if self.length.is_some_and(|length| length != number) {
                return Err(AnswerError::Length);
            }
            self.length = Some(number);
        }
        Ok(())
    }

    fn read_coding(&mut self, value: &[u8]) -> Result<(), AnswerError> {
        for coding in options(value) {
            let is = |name: &[u8]| coding.eq_ignore_ascii_case(name);
            self.coding = match self.coding {
                Some(Coding::Chunked) => return Err(AnswerError::Coding),
                _ if is(b"chunked") => Some(Coding::Chunked),
                _ if is(b"identity") => Some(Coding::Identity),
                _ => return Err(AnswerError::Coding),
            };
        }
        Ok(())
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

/// The words of a list (RFC 9110, 5.6.1).
pub(super) fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
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

/// Digits and nothing else (RFC 9110, 8.6).
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (u16, Framing, bool);

    fn read(text: &str, asked: Asked) -> Result<Option<Read>, AnswerError> {
        let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let head = Head::parse(text.as_bytes(), &mut room, asked)?;
        Ok(head.map(|head| (head.status.as_u16(), head.framing, head.keeps)))
    }

    fn fields(text: &str) -> Vec<String> {
        let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let head = Head::parse(text.as_bytes(), &mut room, Asked::Upgrade)
            .unwrap()
            .unwrap();
        let names = head.for_client("x-request-id");
        names
            .map(|(name, _)| String::from_utf8(name.to_vec()).unwrap())
            .collect()
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
            let (_, seen, seen_keeps) = read(text, Asked::Body).unwrap().expect(text);
            assert_eq!((seen, seen_keeps), (framing, keeps), "{text:?}");
            for cut in 0..text.len() {
                assert_eq!(read(&text[..cut], Asked::Body), Ok(None), "{text:?} {cut}");
            }
        }
        let head = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked::Head);
        assert_eq!(head, Ok(Some((200, Framing::None, true))));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let cases = [
            ("SSH-2.0-OpenSSH\r\n", AnswerError::NotHttp),
            ("HTTP/1.1 20x OK\r\n\r\n", AnswerError::NotHttp),
            ("HTTP/1.1 099 OK\r\n\r\n", AnswerError::NotHttp),
            ("HTTP/1.1 200 OK\r\nbad field\r\n\r\n", AnswerError::NotHttp),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n",
                AnswerError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
                AnswerError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
                AnswerError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                AnswerError::Coding,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                AnswerError::Coding,
            ),
            (
                "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
                AnswerError::Switch,
            ),
        ];
        for (text, error) in cases {
            assert_eq!(read(text, Asked::Body), Err(error), "{text:?}");
        }
    }

    #[test]
    fn what_is_for_the_proxy_alone_ends_there() {
        let text = "HTTP/1.1 200 OK\r\nConnection: X-Own, content-type\r\nX-Own: 1\r\nKeep-Alive: 5\r\n\
            Proxy-Connection: x\r\nTrailer: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\nContent-Type: a/b\r\n\
            X-Request-ID: 7\r\nStrict-Transport-Security: max-age=1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        assert_eq!(fields(text), ["Content-Type", "Set-Cookie", "Set-Cookie"]);
        let text = "HTTP/1.1 426 No\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(fields(text), ["Upgrade"]);
    }

    #[test]
    fn a_switch_is_for_who_asked_and_names_the_next_protocol() {
        let text = "HTTP/1.1 101 Switching\r\nConnection: Upgrade, X-Own\r\nX-Own: 1\r\nUpgrade: websocket\r\n\
            Keep-Alive: 5\r\nContent-Length: 0\r\nSec-WebSocket-Accept: x\r\n\r\n";
        let head = read(text, Asked::Upgrade);
        assert_eq!(head, Ok(Some((101, Framing::Upgrade, false))));
        assert_eq!(
            fields(text),
            ["Connection", "Upgrade", "Sec-WebSocket-Accept"]
        );
        for asked in [Asked::Body, Asked::Head] {
            assert_eq!(read(text, asked), Err(AnswerError::Switch));
        }
        let old = text.replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(read(&old, Asked::Upgrade), Err(AnswerError::Switch));
    }
}
