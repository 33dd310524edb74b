//! A connection of HTTP/2: each of its streams is a request, handed to the proxy or to the control
//! service by its path, as those of HTTP/1 are.
//!
//! h2 bounds what one stream or frame may cost. Here are the bounds on a connection: the time for its
//! preface, how long it may be idle, how often it may be wrong or change its mind.

mod request;
mod resets;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::{HeaderValue, StatusCode};
use log::{debug, info, warn};
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{
    self, H2Accept, H2Options, HttpSession, default_h2_options,
};
use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::sync::Notify;

use super::hold::StreamHold;
use super::intake::Manner;
use super::patience::Patience;
use super::{BodyOf, Front, Http2Client, LINGER, Service, leash, stopping};
use crate::answer::{Refusal, grpc};
use resets::Resets;

type Connection = h2::server::Connection<Stream, Bytes>;

/// How many streams of a connection may be malformed, as Pingora has it.
const MOST_REJECTED: usize = 32;

/// How many streams of a connection h2 may reset for what the client does wrong.
const MOST_ERRORS: usize = 100;

/// What a client may send ahead on one stream, and on all: one upload that nobody takes leaves the
/// others their share.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of one answer that the client does not take.
const SEND_BUFFER: usize = 128 * 1024;

/// The streams of a connection that are in use.
#[derive(Debug, Default)]
struct Active {
    count: AtomicUsize,
    none: Notify,
}

/// One stream in use.
struct InUse(Arc<Active>);

impl Active {
    fn begin(self: &Arc<Self>) -> InUse {
        self.count.fetch_add(1, Ordering::Relaxed);
        InUse(Arc::clone(self))
    }

    /// Returns once no stream has been in use for so long; never without a limit.
    async fn idle(&self, limit: Option<Duration>) {
        while self.count.load(Ordering::Relaxed) != 0 {
            self.none.notified().await;
        }
        match limit {
            Some(limit) => pingora_timeout::sleep(limit).await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.none.notify_one();
        }
    }
}

impl<P, C> Front<P, C>
where
    P: Service,
    C: Service,
{
    /// Serves the streams of a connection until either side has enough.
    pub(super) async fn serve_http2(
        self: &Arc<Self>,
        stream: Stream,
        manner: Manner,
        mut shutdown: ShutdownWatch,
    ) {
        let digest = Arc::new(Digest {
            ssl_digest: stream.get_ssl_digest(),
            timing_digest: stream.get_timing_digest(),
            proxy_digest: stream.get_proxy_digest(),
            socket_digest: stream.get_socket_digest(),
        });
        let peer = super::intake::peer(&stream);
        let handshake = server::handshake(stream, Some(self.http2_options()));
        let limit = self.options.handshake_timeout;
        let handshake = tokio::select! {
            biased;
            handshake = pingora_timeout::timeout(limit, handshake) => handshake,
            () = stopping(&mut shutdown) => return,
        };
        match handshake {
            Ok(Ok(connection)) => {
                self.accept_streams(connection, &digest, manner, shutdown)
                    .await;
            }
            Ok(Err(error)) => self.failures.note(peer, &error),
            Err(_elapsed) => {
                let error = super::intake::IntakeError::TooSlow(limit);
                self.failures.note(peer, &error);
            }
        }
    }

    /// The same for a client in cleartext, whose first bytes are already read.
    pub(super) async fn serve_http2_after(
        self: &Arc<Self>,
        client: Http2Client,
        shutdown: ShutdownWatch,
    ) {
        let manner = client.connection.manner;
        let transport = client.connection.into_transport();
        let Some(mut socket) = super::intake::socket(transport) else {
            debug!("HTTP/2 on a connection that is no socket is not spoken");
            return;
        };
        socket.rewind(&client.read);
        self.serve_http2(socket, manner, shutdown).await;
    }

    fn http2_options(&self) -> H2Options {
        let head = u32::try_from(self.options.limits.head).unwrap_or(u32::MAX);
        let mut options = default_h2_options();
        options
            .max_concurrent_streams(self.options.http2_streams)
            .max_header_list_size(head)
            .max_local_error_reset_streams(Some(MOST_ERRORS))
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER);
        options
    }

    async fn accept_streams(
        self: &Arc<Self>,
        mut connection: Connection,
        digest: &Arc<Digest>,
        manner: Manner,
        mut shutdown: ShutdownWatch,
    ) {
        let (active, resets) = (Arc::<Active>::default(), Arc::<Resets>::default());
        let (mut rejected, mut is_stopping) = (0, false);
        loop {
            let patience = if is_stopping {
                // Clients that have nothing in flight need not answer our farewell.
                Some(LINGER)
            } else {
                self.options.idle_timeout
            };
            let accepted = tokio::select! {
                biased;
                () = stopping(&mut shutdown), if !is_stopping => {
                    // What is in flight, and on its way, may go on; nothing more is to come.
                    connection.graceful_shutdown();
                    is_stopping = true;
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(digest)) => accepted,
                () = active.idle(patience) => return close(connection, Reason::NO_ERROR).await,
            };
            match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    self.spawn(session, active.begin(), &resets, manner, shutdown.clone());
                }
                Ok(Some(H2Accept::Rejected)) => rejected += 1,
                Ok(None) => return,
                Err(error) => {
                    debug!("a connection of HTTP/2 broke off: {error}");
                    return;
                }
            }
            if rejected >= MOST_REJECTED || resets.are_too_many() {
                info!("a connection of HTTP/2 is closed: too many malformed or reset streams");
                return close(connection, Reason::ENHANCE_YOUR_CALM).await;
            }
        }
    }

    /// Answers one stream on a task of its own.
    fn spawn(
        self: &Arc<Self>,
        session: HttpSession,
        in_use: InUse,
        resets: &Arc<Resets>,
        manner: Manner,
        shutdown: ShutdownWatch,
    ) {
        let (front, resets) = (Arc::clone(self), Arc::clone(resets));
        tokio::spawn(async move {
            front
                .answer_stream(session, resets, manner, &shutdown)
                .await;
            drop(in_use);
        });
    }

    async fn answer_stream(
        &self,
        mut session: HttpSession,
        resets: Arc<Resets>,
        manner: Manner,
        shutdown: &ShutdownWatch,
    ) {
        if let Err(error) = request::check(session.req_header(), &self.options.limits) {
            if let Err(error) = refuse(&mut session, &error.refusal(), self.body).await {
                debug!("a refused client left before it read why: {error}");
            }
            return;
        }
        let leash = self.connections.leash(leash::task_waker().await);
        let request = session.req_header_mut();
        if let Some(cookies) = request::joined_cookies(&request.headers)
            && let Err(error) = request.insert_header(COOKIE, cookies)
        {
            debug!("cookies stay apart: {error}");
        }
        let hold = Arc::new(StreamHold {
            leash: Arc::clone(&leash),
            patience: Patience::default(),
            manner,
        });
        request.extensions_mut().insert(Arc::clone(&hold));
        let is_control = manner.registers && self.is_registration(request.raw_path());
        let stream = stream::Stream::new(session, hold, resets);
        let session = ServerSession::new_custom(Box::new(stream));
        let exchange = if is_control {
            self.control.process_new_http(session, shutdown)
        } else {
            self.proxy.process_new_http(session, shutdown)
        };
        if leash.hold(exchange).await.is_none() {
            warn!("an exchange whose client and origin are both stuck is cut");
        }
    }
}

/// Says farewell, and waits for a moment until it is sent.
async fn close(mut connection: Connection, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let closed = std::future::poll_fn(|context| connection.poll_closed(context));
    if let Ok(Err(error)) = pingora_timeout::timeout(LINGER, closed).await {
        debug!("a connection of HTTP/2 was closed by both sides: {error}");
    }
}

/// Answers a request that no service has seen.
async fn refuse(session: &mut HttpSession, refusal: &Refusal, body: BodyOf) -> Result<()> {
    let content_type = session.req_header().headers.get(CONTENT_TYPE);
    if content_type.is_some_and(|value| grpc::is_media_type(value.as_bytes())) {
        let mut header = ResponseHeader::build(StatusCode::OK, Some(4))?;
        header.insert_header(CONTENT_TYPE, grpc::MEDIA_TYPE)?;
        for (name, value) in grpc::Status::of(refusal).fields(&refusal.message) {
            header.insert_header(name, value)?;
        }
        return session.write_response_header(Box::new(header), true);
    }
    let accept = session.req_header().headers.get(ACCEPT);
    let body = body(refusal, accept.map(HeaderValue::as_bytes));
    let is_bodiless = session.req_header().method == http::Method::HEAD;
    let mut header = ResponseHeader::build(refusal.status, Some(5))?;
    header.insert_header(CONTENT_TYPE, body.content_type)?;
    header.insert_header(CONTENT_LENGTH, body.bytes.len())?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    if let Some(methods) = refusal.allow {
        header.insert_header(ALLOW, methods)?;
    }
    session.set_write_timeout(Some(LINGER));
    session.write_response_header(Box::new(header), is_bodiless)?;
    if !is_bodiless {
        session.write_body(body.bytes, true).await?;
    }
    Ok(())
}
