//! What the front asks of the services behind it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::server::ShutdownWatch;

use super::downstream::Downstream;
use super::idle::Deadline;
use super::intake::HttpsRedirect;
use super::leash::Leash;
use super::request::Request;
use super::tls_client::TlsClient;

/// Whom a request is for.
pub enum Decision<P> {
    /// The control service.
    Control,
    /// The proxy, which has decided what to do with it.
    Proxy(P),
}

/// The proxy behind the front. As an application of Pingora's it serves requests too, for `engine:
/// pingora`.
pub trait Service: HttpServerApp + Send + Sync + 'static {
    /// What has been decided about a request.
    type Plan: Send;

    /// Whether a request is for the control service.
    fn is_control(&self, request: &Request) -> bool;

    /// Decides what becomes of a request.
    fn decide(&self, request: &Request) -> impl Future<Output = Decision<Self::Plan>> + Send;

    /// The field of a request's id, in lower case.
    fn id_field(&self) -> &'static str;

    /// Answers a request as it was decided.
    fn serve<'c, D: Downstream + 'c>(
        &'c self,
        plan: Self::Plan,
        request: Box<Request>,
        downstream: D,
        abort: Arc<Leash>,
        timer: &'c mut Deadline,
    ) -> impl Future<Output = Outcome<'c>> + Send + 'c;
}

/// The control service behind the front.
pub trait ControlService: HttpServerApp + Send + Sync + 'static {
    /// Answers a request.
    fn answer<'c, D: Downstream + 'c>(
        &'c self,
        request: Box<Request>,
        downstream: D,
        shutdown: &'c ShutdownWatch,
    ) -> impl Future<Output = Ended> + Send + 'c;
}

/// What an exchange leaves behind.
pub enum Outcome<'c> {
    /// The connection.
    Ended(Ended),
    /// Another protocol on it, until its end.
    Switched(Pin<Box<dyn Future<Output = Ended> + Send + 'c>>),
}

/// Who asks, and what the listener does with requests.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The address; none behind a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Both ends of the connection.
    pub(crate) socket: Option<Arc<SocketDigest>>,
    /// What a relay has said about the client, if it has.
    pub(crate) relay: Option<Arc<ProxyDigest>>,
    /// What is known of the TLS connection, if it is one.
    pub(crate) tls: Option<Arc<SslDigest>>,
    /// Whether the listener only sends its clients to https.
    pub(crate) redirect: HttpsRedirect,
    /// Whether the listener takes registrations from this client.
    pub(crate) registers: bool,
}

impl Caller {
    /// The caller of a connection, by what is known of it.
    pub(crate) fn of(
        socket: Option<Arc<SocketDigest>>,
        relay: Option<Arc<ProxyDigest>>,
        tls: Option<Arc<SslDigest>>,
        redirect: HttpsRedirect,
        registers: bool,
    ) -> Self {
        let peer = socket.as_deref().and_then(SocketDigest::peer_addr);
        Self {
            address: peer
                .and_then(SocketAddr::as_inet)
                .map(std::net::SocketAddr::ip),
            socket,
            relay,
            tls,
            redirect,
            registers,
        }
    }

    /// A caller of whom nothing is known.
    pub(crate) fn nobody() -> Self {
        Self::of(None, None, None, HttpsRedirect::Off, true)
    }

    /// Who is at the other end of the TLS connection, if it is one.
    pub(crate) fn tls_client(&self) -> Option<&TlsClient> {
        self.tls.as_ref()?.extension.get()
    }
}

/// What has become of a connection when its exchange has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Another request may follow.
    Kept,
    /// The response is complete, and was the last.
    Closed,
    /// The client is not to take what it has for all.
    Broken,
}
