//! A response of the proxy's own, and the one place that writes it, whatever HTTP the client speaks.

use std::fmt::Display;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use log::debug;
use pingora_core::protocols::http::date::get_cached_date;

use super::downstream::{Downstream, DownstreamError, ResponseStart};
use super::fields::Field;
use super::framing::Framing;
use super::request::Request;
use crate::reply::grpc::{MEDIA_TYPE, Status};
use crate::reply::{Body, Refusal};

/// How long a refused client may go on sending before the connection is closed under it, so that
/// it can read the refusal (RFC 9112, 9.6).
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// How long the rest of a body is read whose response came before its end, so that the kernel does not
/// reset the connection and lose the response on its way (RFC 9112, 9.6).
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// A response of the proxy's own.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    fields: HeaderMap,
    /// None for a response that is a head alone, such as that to a call of gRPC.
    body: Option<Bytes>,
}

impl Reply {
    /// A refusal as the client of a request can read it: as JSON or HTML by its `Accept` field, or as the
    /// status of a call of gRPC, which is `status` where the upstream has said one.
    pub(crate) fn refusal(refusal: &Refusal, request: &Request, status: Option<Status>) -> Self {
        if request.is_grpc() {
            return Self::of_call(refusal, status.unwrap_or_else(|| Status::of(refusal)));
        }
        Self::with_body(refusal, refusal.body(request.fields().get(&ACCEPT)))
    }

    /// A refusal with this body.
    pub(crate) fn with_body(refusal: &Refusal, body: Body) -> Self {
        let mut fields = HeaderMap::with_capacity(8);
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(methods) = refusal.allow {
            fields.insert(ALLOW, HeaderValue::from_static(methods));
        }
        Self {
            status: refusal.status,
            fields,
            body: Some(body.bytes),
        }
    }

    /// The status of a call of gRPC.
    pub(crate) fn of_call(refusal: &Refusal, status: Status) -> Self {
        let mut fields = HeaderMap::with_capacity(8);
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in status.fields(&refusal.message) {
            fields.insert(HeaderName::from_static(name), value);
        }
        Self {
            status: StatusCode::OK,
            fields,
            body: None,
        }
    }

    /// The status that the client gets.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The fields.
    pub(crate) fn fields_mut(&mut self) -> &mut HeaderMap {
        &mut self.fields
    }

    /// Returns the reply's own `Strict-Transport-Security` field, if it has one.
    pub(crate) fn hsts(&self) -> Option<&HeaderValue> {
        self.fields.get(STRICT_TRANSPORT_SECURITY)
    }

    /// Takes the response apart, for a server of somebody else's.
    pub(crate) fn into_parts(self) -> (StatusCode, HeaderMap, Option<Bytes>) {
        (self.status, self.fields, self.body)
    }

    /// Writes it, and waits until it is on its way, for at most `limit`.
    pub(crate) async fn send<D: Downstream>(
        &self,
        downstream: &mut D,
        method: &Method,
        limit: Option<Duration>,
    ) -> Result<(), DownstreamError> {
        self.send_named(None, downstream, method, limit).await
    }

    /// Writes it as [`Reply::send`] does, with the field of the request's id.
    pub(crate) async fn send_named<D: Downstream>(
        &self,
        id: Option<Field<'_>>,
        downstream: &mut D,
        method: &Method,
        limit: Option<Duration>,
    ) -> Result<(), DownstreamError> {
        let sent = async {
            self.begin(id, downstream, method)?;
            if let Some(body) = &self.body {
                std::future::poll_fn(|context| Poll::Ready(downstream.write(context, body)))
                    .await?;
            }
            downstream.end()?;
            std::future::poll_fn(|context| downstream.poll_flush(context)).await
        };
        let Some(limit) = limit else {
            return sent.await;
        };
        match pingora_timeout::tokio_timeout(limit, sent).await {
            Ok(sent) => sent,
            Err(_elapsed) => Err(DownstreamError::Stuck),
        }
    }

    /// The whole response in HTTP/1.1, as the last of its connection.
    pub(super) fn last_of_http1(&self, id: Field<'_>, is_head: bool) -> Vec<u8> {
        let mut text = Vec::with_capacity(512);
        let reason = self.status.canonical_reason().unwrap_or_default();
        let status = self.status.as_str();
        for part in ["HTTP/1.1 ", status, " ", reason, "\r\n"] {
            text.extend_from_slice(part.as_bytes());
        }
        let date = get_cached_date();
        let body = self.body.as_deref().unwrap_or_default();
        let mut length = itoa::Buffer::new();
        let first = [(&b"Date"[..], date.as_bytes()), id];
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| -> Field<'_> { (name.as_str().as_bytes(), value.as_bytes()) });
        let last = [
            (&b"Content-Length"[..], length.format(body.len()).as_bytes()),
            (&b"Connection"[..], &b"close"[..]),
        ];
        for (name, value) in first.into_iter().chain(fields).chain(last) {
            for part in [name, b": ", value, b"\r\n"] {
                text.extend_from_slice(part);
            }
        }
        text.extend_from_slice(b"\r\n");
        if !is_head {
            text.extend_from_slice(body);
        }
        text
    }

    fn begin<D: Downstream>(
        &self,
        id: Option<Field<'_>>,
        downstream: &mut D,
        method: &Method,
    ) -> Result<(), DownstreamError> {
        let date = get_cached_date();
        let own = [(&b"Date"[..], date.as_bytes())];
        let passes = |(name, _): &(&HeaderName, &HeaderValue)| **name != CONTENT_LENGTH;
        let fields = self.fields.iter().filter(passes);
        let fields = fields
            .map(|(name, value)| -> Field<'_> { (name.as_str().as_bytes(), value.as_bytes()) });
        let length = self.body.as_ref().map(Bytes::len);
        let start = ResponseStart {
            status: self.status,
            reason: self.status.canonical_reason().unwrap_or_default(),
            framing: length.map_or(Framing::None, |length| Framing::Length(length as u64)),
            is_bodiless: *method == Method::HEAD || length.unwrap_or(0) == 0,
        };
        downstream.begin(start, own.into_iter().chain(id).chain(fields))
    }
}

impl From<Response<Bytes>> for Reply {
    fn from(response: Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            fields: head.headers,
            body: Some(body),
        }
    }
}

/// Reads the rest of a body whose response came before its end; `request` says in the log whose it is.
pub(crate) async fn drain<D: Downstream>(downstream: &mut D, request: &(dyn Display + Sync)) {
    let mut room = vec![0; 4096];
    let rest = async {
        loop {
            let piece = std::future::poll_fn(|context| downstream.poll_body(context, &mut room));
            match piece.await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    };
    match pingora_timeout::tokio_timeout(DRAIN, rest).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("the client broke off within its body: {error} [{request}]"),
        Err(_elapsed) => debug!("the client goes on sending; its connection is closed [{request}]"),
    }
}
