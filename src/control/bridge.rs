//! From a Pingora session to an axum `Router` and back, without a second HTTP server.
//!
//! The request's body is streamed to the handler while it runs, and the answer's body to the client
//! as the handler makes it.

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use log::debug;
use pingora::http::ResponseHeader;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::server::ShutdownWatch;
use pingora_core::{Error, ErrorType, OrErr, Result};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::REGISTER;
use super::peer::Peer;
use crate::route::{PathPrefix, RequestPath, RequestTarget};

/// The service behind the traffic listener that answers registrations.
pub struct Bridge {
    router: Router,
    registration: Option<PathPrefix>,
}

/// A piece of a request's body, or the news that it broke off.
type Piece = std::io::Result<Frame<Bytes>>;

impl Bridge {
    pub(crate) fn new(router: Router, registration: Option<PathPrefix>) -> Self {
        Self {
            router,
            registration,
        }
    }

    async fn exchange(&self, session: &mut ServerSession) -> Result<()> {
        // Pingora would close for an interim answer as well, before which no body has come.
        session.set_close_on_response_before_downstream_finish(false);
        let (pieces, body) = mpsc::channel(1);
        let request = self.request(session, stream(body))?;
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
        download(session, response).await
    }

    fn request(&self, session: &ServerSession, body: Body) -> Result<http::Request<Body>> {
        let head = session.req_header();
        let mut request = http::Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.headers_mut() = head.headers.clone();
        *request.uri_mut() = self.path(head.raw_path()).parse().or_err(
            ErrorType::InvalidHTTPHeader,
            "the path of a control request is not a URI",
        )?;
        request.extensions_mut().insert(peer(session));
        Ok(request)
    }

    /// The API's own path for the registration path; any other as it is.
    fn path(&self, target: &[u8]) -> String {
        let path = RequestTarget::parse(target)
            .ok()
            .and_then(|target| target.path());
        let path = path.and_then(|path| RequestPath::parse(path).ok());
        let Some(path) = path.map(|path| path.as_str().to_owned()) else {
            return "/".to_owned();
        };
        let is_registration = self.registration.as_ref().is_some_and(|registration| {
            path.trim_end_matches('/')
                .eq_ignore_ascii_case(registration.as_str())
        });
        if is_registration {
            REGISTER.to_owned()
        } else {
            path
        }
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
        if let Err(error) = self.exchange(&mut session).await {
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
    match session.client_addr() {
        Some(SocketAddr::Inet(address)) => Peer::Inet(*address),
        Some(SocketAddr::Unix(_)) => Peer::Unix,
        None => Peer::Unknown,
    }
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

/// Whether the client waits for a word before it sends the body (RFC 9110, 10.1.1).
fn expects_continue(session: &ServerSession) -> bool {
    session
        .get_header(http::header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Sends the handler's answer as it comes.
async fn download(session: &mut ServerSession, response: http::Response<Body>) -> Result<()> {
    let (head, mut body) = response.into_parts();
    let length = http_body::Body::size_hint(&body).exact();
    let mut header = ResponseHeader::build(head.status, Some(head.headers.len() + 1))?;
    for (name, value) in &head.headers {
        header.append_header(name.clone(), value.clone())?;
    }
    match length {
        Some(length) => header.insert_header(http::header::CONTENT_LENGTH, length)?,
        None => header.insert_header(http::header::TRANSFER_ENCODING, "chunked")?,
    }
    let is_head = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(header)).await?;
    if is_head {
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Error::explain(
                ErrorType::InternalError,
                format!("a control answer failed: {error}"),
            )
        })?;
        if let Ok(data) = frame.into_data() {
            session.write_response_body(data, false).await?;
        }
    }
    session.write_response_body(Bytes::new(), true).await
}
