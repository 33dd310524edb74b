//! Who asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;

use super::listener::HttpsRedirect;
use super::tls_client::TlsClient;

/// Who asks, and what the listener does with requests.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The address; none behind a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Both ends of the connection.
    pub(crate) socket: Option<Arc<SocketDigest>>,
    /// The proxy digest of a sender of the PROXY protocol, which holds the sender's own address.
    pub(crate) relay: Option<Arc<ProxyDigest>>,
    /// Information about the TLS connection, if it is one.
    pub(crate) tls: Option<Arc<SslDigest>>,
    /// Whether the listener only sends its clients to https.
    pub(crate) redirect: HttpsRedirect,
    /// Whether the listener takes registrations from this client.
    pub(crate) registers: bool,
    /// Whether it has more than half of the connections that one client may have: for its requests no connection
    /// to an upstream is opened beyond half of the descriptors, so that the rest is for others.
    pub(crate) takes_much: bool,
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
        Self {
            address: peer_of(socket.as_deref()).map(|peer| peer.ip()),
            socket,
            relay,
            tls,
            redirect,
            registers,
            takes_much: false,
        }
    }

    /// A caller of whom nothing is known.
    pub(crate) fn nobody() -> Self {
        Self::of(None, None, None, HttpsRedirect::Off, true)
    }

    /// The address and port of the connection; none behind a Unix socket.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        peer_of(self.socket.as_deref())
    }

    /// Who is at the other end of the TLS connection, if it is one.
    pub(crate) fn tls_client(&self) -> Option<&TlsClient> {
        self.tls.as_ref()?.extension.get()
    }
}

fn peer_of(socket: Option<&SocketDigest>) -> Option<SocketAddr> {
    let peer = socket?.peer_addr()?;
    PeerAddress::as_inet(peer).copied()
}
