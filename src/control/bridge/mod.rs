//! From a request to an axum `Router` and back, without a second HTTP server.
//!
//! The request's body is streamed to the handler while it runs, and the response's body to the client
//! as the handler makes it. The client's side is a [`Channel`]: of the front, or of a session of Pingora's.

mod channel;
mod downstream;
mod session;
mod target;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use log::{debug, trace};
use pingora_core::server::ShutdownWatch;
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt;

use super::{problem, register};
use crate::front::{RequestId, RequestIds};
use crate::route::PathPrefix;
use channel::{Broken, Channel, Head, Start};
use target::{is_registration, whole_target};

/// A service that answers requests by a router: registrations behind the traffic listener, or the
/// whole API behind the control listeners.
pub struct Bridge {
    router: Router,
    paths: Paths,
    ids: RequestIds,
}

/// The requests that get to the router, and the form of their targets.
enum Paths {
    /// Registrations alone.
    Registration(Vec<PathPrefix>),
    /// Everything as it was sent, path and query, but for registrations at these paths.
    Api(Vec<PathPrefix>),
}

/// How long a client of the API may take to take a piece of a response.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// The media type of server-sent events.
const EVENTS: &str = "text/event-stream";

/// How long the end of the events may take to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much, in bytes, and for how long the rest of a body of HTTP/2 is read after the response.
const REST: usize = 64 * 1024;
const REST_TIME: Duration = Duration::from_secs(1);

/// A piece of a request's body, or the news that it broke off.
type Piece = std::io::Result<Frame<Bytes>>;

impl Bridge {
    /// Answers registrations at these paths.
    pub(crate) fn registration(router: Router, paths: Vec<PathPrefix>, ids: RequestIds) -> Self {
        Self {
            router,
            paths: Paths::Registration(paths),
            ids,
        }
    }

    /// Answers everything, registrations at these paths among it, unless the API has them for something else.
    pub(crate) fn api(router: Router, mut paths: Vec<PathPrefix>, ids: RequestIds) -> Self {
        paths.retain(|path| !is_of_api(path));
        Self {
            router,
            paths: Paths::Api(paths),
            ids,
        }
    }

    /// Answers one request.
    async fn exchange<C: Channel>(
        &self,
        channel: &mut C,
        head: Head,
        shutdown: &ShutdownWatch,
    ) -> Result<(), Broken> {
        let method = head.method.clone();
        let (is_http2, expects) = (head.is_http2, head.expects);
        let id = head.asker.id.clone();
        let (pieces, body) = mpsc::channel(1);
        let (asks, asked) = oneshot::channel();
        let Some(request) = self.request(head, stream(body, asks)) else {
            channel.close();
            let refusal = self.named(problem::bad_target().into_response(), &id);
            return download(channel, &method, refusal, shutdown).await;
        };
        let response = {
            let mut handler = pin!(self.router.clone().oneshot(request));
            let expected = expects.then_some(asked);
            let mut upload = pin!(upload(channel, pieces, expected, &id));
            let mut uploading = true;
            loop {
                tokio::select! {
                    biased;
                    response = &mut handler => match response { Ok(response) => break response },
                    () = &mut upload, if uploading => uploading = false,
                }
            }
        };
        if !channel.is_body_done() {
            // The rest of the body is not waited for; the next request could not be found in it.
            channel.close();
        }
        let response = self.named(response, &id);
        download(channel, &method, response, shutdown).await?;
        if is_http2 {
            take_rest(channel, &id).await;
        }
        Ok(())
    }

    /// The response with the id of its request.
    fn named(&self, mut response: http::Response<Body>, id: &RequestId) -> http::Response<Body> {
        if let Ok(id) = HeaderValue::from_bytes(id.as_bytes()) {
            response.headers_mut().insert(self.ids.field.clone(), id);
        }
        response
    }

    /// The request for the router; none if its target is not a path.
    fn request(&self, head: Head, body: Body) -> Option<http::Request<Body>> {
        let mut request = http::Request::new(body);
        *request.uri_mut() = self.uri(&head.target)?;
        *request.method_mut() = head.method;
        *request.headers_mut() = head.fields;
        request.extensions_mut().insert(head.asker);
        Some(request)
    }

    fn uri(&self, target: &[u8]) -> Option<Uri> {
        match &self.paths {
            Paths::Registration(paths) | Paths::Api(paths) if is_registration(target, paths) => {
                Some(Uri::from_static(register::PATH))
            }
            // The API answers it with 404.
            Paths::Registration(_) => Some(Uri::from_static("/")),
            Paths::Api(_) => whole_target(target),
        }
    }
}

/// Whether the API has a path, or what is below it, for something else than registrations.
fn is_of_api(path: &PathPrefix) -> bool {
    let path = path.as_str();
    let begins_with = |own: &str| {
        let begin = path.get(..own.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(own))
    };
    let is_within = |own: &&str| {
        begins_with(own) && matches!(path.as_bytes().get(own.len()), None | Some(b'/'))
    };
    let own = ["/openapi.json", "/healthz", "/readyz"];
    begins_with("/v1/") || own.iter().any(is_within)
}

/// The body for the handler; `asks` hears when the handler first wants some of it.
fn stream(mut pieces: mpsc::Receiver<Piece>, asks: oneshot::Sender<()>) -> Body {
    let mut asks = Some(asks);
    let pieces = futures_util::stream::poll_fn(move |context| {
        if let Some(asks) = asks.take()
            && asks.send(()).is_err()
        {
            trace!("the client of a control request waits for no word");
        }
        pieces.poll_recv(context)
    });
    Body::new(StreamBody::new(pieces))
}

/// Feeds the request's body to the handler until either has enough. A client that waits for a word before
/// it sends the body gets it when the handler asks for the body, and not if it never does.
async fn upload<C: Channel>(
    channel: &mut C,
    pieces: mpsc::Sender<Piece>,
    expected: Option<oneshot::Receiver<()>>,
    id: &RequestId,
) {
    if let Some(asked) = expected {
        if asked.await.is_err() {
            return;
        }
        if let Err(error) = channel.send_continue().await {
            debug!("a control request broke off before its body: {error} [{id}]");
            return;
        }
    }
    loop {
        let piece = match channel.piece().await {
            Ok(Some(bytes)) => Ok(Frame::data(bytes)),
            Ok(None) => return,
            Err(error) => {
                debug!("a control request's body broke off: {error} [{id}]");
                Err(std::io::Error::other(error.to_string()))
            }
        };
        let is_last = piece.is_err();
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// Reads what HTTP/2 brings of a body that nobody wants, for a moment: curl 7.88 does not show a
/// response if its stream is closed before it has sent the body.
async fn take_rest<C: Channel>(channel: &mut C, id: &RequestId) {
    if channel.is_body_done() {
        return;
    }
    let rest = async {
        let mut count = 0;
        while count < REST
            && let Ok(Some(piece)) = channel.piece().await
        {
            count += piece.len();
        }
    };
    if pingora_timeout::tokio_timeout(REST_TIME, rest)
        .await
        .is_err()
    {
        debug!("a control request's body is not waited for [{id}]");
    }
}

/// Whether the client waits for a word before it sends the body, by its `Expect` field (RFC 9110, 10.1.1).
fn expects_continue(version: Version, expect: Option<&[u8]>) -> bool {
    let expects = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    version > Version::HTTP_10 && expect.is_some_and(expects)
}

/// Sends the handler's response as it comes.
async fn download<C: Channel>(
    channel: &mut C,
    method: &Method,
    response: http::Response<Body>,
    shutdown: &ShutdownWatch,
) -> Result<(), Broken> {
    let (head, body) = response.into_parts();
    let is_endless = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(EVENTS.as_bytes()));
    let is_head = *method == Method::HEAD;
    let start = start(head.status, head.headers, &body, is_head);
    if is_endless {
        // It ends with the client or with the server, not before.
        channel.close();
    }
    let mut shutdown = shutdown.clone();
    if is_endless {
        // A reader that reads nothing is not waited for.
        tokio::select! {
            sent = channel.begin(start) => sent?,
            () = stopping(&mut shutdown) => return gone("the server stops"),
        }
    } else {
        channel.begin(start).await?;
    }
    if is_head {
        return channel.finish().await;
    }
    if is_endless {
        return stream_events(channel, body, shutdown).await;
    }
    send_whole(channel, body).await
}

/// The head of a response.
fn start(status: StatusCode, mut fields: HeaderMap, body: &Body, is_head: bool) -> Start {
    // The response to a HEAD has the length of the one to a GET, if the router says it: the body has been
    // taken off by then.
    let named = fields
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let exact = http_body::Body::size_hint(body).exact();
    let length = match (is_head, exact) {
        _ if !has_body(status) => None,
        (true, Some(0)) => named,
        (true, exact) => named.or(exact),
        (false, exact) => exact,
    };
    fields.remove(CONTENT_LENGTH);
    fields.remove(TRANSFER_ENCODING);
    Start {
        status,
        fields,
        length,
        is_bodiless: is_head || !has_body(status) || exact == Some(0),
    }
}

/// Whether a response with this status has a body (RFC 9112, 6.3).
fn has_body(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

async fn send_whole<C: Channel>(channel: &mut C, mut body: Body) -> Result<(), Broken> {
    while let Some(frame) = body.frame().await {
        send(channel, frame).await?;
    }
    channel.finish().await
}

/// Sends a frame of a response.
async fn send<C: Channel>(
    channel: &mut C,
    frame: Result<Frame<Bytes>, axum::Error>,
) -> Result<(), Broken> {
    let frame = frame.map_err(|error| Broken(format!("a control response failed: {error}")))?;
    match frame.into_data() {
        Ok(data) => channel.write(data).await,
        Err(_trailers) => Ok(()),
    }
}

/// Sends events as they come, until the client leaves or the server stops: whoever only listens
/// holds nobody up.
async fn stream_events<C: Channel>(
    channel: &mut C,
    mut body: Body,
    mut shutdown: ShutdownWatch,
) -> Result<(), Broken> {
    loop {
        let next = tokio::select! {
            frame = body.frame() => frame,
            // Nothing more is expected of the client: whatever is read here is its end.
            left = channel.gone() => {
                return Err(Broken(format!("the reader of the events has left: {left}")));
            }
            () = stopping(&mut shutdown) => None,
        };
        let Some(frame) = next else {
            break;
        };
        tokio::select! {
            sent = send(channel, frame) => sent?,
            // A reader that reads nothing is not waited for.
            () = stopping(&mut shutdown) => return gone("the server stops"),
        }
    }
    match tokio::time::timeout(LAST_WORDS, channel.finish()).await {
        Ok(sent) => sent,
        Err(_elapsed) => gone("the reader of the events does not read"),
    }
}

/// The end of a response whose connection is dropped as it is.
fn gone(why: &'static str) -> Result<(), Broken> {
    Err(Broken(why.to_owned()))
}

/// Returns when the server begins to stop.
async fn stopping(shutdown: &mut ShutdownWatch) {
    // An error means that the server is gone, which is a stop as well.
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        debug!("the server's shutdown watch is gone");
    }
}
