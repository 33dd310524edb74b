//! What the phases ask of a Pingora session, and do to it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, EXPECT};
use http::{HeaderValue, StatusCode};
use log::debug;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_proxy::Session;

use super::context::{Exchange, View};
use crate::answer::Refusal;

/// How long the rest of a refused request's body is read, so that the client sees the answer.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
/// Whether the client has the head of its answer; interim ones do not count.
pub(super) fn is_answered(session: &Session) -> bool {
    session.response_written().is_some_and(|response| {
        !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS
    })
}

/// Closes the connection after an answer that comes before the end of the request's body: the rest
/// of it may never come, and could not be told from the next request.
pub(super) fn close_if_body_is_left(session: &mut Session) {
    if !session.is_body_done() {
        session.set_keepalive(None);
    }
}

/// Waits only for a moment for a body whose client was to be told whether to send it, and was told
/// no; otherwise both connections would wait until the client closes its own.
pub(super) fn stop_expecting(session: &mut Session, status: StatusCode) {
    let is_refusal = status.is_client_error() || status.is_server_error();
    if is_refusal && session.req_header().headers.contains_key(EXPECT) && !session.is_body_done() {
        session.set_read_timeout(Some(DRAIN));
    }
}

/// Reads the rest of a body, so that the kernel does not reset the connection and lose the answer
/// on its way (RFC 9112, 9.6).
pub(super) async fn drain(session: &mut Session) {
    if session.was_upgraded() {
        return;
    }
    let rest = session.downstream_session.drain_request_body();
    match pingora_timeout::timeout(DRAIN, rest).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a refused client broke off: {error}"),
        Err(_elapsed) => debug!("a refused client goes on sending; its connection is closed"),
    }
}

pub(super) fn of_handler(response: http::Response<Bytes>) -> Result<(ResponseHeader, Bytes)> {
    let (parts, body) = response.into_parts();
    let mut header = ResponseHeader::build(parts.status, Some(parts.headers.len() + 2))?;
    for (name, value) in &parts.headers {
        header.append_header(name.clone(), value.clone())?;
    }
    Ok((header, body))
}

pub(super) fn of_refusal(
    refusal: &Refusal,
    request: &RequestHeader,
) -> Result<(ResponseHeader, Bytes)> {
    let body = refusal.body(request.headers.get(ACCEPT).map(HeaderValue::as_bytes));
    let mut header = ResponseHeader::build(refusal.status, Some(5))?;
    header.insert_header(CONTENT_TYPE, body.content_type)?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    if let Some(methods) = refusal.allow {
        header.insert_header(ALLOW, methods)?;
    }
    Ok((header, body.bytes))
}

pub(super) fn client_ip(session: &Session) -> Option<std::net::IpAddr> {
    session
        .client_addr()
        .and_then(SocketAddr::as_inet)
        .map(std::net::SocketAddr::ip)
}

/// The request's host and path as they are matched; as they came, if they cannot be.
pub(super) fn names(session: &Session) -> (String, String) {
    let request = session.req_header();
    match View::of(request) {
        Ok(view) => (view.host.into_owned(), view.path.into_owned()),
        Err(_refused) => (
            String::new(),
            String::from_utf8_lossy(request.raw_path()).into_owned(),
        ),
    }
}

/// The request in a log line; the target is internal and stands only in the log.
pub(super) fn summary(session: &Session, exchange: &Exchange) -> String {
    let (host, path) = names(session);
    let target = exchange
        .visit
        .as_ref()
        .map(|visit| format!(" -> {}", visit.instance().target));
    format!(
        "{} {host}{}{}",
        session.req_header().method,
        path.escape_debug(),
        target.unwrap_or_default(),
    )
}
