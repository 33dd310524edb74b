//! The client's side of an exchange over one stream of HTTP/2.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use pingora_core::protocols::http::date::get_cached_date;

use super::super::connection::Connection;
use super::super::fields::{Field, unfolded};
use super::super::framing::Framing;
use super::super::h2::{Reply, RequestBody};
use super::{After, Downstream, DownstreamError, ResponseStart};

/// A stream of HTTP/2 with a request on it.
pub(in crate::front) struct Http2 {
    body: RequestBody,
    reply: Reply,
    /// The field of the request's id: no other response has its value.
    id_field: &'static str,
    /// The bytes that have been read of the body, and not been asked for.
    early: Bytes,
    /// The bytes that wait for the client's window, in order.
    waiting: Bytes,
    out: BytesMut,
    taken: u64,
    has_begun: bool,
    is_bodiless: bool,
    /// Whether the response ends behind what waits.
    is_ended: bool,
    /// The trailers at its end.
    trailers: Option<HeaderMap>,
}

impl Http2 {
    pub(in crate::front) fn new(body: RequestBody, reply: Reply, id_field: &'static str) -> Self {
        Self {
            body,
            reply,
            id_field,
            early: Bytes::new(),
            waiting: Bytes::new(),
            out: BytesMut::new(),
            taken: 0,
            has_begun: false,
            is_bodiless: false,
            is_ended: false,
            trailers: None,
        }
    }
}

/// The fields of a response as HTTP/2 has them: with a `Date`, and without those of a connection of HTTP/1
/// (RFC 9113, 8.2.2).
fn fields_of<'f>(
    fields: impl Iterator<Item = Field<'f>>,
    id_field: &str,
) -> Result<HeaderMap, DownstreamError> {
    let mut map = HeaderMap::with_capacity(24);
    let mut has_date = false;
    for pair in fields {
        let (name, mut value) = field(pair).ok_or(DownstreamError::InvalidField)?;
        if is_of_connection(name.as_str()) {
            continue;
        }
        has_date |= name == DATE;
        // No other response has this id: in the table of the connection's fields (RFC 7541, 2.3.2) it
        // would only take the place of what comes again.
        value.set_sensitive(name.as_str() == id_field);
        map.append(name, value);
    }
    // An origin's own says when the response was made (RFC 9110, 6.6.1).
    if !has_date {
        map.insert(DATE, get_cached_date());
    }
    Ok(map)
}

/// A field as HTTP/2 has it.
fn field((name, value): Field<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name).ok()?;
    let value = HeaderValue::from_bytes(&unfolded(value)).ok()?;
    Some((name, value))
}

/// Whether a field, in lower case, is one of a connection of HTTP/1: h2 sends no response that has one.
fn is_of_connection(name: &str) -> bool {
    match name.len() {
        2 => name == "te",
        7 => name == "upgrade",
        10 => name == "connection" || name == "keep-alive",
        16 => name == "proxy-connection",
        17 => name == "transfer-encoding",
        _ => false,
    }
}

impl Downstream for Http2 {
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, DownstreamError>> {
        if self.early.is_empty() {
            match ready!(self.body.poll_piece(context)) {
                Some(piece) => self.early = piece?,
                None => return Poll::Ready(Ok(0)),
            }
        }
        let count = self.early.len().min(room.len());
        let room = room.get_mut(..count).unwrap_or_default();
        self.early.copy_to_slice(room);
        Poll::Ready(Ok(count))
    }

    fn is_body_over(&self) -> bool {
        self.early.is_empty() && self.body.is_over()
    }

    /// The end of the stream tells the client to stop.
    fn wants_drain(&self) -> bool {
        false
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<DownstreamError> {
        self.reply.poll_reset(context).map(|reset| match reset {
            Ok(_reason) => DownstreamError::Gone("the client reset the stream"),
            Err(error) => error.into(),
        })
    }

    /// h2 has no interim answers.
    fn inform<'f>(
        &mut self,
        _status: StatusCode,
        _reason: &str,
        _fields: impl Iterator<Item = Field<'f>>,
    ) {
    }

    /// Other streams go on.
    fn close(&mut self) {}

    fn begin<'f>(
        &mut self,
        start: ResponseStart<'_>,
        fields: impl Iterator<Item = Field<'f>>,
    ) -> Result<(), DownstreamError> {
        let mut response = Response::new(());
        *response.status_mut() = start.status;
        let mut map = fields_of(fields, self.id_field)?;
        if let Framing::Length(length) = start.framing {
            map.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.headers_mut() = map;
        self.has_begun = true;
        self.is_bodiless = start.is_bodiless;
        self.reply.begin(response, start.is_bodiless)?;
        Ok(())
    }

    fn write(&mut self, _context: &mut Context<'_>, data: &[u8]) -> Result<(), DownstreamError> {
        if !self.is_bodiless {
            // Sent with what follows: the end, for a short answer.
            self.out.extend_from_slice(data);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), DownstreamError> {
        self.is_ended = true;
        Ok(())
    }

    fn end_with(&mut self, trailers: HeaderMap) -> Result<(), DownstreamError> {
        self.trailers = Some(trailers);
        self.end()
    }

    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        if self.is_bodiless || !self.has_begun {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.waiting.is_empty() {
                self.waiting = self.out.split().freeze();
            }
            let is_last = self.is_ended && self.out.is_empty() && self.trailers.is_none();
            let before = self.waiting.len();
            let sent = self.reply.poll_write(context, &mut self.waiting, is_last);
            self.taken += (before - self.waiting.len()) as u64;
            ready!(sent)?;
            if self.out.is_empty() {
                break;
            }
        }
        if self.is_ended
            && let Some(trailers) = self.trailers.take()
        {
            self.reply.end_with(trailers)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        self.poll_taken(context)
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.out.is_empty()
    }

    fn taken(&self) -> u64 {
        self.taken
    }

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// A reply that is dropped before its end resets the stream.
    fn abandon(&mut self) {}

    /// The connection is that of other streams as well.
    fn after(&self) -> After {
        After::KeepAlive
    }

    fn into_switched<'c>(self) -> Option<&'c mut Connection>
    where
        Self: 'c,
    {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let fields = fields.iter();
        let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        fields_of(fields, "x-request-id").unwrap()
    }

    #[test]
    fn fields_of_connections_go_and_a_date_comes() {
        let map = map(&[
            ("Connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("TE", "trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("X-A", "kept"),
            ("upgrade", "again"),
        ]);
        assert_eq!(map.len(), 2, "{map:?}");
        assert!(map.contains_key("x-a") && map.contains_key(DATE));
    }

    #[test]
    fn the_date_of_an_origin_stays() {
        let date = "Tue, 15 Nov 1994 08:12:31 GMT";
        let map = map(&[("Date", date)]);
        assert_eq!(map.get(DATE).unwrap(), date);
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn an_id_stays_out_of_the_table_of_fields() {
        let map = map(&[("X-Request-Id", "a"), ("x-b", "a")]);
        assert!(map["x-request-id"].is_sensitive() && !map["x-b"].is_sensitive());
    }
}
