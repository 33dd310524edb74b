//! The front of a connection: Pingora hands every accepted connection to [`Front`], and the front reads
//! single requests from it, each into one [`Request`], for the proxy or the control service behind the same
//! socket. Both answer through a [`Downstream`].
//!
//! While a connection is idle only the small future of `Front::next_head` waits for it; what an exchange
//! needs exists only during a request. The front also gives the head of a request a total deadline and a
//! strict check (`head`), which Pingora 0.9.1 does not.
//!
//! Pingora takes every connection for plain TCP: what comes before HTTP (`listener`: the PROXY
//! protocol, TLS), and the choice between HTTP/1 and HTTP/2 (`sniff`, `h2`), is made here.

mod abort;
mod accept;
mod accepted;
mod balance;
mod caller;
mod chunked;
mod client_hello;
mod clients;
mod connection;
mod connections;
mod control_only;
mod conversation;
mod downstream;
mod downstream_handle;
mod duplicate;
mod engine;
mod failures;
mod fields;
mod frames;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod h2;
mod head;
mod idle;
mod lingering_close;
mod listener;
mod overload;
mod pace;
mod pingora;
mod pingora_io;
mod proxy_protocol;
mod reply;
mod request;
mod request_id;
mod reset;
mod response_timer;
mod service;
mod sniff;
mod tls_client;
mod upload_watch;
mod upstream_timeouts;
mod websocket;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::Duration;

use log::debug;
use pingora_core::server::ShutdownWatch;

use crate::reply::{Body, Refusal};

pub(crate) use abort::AbortHandle;
pub(crate) use abort::{CLOSE_TIMEOUT, Drained};
pub(crate) use balance::{Balance, Seat};
pub(crate) use caller::Caller;
pub(crate) use chunked::BadChunk;
pub(crate) use clients::ClientMeter;
#[cfg(test)]
use clients::test_ticket;
pub use clients::{ClientLimit, ClientLimits, Clients, LimitCounts};
pub(crate) use connection::Connection;
pub use connections::Connections;
pub(crate) use control_only::ControlOnly;
pub(crate) use downstream::{After, Downstream, DownstreamError, ResponseStart};
pub(crate) use downstream_handle::DownstreamHandle;
pub(crate) use duplicate::duplicate;
pub use engine::Engine;
use failures::Failures;
pub(crate) use fields::{Field, Fields, decimal, is_padded, list};
pub(crate) use framing::{
    Body as BodyScan, CHUNK_END, CHUNK_HEAD, Framing, LAST_CHUNK, chunk_head,
};
pub(crate) use h2::poll_room;
pub(crate) use head::{HeadError, HeadLimits, framing_of};
pub(crate) use idle::ReusableTimer;
pub(crate) use listener::Listeners;
pub use listener::{HttpsRedirect, ListenerOptions};
use overload::Overload;
pub(crate) use overload::OverloadLimits;
pub(crate) use overload::Shed;
pub(crate) use pace::{Now, Pace, TooSlow};
pub(crate) use pingora::keep_as_asked;
use reply::LINGER;
pub(crate) use reply::{DRAIN, Reply, drain};
pub(crate) use request::ConnectionOptions;
pub use request::Request;
#[cfg(test)]
pub(crate) use request::tests::request as test_request;
pub(crate) use request_id::RequestId;
pub use request_id::RequestIds;
pub(crate) use service::{ControlService, Decision, Outcome, Service};
pub use tls_client::TlsClient;
pub(crate) use upstream_timeouts::UpstreamSilent;
pub(crate) use websocket::FrameLimits;

/// The options of the front.
#[derive(Clone, Debug)]
pub(crate) struct FrontOptions {
    pub(crate) limits: HeadLimits,
    /// Total time for a head, from its first byte on.
    pub(crate) head_timeout: Duration,
    /// Total time for what comes before the first request: PROXY protocol, TLS, HTTP/2's preface.
    pub(crate) handshake_timeout: Duration,
    /// Time without a request after which a connection is closed.
    pub(crate) idle_timeout: Option<Duration>,
    /// How listeners take connections in.
    pub(crate) listeners: Listeners,
    /// How many streams of one connection a client may have open at a time.
    pub(crate) http2_streams: u32,
    /// The engine that carries the requests.
    pub(crate) engine: Engine,
    /// How requests get their ids.
    pub(crate) request_ids: RequestIds,
    /// The limits on the WebSocket frames and messages that a client sends; `None` for no limits.
    pub(crate) frames: Option<Arc<FrameLimits>>,
    /// When requests are shed; `None` for never.
    pub(crate) overload: Option<OverloadLimits>,
}

/// The body of a refusal, as the clients of the services know it; by the request's `Accept` field,
/// where that is known.
type BodyOf = fn(&Refusal, Option<&[u8]>) -> Body;

/// The application that Pingora's listeners feed: one socket, two services behind it.
///
/// Mount it as `pingora_core::services::listening::Service<Front<_, _>>`; `DynamicProxy::service`
/// does so.
pub(crate) struct Front<P, C> {
    proxy: Arc<P>,
    control: Arc<C>,
    options: FrontOptions,
    connections: Arc<Connections>,
    clients: Arc<Clients>,
    overload: Overload,
    failures: Failures,
    refused: Failures,
    body: BodyOf,
    /// Done once somebody waits for the server's stop, on behalf of all connections.
    stop_watch: Once,
    /// Whether the server has begun to stop: read by all connections, and written once.
    is_stopping: AtomicBool,
    /// The place among other workers, if there are any.
    seat: Option<Seat<Self>>,
}

impl<P, C> Front<P, C> {
    pub(crate) fn new(
        proxy: P,
        control: C,
        options: FrontOptions,
        connections: Arc<Connections>,
        (clients, shed): (Arc<Clients>, Arc<Shed>),
    ) -> Self {
        Self {
            proxy: Arc::new(proxy),
            control: Arc::new(control),
            overload: Overload::new(options.overload, shed),
            options,
            connections,
            clients,
            failures: Failures::new("no connection"),
            refused: Failures::new("refused"),
            body: Refusal::body,
            stop_watch: Once::new(),
            is_stopping: AtomicBool::new(false),
            seat: None,
        }
    }

    /// This front as one of several workers.
    pub(crate) fn seated(mut self, seat: Seat<Self>) -> Self {
        self.seat = Some(seat);
        self
    }
}

impl<C> Front<ControlOnly, C> {
    /// A front with the control API behind it, for every path.
    pub(crate) fn of_control(
        control: C,
        options: FrontOptions,
        connections: Arc<Connections>,
        clients: Arc<Clients>,
    ) -> Self {
        Self {
            body: |refusal, _accept| refusal.problem(),
            ..Self::new(
                ControlOnly,
                control,
                options,
                connections,
                (clients, Arc::default()),
            )
        }
    }
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
