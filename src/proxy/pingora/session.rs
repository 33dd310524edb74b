//! What the gateway asks of a Pingora session, and does to it.

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use log::debug;
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_proxy::Session;

use crate::front::{Caller, DownstreamHandle, Framing, HttpsRedirect, Reply, Request, list};
use crate::reply::Refusal;
use crate::reply::grpc::{self, Status};

/// How long the rest of a refused request's body is read, so that the client sees the reply.
pub(in crate::proxy) const DRAIN: Duration = Duration::from_secs(2);

/// The request of a session, read for the rules.
pub(in crate::proxy) fn request(session: &mut Session) -> Request {
    drop_other_upgrades(session);
    let framing = framing(session);
    let request = session.req_header();
    let mut head = request.as_owned_parts();
    // Of the absolute form Pingora's URI has the path alone.
    if let Ok(uri) = Uri::try_from(request.raw_path())
        && uri.authority().is_some()
    {
        head.uri = with_path(uri);
    }
    drop_nominated(&mut head);
    Request::of_parts(head, framing, caller(session))
}

/// `http://a?b` asks for `/?b`.
fn with_path(uri: Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    let query = uri.query().map(|query| format!("/?{query}"));
    match (&parts.path_and_query, query) {
        (Some(path), Some(query)) if path.as_str().starts_with('?') => {
            parts.path_and_query = query.try_into().ok();
        }
        _ => return uri,
    }
    Uri::from_parts(parts).unwrap_or(uri)
}

/// Takes out what `Connection` names: it is for this hop (RFC 9110, 7.6.1). Pingora refuses requests whose
/// `Connection` names what may not be taken away.
fn drop_nominated(head: &mut Parts) {
    let values: Vec<HeaderValue> = head.headers.get_all(CONNECTION).iter().cloned().collect();
    for name in values.iter().flat_map(|value| list(value.as_bytes())) {
        head.headers.remove(&*String::from_utf8_lossy(name));
    }
}

/// Takes an `Upgrade` out of a request that asks for no WebSocket, or whose `Connection` does not name it:
/// it is no upgrade (RFC 9110, 7.8), and Pingora would take it for one.
fn drop_other_upgrades(session: &mut Session) {
    let fields = &session.req_header().headers;
    let mut protocols = fields.get_all(UPGRADE).iter();
    let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    let asks = protocols.next().is_some_and(is_websocket) && protocols.next().is_none();
    let connection = fields.get_all(CONNECTION).iter();
    let is_named = connection
        .flat_map(|value| list(value.as_bytes()))
        .any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    if !(asks && is_named) {
        session.req_header_mut().remove_header(&UPGRADE);
    }
}

/// How the end of the request's body is told.
fn framing(session: &mut Session) -> Framing {
    let is_empty = session.as_downstream_mut().is_body_empty();
    let request = session.req_header();
    let length = request.headers.get(CONTENT_LENGTH);
    match length.and_then(|length| length.to_str().ok()?.parse().ok()) {
        Some(0) | None if is_empty && session.is_upgrade_req() => Framing::Upgrade,
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None if is_empty => Framing::None,
        None => Framing::Chunked,
    }
}

/// Who asks.
fn caller(session: &Session) -> Caller {
    let digest = session.digest();
    let redirect = DownstreamHandle::of(session.as_downstream())
        .map_or(HttpsRedirect::Off, DownstreamHandle::redirect);
    Caller::of(
        digest.and_then(|digest| digest.socket_digest.clone()),
        digest.and_then(|digest| digest.proxy_digest.clone()),
        digest.and_then(|digest| digest.ssl_digest.clone()),
        redirect,
        // The front has given registrations to the control service.
        false,
    )
}

/// Whether the client has the head of its response; interim ones do not count.
pub(in crate::proxy) fn has_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|response| {
        !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS
    })
}

/// Keeps interim responses from a client of HTTP/1.0, which knows none (RFC 9110, 15.2).
pub(in crate::proxy) fn spare_interim(session: &mut Session) {
    let is_http10 = session.req_header().version == Version::HTTP_10;
    if let ServerSession::H1(session) = session.as_downstream_mut() {
        session.set_ignore_info_resp(is_http10);
    }
}

/// Closes the connection after its last response, and after one that comes before the end of the request's
/// body: the rest of it may never come, and could not be told from the next request.
pub(in crate::proxy) fn close_if_body_is_left(session: &mut Session) {
    let is_last =
        DownstreamHandle::of(session.as_downstream()).is_some_and(DownstreamHandle::is_last);
    if is_last || !session.is_body_done() {
        session.set_keepalive(None);
    }
}

/// Waits only for a moment for a body whose client was to be told whether to send it, and was told
/// no; otherwise both connections would wait until the client closes its own.
pub(in crate::proxy) fn stop_expecting(session: &mut Session, status: StatusCode) {
    let is_refusal = status.is_client_error() || status.is_server_error();
    if is_refusal && session.req_header().headers.contains_key(EXPECT) && !session.is_body_done() {
        session.set_read_timeout(Some(DRAIN));
    }
}

/// Makes a final response the proxy's own message (RFC 9110, 7.6), and sees to its connection; with
/// `is_unbounded`, its body has no length.
pub(in crate::proxy) fn settle(
    session: &mut Session,
    response: &mut ResponseHeader,
    is_unbounded: bool,
) {
    response.set_version(Version::HTTP_11);
    close_if_body_is_left(session);
    stop_expecting(session, response.status);
    // RFC 9112, 6.1: HTTP/1.0 knows no chunks. The body ends with the connection.
    let ends_with_it = is_unbounded && session.req_header().version == Version::HTTP_10;
    if ends_with_it || session.is_process_shutting_down() {
        session.set_keepalive(None);
    }
}

/// Writes a reply of the proxy's own.
pub(in crate::proxy) async fn write(session: &mut Session, reply: Reply) -> Result<()> {
    let (status, fields, body) = reply.into_parts();
    let mut head = ResponseHeader::build(status, Some(fields.len() + 2))?;
    for (name, value) in &fields {
        head.append_header(name.clone(), value.clone())?;
    }
    let Some(body) = body else {
        // Of Pingora's ways to write a head, the only one that ends its stream.
        let head = HttpTask::Header(Box::new(head), true);
        return session.write_response_tasks(vec![head]).await.map(drop);
    };
    head.insert_header(CONTENT_LENGTH, body.len())?;
    close_if_body_is_left(session);
    let is_bodiless = session.req_header().method == Method::HEAD || body.is_empty();
    session
        .write_response_header(Box::new(head), is_bodiless)
        .await?;
    if !is_bodiless {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// Ends the response to a call of gRPC that has begun: its trailers say what went wrong.
pub(in crate::proxy) async fn end_call(
    session: &mut Session,
    refusal: &Refusal,
    status: Status,
) -> Result<()> {
    let fields = status.fields(&refusal.message);
    let fields = fields.map(|(name, value)| (HeaderName::from_static(name), value));
    let trailers = HeaderMap::from_iter(fields);
    session
        .as_downstream_mut()
        .write_response_trailers(trailers)
        .await
}

/// Whether the response that has begun is one to a call of gRPC.
pub(in crate::proxy) fn is_call_begun(session: &Session) -> bool {
    let response = session.response_written();
    let kind = response.and_then(|response| response.headers.get(http::header::CONTENT_TYPE));
    kind.is_some_and(|kind| grpc::is_media_type(kind.as_bytes()))
}

/// Ends a failed exchange whose client has been told a status, or nothing; the status for Pingora.
pub(in crate::proxy) async fn finish(
    session: &mut Session,
    told: Result<Option<StatusCode>>,
) -> u16 {
    match told {
        Ok(Some(status)) => {
            drain(session).await;
            status.as_u16()
        }
        Ok(None) => 0,
        Err(error) => {
            debug!("a client left before its reply: {error}");
            0
        }
    }
}

/// Reads the rest of a body, so that the kernel does not reset the connection and lose the reply
/// on its way (RFC 9112, 9.6).
async fn drain(session: &mut Session) {
    if session.was_upgraded() {
        return;
    }
    let rest = session.downstream_session.drain_request_body();
    match pingora_timeout::tokio_timeout(DRAIN, rest).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a refused client broke off: {error}"),
        Err(_elapsed) => debug!("a refused client goes on sending; its connection is closed"),
    }
}
