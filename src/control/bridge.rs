//! From a Pingora session to an axum `Router` and back, without a second HTTP server.
//!
//! The request's body is streamed to the handler while it runs, and the answer's body to the client
//! as the handler makes it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use log::debug;
use pingora::http::ResponseHeader;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::server::ShutdownWatch;
use pingora_core::{Error, ErrorType, Result};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::REGISTER;
use super::peer::{Local, Peer};
use super::problem;
use crate::route::{PathPrefix, RequestPath, RequestTarget};

/// A service that answers requests by a router: registrations behind the traffic listener, or the
/// whole API behind the control listeners.
pub struct Bridge {
    router: Router,
    paths: Paths,
}

/// What the router gets for a request's target.
enum Paths {
    /// Registrations alone: the API's own path for the configured one, and no query.
    Registration(Option<PathPrefix>),
    /// Everything, as it was sent: path and query.
    Api,
}

/// How long a client of the API may take to take a piece of an answer.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// The media type of server-sent events.
const EVENTS: &str = "text/event-stream";

/// How long the end of the events may take to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much, in bytes, and for how long the rest of a body of HTTP/2 is read after the answer.
const REST: usize = 64 * 1024;
const REST_TIME: Duration = Duration::from_secs(1);

/// A piece of a request's body, or the news that it broke off.
type Piece = std::io::Result<Frame<Bytes>>;

impl Bridge {
    /// Answers registrations at a path.
    pub(crate) fn registration(router: Router, path: Option<PathPrefix>) -> Self {
        Self {
            router,
            paths: Paths::Registration(path),
        }
    }

    /// Answers everything.
    pub(crate) fn api(router: Router) -> Self {
        Self {
            router,
            paths: Paths::Api,
        }
    }

    async fn exchange(&self, session: &mut ServerSession, shutdown: &ShutdownWatch) -> Result<()> {
        session.set_write_timeout(Some(SEND_TIMEOUT));
        // Pingora would close for an interim answer as well, before which no body has come.
        session.set_close_on_response_before_downstream_finish(false);
        let (pieces, body) = mpsc::channel(1);
        let Some(request) = self.request(session, stream(body)) else {
            session.set_keepalive(None);
            let refusal = problem::bad_target().into_response();
            return download(session, refusal, shutdown).await;
        };
        let response = {
            let mut handler = pin!(self.router.clone().oneshot(request));
            let mut upload = pin!(upload(session, pieces));
            let mut uploading = true;
            loop {
                tokio::select! {
                    biased;
                    response = &mut handler => match response { Ok(response) => break response },
                    () = &mut upload, if uploading => uploading = false,
                }
            }
        };
        if !session.is_body_done() {
            // The rest of the body is not waited for; the next request could not be found in it.
            session.set_keepalive(None);
        }
        download(session, response, shutdown).await?;
        take_rest(session).await;
        Ok(())
    }

    /// The request for the router; none if its target is not a path.
    fn request(&self, session: &ServerSession, body: Body) -> Option<http::Request<Body>> {
        let head = session.req_header();
        let mut request = http::Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.headers_mut() = head.headers.clone();
        if let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            // HTTP/2 has it in place of `Host`; where both are, they say the same.
            request.headers_mut().entry(HOST).or_insert(host);
        }
        *request.uri_mut() = self.uri(head.raw_path())?;
        request.extensions_mut().insert(peer(session));
        request.extensions_mut().insert(local(session));
        Some(request)
    }

    fn uri(&self, target: &[u8]) -> Option<Uri> {
        let registration = match &self.paths {
            Paths::Registration(path) => path.as_ref(),
            Paths::Api => return whole_target(target),
        };
        let path = registration_path(target, registration);
        path.parse().ok()
    }
}

/// The path and the query as they were sent, also of a target with a scheme and a host (RFC 9112,
/// 3.2.2).
fn whole_target(target: &[u8]) -> Option<Uri> {
    let uri = Uri::try_from(target).ok()?;
    let path = uri.path_and_query()?.clone();
    path.as_str().starts_with('/').then(|| Uri::from(path))
}

/// The API's own path for the registration path; any other as it is.
fn registration_path(target: &[u8], registration: Option<&PathPrefix>) -> String {
    let path = RequestTarget::parse(target)
        .ok()
        .and_then(|target| target.path());
    let path = path.and_then(|path| RequestPath::parse(path).ok());
    let Some(path) = path.map(|path| path.as_str().to_owned()) else {
        return "/".to_owned();
    };
    let is_registration = registration.is_some_and(|registration| {
        path.trim_end_matches('/')
            .eq_ignore_ascii_case(registration.as_str())
    });
    if is_registration {
        REGISTER.to_owned()
    } else {
        path
    }
}

#[async_trait]
impl HttpServerApp for Bridge {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                debug!("a control request cannot be read: {error}");
                return None;
            }
        }
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        if let Err(error) = self.exchange(&mut session, shutdown).await {
            debug!("a control request broke off: {error}");
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        match session.finish().await {
            Ok(reusable) => {
                reusable.map(|stream| ReusedHttpStream::from_reusable_stream(stream, settings))
            }
            Err(error) => {
                debug!("a control connection cannot be used again: {error}");
                None
            }
        }
    }
}

/// The peer as the kernel knows it.
fn peer(session: &ServerSession) -> Peer {
    if let Some(relay) = session
        .digest()
        .and_then(|digest| digest.proxy_digest.as_ref())
    {
        // The address of such a connection is what the relay says, not what the kernel knows.
        let peer = relay.user_data.as_ref();
        let peer = peer.and_then(|peer| peer.downcast_ref::<Option<std::net::SocketAddr>>());
        return peer.copied().flatten().map_or(Peer::Unknown, Peer::Relayed);
    }
    match (session.client_addr(), session.server_addr()) {
        (Some(SocketAddr::Inet(address)), _) => Peer::Inet(*address),
        // A client's end of a Unix socket has no name, and no address; ours has.
        (Some(SocketAddr::Unix(_)), _) | (None, Some(SocketAddr::Unix(_))) => Peer::Unix,
        (None, _) => Peer::Unknown,
    }
}

/// The address that the client connected to.
fn local(session: &ServerSession) -> Local {
    Local(session.server_addr().and_then(SocketAddr::as_inet).copied())
}

fn stream(mut pieces: mpsc::Receiver<Piece>) -> Body {
    let pieces = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    Body::new(StreamBody::new(pieces))
}

/// Feeds the request's body to the handler until either has enough.
async fn upload(session: &mut ServerSession, pieces: mpsc::Sender<Piece>) {
    if expects_continue(session)
        && let Err(error) = session.write_continue_response().await
    {
        debug!("a control request broke off before its body: {error}");
        return;
    }
    loop {
        let piece = match session.read_request_body().await {
            Ok(Some(bytes)) => Ok(Frame::data(bytes)),
            Ok(None) => return,
            Err(error) => Err(std::io::Error::other(error.to_string())),
        };
        let is_last = piece.is_err();
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// Reads what HTTP/2 brings of a body that nobody wants, for a moment: curl 7.88 does not show an
/// answer if its stream is closed before it has sent the body.
async fn take_rest(session: &mut ServerSession) {
    let is_http2 = session.req_header().version == http::Version::HTTP_2;
    if !is_http2 || session.is_body_done() {
        return;
    }
    let rest = async {
        let mut count = 0;
        while count < REST
            && let Ok(Some(piece)) = session.read_request_body().await
        {
            count += piece.len();
        }
    };
    if pingora_timeout::timeout(REST_TIME, rest).await.is_err() {
        debug!("a control request's body is not waited for");
    }
}

/// Whether the client waits for a word before it sends the body (RFC 9110, 10.1.1).
fn expects_continue(session: &ServerSession) -> bool {
    session
        .get_header(http::header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Sends the handler's answer as it comes.
async fn download(
    session: &mut ServerSession,
    response: http::Response<Body>,
    shutdown: &ShutdownWatch,
) -> Result<()> {
    let (head, body) = response.into_parts();
    let is_endless = head
        .headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(EVENTS.as_bytes()));
    let length = http_body::Body::size_hint(&body).exact();
    let mut header = ResponseHeader::build(head.status, Some(head.headers.len() + 1))?;
    for (name, value) in &head.headers {
        header.append_header(name.clone(), value.clone())?;
    }
    let is_head = session.req_header().method == http::Method::HEAD;
    let is_old = session.req_header().version < http::Version::HTTP_11;
    match length {
        _ if !has_body(head.status) => {}
        // The answer to a HEAD has the length of the one to a GET.
        Some(_) if is_head && head.headers.contains_key(http::header::CONTENT_LENGTH) => {}
        // The router has taken the body off; how long it would be is not known.
        Some(0) if is_head => {}
        Some(length) => header.insert_header(http::header::CONTENT_LENGTH, length)?,
        None if is_old => session.set_keepalive(None),
        None => header.insert_header(http::header::TRANSFER_ENCODING, "chunked")?,
    }
    if is_endless {
        // It ends with the client or with the server, not before.
        session.set_keepalive(None);
    }
    let mut shutdown = shutdown.clone();
    if is_endless {
        // A reader that reads nothing is not waited for.
        tokio::select! {
            sent = session.write_response_header(Box::new(header)) => sent?,
            () = stopping(&mut shutdown) => return gone("the server stops"),
        }
    } else {
        session.write_response_header(Box::new(header)).await?;
    }
    if is_head {
        return Ok(());
    }
    if is_endless {
        return stream_events(session, body, shutdown).await;
    }
    send_whole(session, body).await
}

/// Whether an answer with this status has a body (RFC 9112, 6.3).
fn has_body(status: http::StatusCode) -> bool {
    !status.is_informational()
        && status != http::StatusCode::NO_CONTENT
        && status != http::StatusCode::NOT_MODIFIED
}

async fn send_whole(session: &mut ServerSession, mut body: Body) -> Result<()> {
    while let Some(frame) = body.frame().await {
        send(session, frame).await?;
    }
    session.write_response_body(Bytes::new(), true).await
}

/// Sends a frame of an answer.
async fn send(
    session: &mut ServerSession,
    frame: std::result::Result<Frame<Bytes>, axum::Error>,
) -> Result<()> {
    let frame = frame.map_err(|error| {
        Error::explain(
            ErrorType::InternalError,
            format!("a control answer failed: {error}"),
        )
    })?;
    match frame.into_data() {
        Ok(data) => session.write_response_body(data, false).await,
        Err(_trailers) => Ok(()),
    }
}

/// Sends events as they come, until the client leaves or the server stops: whoever only listens
/// holds nobody up.
async fn stream_events(
    session: &mut ServerSession,
    mut body: Body,
    mut shutdown: ShutdownWatch,
) -> Result<()> {
    loop {
        let next = tokio::select! {
            frame = body.frame() => frame,
            // Nothing more is expected of the client: whatever is read here is its end.
            left = session.read_body_or_idle(true) => {
                debug!("a reader of the events has left: {:?}", left.err());
                return gone("the reader of the events has left");
            }
            () = stopping(&mut shutdown) => None,
        };
        let Some(frame) = next else {
            break;
        };
        tokio::select! {
            sent = send(session, frame) => sent?,
            // A reader that reads nothing is not waited for.
            () = stopping(&mut shutdown) => return gone("the server stops"),
        }
    }
    let end = session.write_response_body(Bytes::new(), true);
    match tokio::time::timeout(LAST_WORDS, end).await {
        Ok(sent) => sent,
        Err(_elapsed) => gone("the reader of the events does not read"),
    }
}

/// The end of an answer whose connection is dropped as it is.
fn gone(why: &'static str) -> Result<()> {
    Error::e_explain(ErrorType::ConnectionClosed, why)
}

/// Returns when the server begins to stop.
async fn stopping(shutdown: &mut ShutdownWatch) {
    // An error means that the server is gone, which is a stop as well.
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        debug!("the server's shutdown watch is gone");
    }
}

#[cfg(test)]
mod tests;
