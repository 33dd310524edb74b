//! The answer to a request that no service has seen.

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use log::debug;

use super::super::{BodyOf, LINGER};
use super::incoming::Incoming;
use crate::answer::{Body, Refusal, grpc};

/// Answers a request that no service has seen.
pub(super) async fn refuse(
    mut incoming: Incoming,
    refusal: &Refusal,
    body: BodyOf,
) -> Result<(), h2::Error> {
    let asked = &incoming.head.headers;
    let content_type = asked.get(CONTENT_TYPE);
    if content_type.is_some_and(|value| grpc::is_media_type(value.as_bytes())) {
        return incoming.reply.begin(of_call(refusal), true);
    }
    let body = body(refusal, asked.get(ACCEPT).map(HeaderValue::as_bytes));
    let is_bodiless = incoming.head.method == Method::HEAD;
    incoming.reply.begin(head(refusal, &body), is_bodiless)?;
    let sent = incoming.reply.write(body.bytes, true);
    if let Ok(sent) = pingora_timeout::timeout(LINGER, sent).await {
        return sent;
    }
    debug!("a refused client does not read why");
    Ok(())
}

/// The head of the answer, before its body.
fn head(refusal: &Refusal, body: &Body) -> Response<()> {
    let mut fields = HeaderMap::with_capacity(5);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(body.bytes.len()));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(methods) = refusal.allow {
        fields.insert(ALLOW, HeaderValue::from_static(methods));
    }
    of(refusal.status, fields)
}

/// The whole answer to a call of gRPC.
fn of_call(refusal: &Refusal) -> Response<()> {
    let mut fields = HeaderMap::with_capacity(4);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(grpc::MEDIA_TYPE));
    for (name, value) in grpc::Status::of(refusal).fields(&refusal.message) {
        fields.insert(HeaderName::from_static(name), value);
    }
    of(StatusCode::OK, fields)
}

fn of(status: StatusCode, fields: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}
