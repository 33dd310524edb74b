//! What the data path knows of gRPC: which requests are calls, and how long they may take.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;
use pingora_core::protocols::http::HttpTask;
use pingora_proxy::Session;

use super::{Timeouts, session};
use crate::answer::Refusal;
use crate::answer::grpc::{self, Status};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How much longer than its deadline a call may be silent: the client and the app both know the
/// deadline, and theirs is the word on it as long as they live.
const MARGIN: Duration = Duration::from_secs(5);

/// No deadline is further off: as much as the front's limits hold.
const FURTHEST: Duration = Duration::from_millis(u32::MAX as u64);

/// Whether fields are those of a call, or of the answer to one.
pub(super) fn is_of_call(fields: &HeaderMap) -> bool {
    fields
        .get(CONTENT_TYPE)
        .is_some_and(|value| grpc::is_media_type(value.as_bytes()))
}

/// Whether a request is a call; gRPC is spoken over HTTP/2 alone.
pub(super) fn is_call(request: &RequestHeader) -> bool {
    request.version == http::Version::HTTP_2 && is_of_call(&request.headers)
}

/// The status of a refused call: by the app's own word, if it has reset the stream.
pub(super) fn status(refusal: &Refusal, reset: Option<u32>) -> Status {
    reset.map_or_else(|| Status::of(refusal), Status::of_reset)
}

/// The answer to a call that could not be proxied: a head and nothing else.
pub(super) fn of_refusal(refusal: &Refusal, reset: Option<u32>) -> Result<ResponseHeader> {
    let mut header = ResponseHeader::build(StatusCode::OK, Some(4))?;
    header.insert_header(CONTENT_TYPE, grpc::MEDIA_TYPE)?;
    for (name, value) in status(refusal, reset).fields(&refusal.message) {
        header.insert_header(name, value)?;
    }
    Ok(header)
}

/// Answers with a head that ends its stream; of Pingora's ways to write one, the only one that can.
pub(super) async fn answer(session: &mut Session, header: ResponseHeader) -> Result<()> {
    let head = HttpTask::Header(Box::new(header), true);
    session.write_response_tasks(vec![head]).await.map(drop)
}

/// Whether the client has a part of the app's answer to its call.
pub(super) fn is_begun(session: &Session) -> bool {
    session::is_answered(session)
        && is_call(session.req_header())
        && session
            .response_written()
            .is_some_and(|response| is_of_call(&response.headers))
}

/// Ends the answer that has begun: its trailers say what went wrong.
pub(super) async fn end(
    session: &mut Session,
    refusal: &Refusal,
    reset: Option<u32>,
) -> Result<()> {
    let fields = status(refusal, reset).fields(&refusal.message);
    let fields = fields.map(|(name, value)| (HeaderName::from_static(name), value));
    let trailers = HeaderMap::from_iter(fields);
    let session = session.as_downstream_mut();
    session.write_response_trailers(trailers).await
}

/// How long a call may take by its own word: none if that is not a call, or has no deadline.
pub(super) fn deadline(request: &RequestHeader) -> Option<Duration> {
    is_call(request).then(|| named_deadline(&request.headers))?
}

/// How long a call may take by its fields.
pub(super) fn named_deadline(fields: &HeaderMap) -> Option<Duration> {
    timeout(fields.get(TIMEOUT)?.as_bytes())
}

/// How long a call may take by the value of `grpc-timeout`.
pub(super) fn deadline_of(value: &[u8]) -> Option<Duration> {
    timeout(value)
}

/// At most eight digits and a unit, as the protocol has it; anything else is no timeout, and left to
/// the app.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(3600 * number)),
        b'M' => Some(Duration::from_secs(60 * number)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

impl Timeouts {
    /// The same for a call with a deadline: until then either side may be silent for as long as it
    /// likes, and no longer.
    pub(super) fn until(self, deadline: Duration) -> Self {
        let silence = Some(deadline.saturating_add(MARGIN).min(FURTHEST));
        Self {
            first_byte: silence,
            between_bytes: silence,
            client_body: silence,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let cases = [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("30S", Some(Duration::from_secs(30))),
            ("499m", Some(Duration::from_millis(499))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("123456789S", None),
        ];
        for (value, expected) in cases {
            assert_eq!(timeout(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_deadline_takes_the_place_of_the_limits_on_silence() {
        let limits = Timeouts::default().until(Duration::from_secs(1));
        let six = Some(Duration::from_secs(6));
        assert_eq!(
            (limits.first_byte, limits.between_bytes, limits.client_body),
            (six, six, six)
        );
        assert_eq!(limits.send, Timeouts::default().send);
        let longest = timeout(b"99999999H").unwrap();
        let limits = Timeouts::default().until(longest);
        assert_eq!(limits.first_byte, Some(FURTHEST));
    }

    #[test]
    fn only_http2_has_calls() {
        let mut request = RequestHeader::build("POST", b"/a.B/C", None).unwrap();
        request
            .insert_header("content-type", "application/grpc")
            .unwrap();
        request.insert_header("grpc-timeout", "1S").unwrap();
        assert_eq!(deadline(&request), None);
        request.set_version(http::Version::HTTP_2);
        assert_eq!(deadline(&request), Some(Duration::from_secs(1)));
        request
            .insert_header("content-type", "application/grpc-web")
            .unwrap();
        assert_eq!(deadline(&request), None);
    }
}
