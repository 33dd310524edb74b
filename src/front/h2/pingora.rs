//! A connection of HTTP/2 that is served by Pingora's own sessions, for `engine: pingora`.
//!
//! Pingora's accept loop is not public, so it is written here, with the limits that every connection has:
//! the idle time, malformed requests, streams that are opened only to be reset. Each session is handed to
//! the same two services as a connection of HTTP/1.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use h2::Reason;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE};
use http::{HeaderName, HeaderValue, Method};
use log::{debug, info};
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession};
use tokio::time::Instant;

use super::super::clients::ClientLimit;
use super::super::downstream_handle::StreamHandle;
use super::super::framing::Framing;
use super::super::pace::Rates;
use super::super::reply::Reply;
use super::super::request::{ConnectionOptions, Request, joined_cookies};
use super::super::upstream_timeouts::UpstreamTimeouts;
use super::super::{ControlService, Front, LINGER, Service, abort, stopping};
use super::client::{Client, InUse};
use super::guarded::Guarded;
use super::header_watch::InHead;
use super::quiet::{Quiet, TooQuiet};
use super::request;
use super::streams::{Connection, MOST_REJECTED};
use crate::reply::{Refusal, grpc};

/// The next step of a connection.
enum Next {
    Session(Box<HttpSession>),
    /// A request that Pingora has refused.
    Rejected,
    /// The server stops.
    Stop,
    /// The client has kept the proxy waiting for too long.
    Quiet(TooQuiet),
    /// The connection is gone.
    Gone,
}

impl<P, C> Front<P, C>
where
    P: Service,
    C: ControlService,
{
    /// Serves the streams of a connection by Pingora's sessions until either side has enough.
    pub(super) async fn serve_sessions(
        self: &Arc<Self>,
        mut connection: Connection,
        client: Arc<Client>,
        digest: Digest,
        in_head: InHead,
    ) {
        let digest = Arc::new(digest);
        let (mut quiet, mut rejected) = (self.quiet(), 0);
        loop {
            let next =
                next_session(&mut connection, &client, &digest, (&mut quiet, &in_head)).await;
            if matches!(next, Next::Session(_) | Next::Rejected) {
                quiet.note_request();
            }
            match next {
                Next::Session(session) => {
                    let front = Arc::clone(self);
                    let (in_use, counted) = client.begin();
                    let read = Instant::now().into_std();
                    tokio::spawn(Box::pin(async move {
                        front
                            .answer_session(*session, &in_use, (counted, read))
                            .await;
                    }));
                    if client.ticket.is_at_limit() {
                        // This one is still served, and nothing more is to come.
                        connection.graceful_shutdown();
                        quiet.stop();
                    }
                }
                Next::Rejected => rejected += 1,
                Next::Stop => {
                    connection.graceful_shutdown();
                    quiet.stop();
                }
                Next::Quiet(why) => {
                    self.note_quiet(&client, why);
                    return close(connection, Reason::NO_ERROR).await;
                }
                Next::Gone => return,
            }
            if rejected >= MOST_REJECTED || client.resets.are_too_many() {
                info!("a connection of HTTP/2 is closed: too many malformed or reset streams");
                return close(connection, Reason::ENHANCE_YOUR_CALM).await;
            }
        }
    }

    /// Checks a request as that of any other stream, and hands it to the service that it is for.
    async fn answer_session(
        &self,
        mut session: HttpSession,
        in_use: &InUse,
        (counted, read): (Result<(), ClientLimit>, std::time::Instant),
    ) {
        let client = in_use.client();
        let head = session.req_header();
        let checked = request::check(head, &self.options.limits);
        let parts = head.as_owned_parts();
        let request = Request::of_parts(
            parts,
            (Framing::None, ConnectionOptions::default()),
            client.caller.clone(),
        );
        let refusal = match checked {
            Err(error) => Some(error.refusal()),
            Ok(()) => self
                .refusal_of(&request, &client.ticket)
                .or_else(|| self.refusal_of_stream(&request, counted)),
        };
        if let Some(refusal) = refusal {
            let peer = client.caller.peer();
            return self.refuse_session(&mut session, &refusal, peer).await;
        }
        if self.sheds_stream(&request, read) {
            return self.shed_session(&mut session, &request).await;
        }
        let is_control = self.proxy.is_control(&request);
        let abort = self.connections.abort(abort::task_waker().await);
        let hold = Arc::new(StreamHandle {
            abort: Arc::clone(&abort),
            upstream_timeouts: UpstreamTimeouts::default(),
            rates: Rates::default(),
            mode: client.mode,
            client: Some(Arc::clone(client)),
        });
        // Pingora's type lets nobody reach its extensions: the head is made anew.
        let mut head = session.req_header().as_owned_parts();
        if let Some(cookies) = joined_cookies(&head.headers) {
            head.headers.insert(COOKIE, cookies);
        }
        head.extensions.insert(Arc::clone(&hold));
        *session.req_header_mut() = head.into();
        let session = ServerSession::new_custom(Box::new(Guarded::new(session, hold)));
        let exchange = if is_control {
            self.control.process_new_http(session, &client.shutdown)
        } else {
            self.proxy.process_new_http(session, &client.shutdown)
        };
        // If it is cut while neither its client nor its upstream takes anything, its record says so.
        let _: Option<_> = abort.run_until_aborted(exchange).await;
    }

    /// Answers a request that no service has seen.
    async fn refuse_session(
        &self,
        session: &mut HttpSession,
        refusal: &Refusal,
        peer: Option<SocketAddr>,
    ) {
        let asked = session.req_header();
        let is_head = asked.method == Method::HEAD;
        let value = |name: HeaderName| asked.headers.get(name).map(HeaderValue::as_bytes);
        let reply = if value(CONTENT_TYPE).is_some_and(grpc::is_media_type) {
            Reply::of_call(refusal, grpc::Status::of(refusal))
        } else {
            Reply::with_body(refusal, (self.body)(refusal, value(ACCEPT)))
        };
        let (reply, id) = self.named(reply, refusal, peer);
        if let Err(error) = send(session, reply, is_head).await {
            debug!("a refused client left before it read why: {error} [{id}]");
        }
    }

    /// Answers a request that is shed.
    async fn shed_session(&self, session: &mut HttpSession, request: &Request) {
        tokio::time::sleep(self.rest_of_shed()).await;
        let ids = &self.options.request_ids;
        let id = ids.of(request);
        let mut reply = self.overload.reply(request).clone();
        if let Ok(value) = HeaderValue::from_bytes(id.as_bytes()) {
            reply.fields_mut().insert(ids.field.clone(), value);
        }
        let is_head = *request.method() == Method::HEAD;
        if let Err(error) = send(session, reply, is_head).await {
            debug!("a client left before it read that its request is shed: {error} [{id}]");
        }
    }
}

/// The next step of a connection: a session, or its end.
async fn next_session(
    connection: &mut Connection,
    client: &Client,
    digest: &Arc<Digest>,
    (quiet, in_head): (&mut Quiet, &InHead),
) -> Next {
    let mut shutdown = client.shutdown.clone();
    let mut stop = pin!(stopping(&mut shutdown));
    let mut accept = pin!(HttpSession::from_h2_conn(connection, Arc::clone(digest)));
    std::future::poll_fn(|context| {
        if let Poll::Ready(accepted) = accept.as_mut().poll(context) {
            return Poll::Ready(match accepted {
                Ok(Some(H2Accept::Session(session))) => Next::Session(Box::new(session)),
                Ok(Some(H2Accept::Rejected)) => Next::Rejected,
                Ok(None) => Next::Gone,
                Err(error) => {
                    debug!("a connection of HTTP/2 broke off: {error}");
                    Next::Gone
                }
            });
        }
        if !quiet.is_stopping() && stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Next::Stop);
        }
        let quiet = quiet.poll(client.is_in_use(), in_head.get(), context);
        quiet.map(Next::Quiet)
    })
    .await
}

/// Writes a reply of the proxy's own.
async fn send(session: &mut HttpSession, reply: Reply, is_head: bool) -> Result<()> {
    let (status, fields, body) = reply.into_parts();
    let mut head = ResponseHeader::build(status, Some(fields.len() + 1))?;
    for (name, value) in &fields {
        head.append_header(name.clone(), value.clone())?;
    }
    let Some(body) = body else {
        return session.write_response_header(Box::new(head), true);
    };
    head.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    session.write_response_header(Box::new(head), is_head)?;
    if !is_head {
        session.write_timeout = Some(LINGER);
        session.write_body(body, true).await?;
    }
    Ok(())
}

/// Sends GOAWAY, and waits for a moment until it is sent.
async fn close(mut connection: Connection, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let closed = std::future::poll_fn(|context| connection.poll_closed(context));
    if let Ok(Err(error)) = pingora_timeout::tokio_timeout(LINGER, closed).await {
        debug!("a connection of HTTP/2 was closed by both sides: {error}");
    }
}
