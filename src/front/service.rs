//! What the front asks of the services behind it.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::BytesMut;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::tls::SslDigest;

use super::connection::Connection;
use super::h2::Incoming;
use super::head::Framing;
use super::idle::Deadline;
use super::intake::HttpsRedirect;
use super::leash::Leash;
use super::tls_client::TlsClient;

/// A service behind the front: an application of Pingora's, which may answer some requests without a
/// session of Pingora's.
pub trait Service: HttpServerApp + Send + Sync + 'static {
    /// A request that it has taken.
    type Taken: Send;

    /// The same of a stream of HTTP/2.
    type TakenStream: Send;

    /// Takes a request, if it can answer it without a session.
    fn take(&self, request: &Arrived<'_>) -> Option<Self::Taken>;

    /// The same for a stream of HTTP/2.
    fn take_stream(&self, request: &Incoming, caller: &Caller) -> Option<Self::TakenStream>;

    /// Answers the request of a stream that it has taken.
    fn serve_stream(
        &self,
        taken: Self::TakenStream,
        request: Incoming,
        leash: &Leash,
    ) -> impl Future<Output = ()> + Send;

    /// Answers a request that it has taken; `message` is its head, and what has been read of its body.
    /// The future is a part of an idle connection's, and so a small one.
    fn serve<'c>(
        &'c self,
        taken: Self::Taken,
        connection: &'c mut Connection,
        message: (BytesMut, BytesMut),
        timer: &'c mut Deadline,
        stop: &'c AtomicBool,
    ) -> impl Future<Output = Ended> + Send + 'c;
}

/// A request of HTTP/1 whose head has been checked.
pub struct Arrived<'a> {
    /// Its head, with the empty line.
    pub(crate) head: &'a [u8],
    /// What follows it.
    pub(crate) framing: Framing,
    pub(crate) connection: &'a Connection,
}

/// Who asks, and what the listener does with requests.
#[derive(Debug)]
pub struct Caller {
    /// The address; none behind a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// What is known of the TLS connection, if it is one.
    pub(crate) tls: Option<Arc<SslDigest>>,
    /// Whether the listener only sends its clients to https.
    pub(crate) redirect: HttpsRedirect,
}

impl Caller {
    /// The caller of a connection, by what is known of it.
    pub(super) fn of(
        socket: Option<&SocketDigest>,
        tls: Option<Arc<SslDigest>>,
        redirect: HttpsRedirect,
    ) -> Self {
        let peer = socket.and_then(SocketDigest::peer_addr);
        Self {
            address: peer
                .and_then(SocketAddr::as_inet)
                .map(std::net::SocketAddr::ip),
            tls,
            redirect,
        }
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
    /// The answer is complete, and was the last.
    Closed,
    /// The client is not to take what it has for all.
    Broken,
}
