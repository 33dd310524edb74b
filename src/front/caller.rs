//! Who asks.

use std::net::IpAddr;
use std::sync::Arc;

use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;

use super::intake::HttpsRedirect;
use super::tls_client::TlsClient;

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
