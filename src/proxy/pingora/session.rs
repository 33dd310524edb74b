//! The gateway's access to a Pingora session: its request, its response, and its connection.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, UPGRADE};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, Version};
use log::Level;
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_proxy::{FailToProxy, Session};

use super::Exchange;
use crate::front::{
    Caller, ConnectionOptions, DownstreamHandle, Fields, Framing, HeadError, HttpsRedirect, Reply,
    Request, decimal, framing_of, keep_as_asked,
};
use crate::proxy::record::End;
use crate::reply::Refusal;
use crate::reply::grpc::{self, Status};

/// How long the rest of a refused request's body is read, so that the client sees the reply.
pub(in crate::proxy) const DRAIN: Duration = Duration::from_secs(2);

/// The request of a session, read for the rules.
pub(in crate::proxy) fn request(session: &mut Session) -> Request {
    let read = read(session);
    if !matches!(read, Ok((Framing::Upgrade, _))) {
        // Pingora would take whatever names a protocol for a request to switch to it.
        session.req_header_mut().remove_header(&UPGRADE);
    }
    let request = session.req_header();
    let mut head = request.as_owned_parts();
    // Of the absolute form Pingora's URI has the path alone.
    if let Ok(uri) = Uri::try_from(request.raw_path())
        && uri.authority().is_some()
    {
        head.uri = with_path(uri);
    }
    let caller = caller(session);
    match read {
        Ok(read) => {
            keep_as_asked(session.as_downstream_mut(), read.1);
            Request::of_parts(head, read, caller)
        }
        // The front lets none through; this is a server of an embedder's own.
        Err(error) => {
            let none = (Framing::None, ConnectionOptions::default());
            session.set_keepalive(None);
            Request::of_parts(head, none, caller).refused(error.refusal())
        }
    }
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

/// How the end of the request's body is told, and what becomes of the connection.
fn read(session: &mut Session) -> Result<(Framing, ConnectionOptions), HeadError> {
    if session.req_header().version != Version::HTTP_2 {
        let head = session.req_header();
        return framing_of(&head.method, head.version, Fields::Map(&head.headers));
    }
    let is_empty = session.as_downstream_mut().is_body_empty();
    let length = session.req_header().headers.get(CONTENT_LENGTH);
    let framing = match length.and_then(|length| decimal(length.as_bytes())) {
        _ if is_empty => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    Ok((framing, ConnectionOptions::default()))
}

/// Waits for the end of a request of HTTP/2 that announces an empty body: what comes before it may be
/// malformed (RFC 9113, 8.1.1), and Pingora would not look.
pub(in crate::proxy) async fn await_end(session: &mut Session) -> Result<()> {
    let head = session.req_header();
    let length = head.headers.get(CONTENT_LENGTH);
    if head.version == Version::HTTP_2 && length.is_some_and(|length| length == "0") {
        while session
            .as_downstream_mut()
            .read_request_body()
            .await?
            .is_some()
        {}
    }
    Ok(())
}

/// Who asks.
fn caller(session: &Session) -> Caller {
    let digest = session.digest();
    let handle = DownstreamHandle::of(session.as_downstream());
    let redirect = handle.map_or(HttpsRedirect::Off, DownstreamHandle::redirect);
    let caller = Caller::of(
        digest.and_then(|digest| digest.socket_digest.clone()),
        digest.and_then(|digest| digest.proxy_digest.clone()),
        digest.and_then(|digest| digest.ssl_digest.clone()),
        redirect,
        // The front has given registrations to the control service.
        false,
    );
    Caller {
        takes_much: handle.is_some_and(DownstreamHandle::takes_much),
        ..caller
    }
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
        return write_all(session, head).await;
    };
    head.insert_header(CONTENT_LENGTH, body.len())?;
    close_if_body_is_left(session);
    if session.req_header().method == Method::HEAD || body.is_empty() {
        return write_all(session, head).await;
    }
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(body), true).await
}

/// Writes a response that has no body.
async fn write_all(session: &mut Session, head: ResponseHeader) -> Result<()> {
    // Of Pingora's ways to write a head, the only one that ends its stream.
    let head = HttpTask::Header(Box::new(head), true);
    session.write_response_tasks(vec![head]).await.map(drop)
}

/// Ends an exchange whose response has no body: its head was all of it.
pub(in crate::proxy) async fn end_with_head(
    session: &mut Session,
    exchange: &mut Exchange,
) -> FailToProxy {
    let ended = session.write_response_tasks(vec![HttpTask::Done]).await;
    if let Some(record) = &mut exchange.record {
        record.end = ended.map_or(End::ClientGone, |_| End::Complete);
    }
    FailToProxy {
        error_code: 0,
        can_reuse_downstream: false,
    }
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
    exchange: &Exchange,
) -> u16 {
    match told {
        Ok(Some(status)) => {
            drain(session, exchange).await;
            status.as_u16()
        }
        Ok(None) => 0,
        Err(error) => {
            let text = format_args!("the client left before its reply: {error}");
            exchange.log(Level::Debug, &text);
            0
        }
    }
}

/// Reads the rest of a body, so that the kernel does not reset the connection and lose the reply
/// on its way (RFC 9112, 9.6).
async fn drain(session: &mut Session, exchange: &Exchange) {
    if session.was_upgraded() {
        return;
    }
    let rest = session.downstream_session.drain_request_body();
    match pingora_timeout::tokio_timeout(DRAIN, rest).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let text = format_args!("the refused client broke off: {error}");
            exchange.log(Level::Debug, &text);
        }
        Err(_elapsed) => {
            let text = "the refused client goes on sending; its connection is closed";
            exchange.log(Level::Debug, &text);
        }
    }
}
