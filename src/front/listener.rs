//! The steps between a connection and its first request: the PROXY protocol, then TLS, then the choice
//! between HTTP/1 and HTTP/2. One deadline holds for all of them.
//!
//! Pingora takes every connection for plain TCP, and this is done on the connection's own task:
//! Pingora has the PROXY protocol on TLS listeners alone, and keeps the room of a handshake for as
//! long as the connection lives.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use ipnet::IpNet;
use pingora::http::ResponseHeader;
use pingora_core::listeners::TlsAccept;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream as Socket;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::TlsRef;
use pingora_core::protocols::tls::server::handshake_with_callback;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, Shutdown, SocketDigest, Ssl, Stream,
};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::AsyncReadExt;

use super::client_hello;
use super::proxy_protocol::{self, Announced, Beginning, HeaderError};
use super::sniff;
use super::tls_client::TlsClient;

/// The protocol of a challenge of TLS-ALPN-01 (RFC 8737).
const ACME: &[u8] = b"acme-tls/1";

/// How a listener takes its connections in; by default plain, HTTP/1 alone.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListenerOptions {
    /// TLS, with its certificates and ALPN protocols; `None` for cleartext. HTTP/2 is spoken if `h2`
    /// is among the protocols and the client has chosen it.
    pub tls: Option<Arc<ServerConfig>>,
    /// The peers that begin each connection with a header of the PROXY protocol, and have to; a
    /// header from anybody else ends the connection. None by default.
    pub proxy_protocol: Vec<IpNet>,
    /// Whether a client in cleartext may speak HTTP/2 at once, by prior knowledge (RFC 9113, 3.3).
    pub http2_cleartext: bool,
    /// Whether every request is only sent to https; by default it is served. Excepted are ACME's
    /// challenges, and registrations from this machine.
    pub redirect_to_https: HttpsRedirect,
}

/// Whether a listener only sends its clients to https.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpsRedirect {
    /// It serves them.
    #[default]
    Off,
    /// To the proxy's public port of https.
    DefaultPort,
    /// To this port.
    Port(u16),
}

impl ListenerOptions {
    /// Whether nothing comes before the first request.
    pub(super) fn is_direct(&self) -> bool {
        self.tls.is_none() && self.proxy_protocol.is_empty()
    }

    /// Whether this peer announces its clients.
    pub(super) fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| {
            let address = peer.ip().to_canonical();
            self.proxy_protocol
                .iter()
                .any(|network| network.contains(&address))
        })
    }
}

/// The options of all listeners of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    /// Of every listener that has none of its own.
    pub(crate) common: Arc<ListenerOptions>,
    /// Of single listeners, by the address that they listen on.
    pub(crate) own: Vec<(SocketAddr, Arc<ListenerOptions>)>,
}

impl Listeners {
    /// Those of one worker. Its configurations of TLS, which each connection counts itself at, are its
    /// own; certificates, and the keys of tickets, it shares with the other workers'.
    pub(crate) fn of_worker(
        common: &ListenerOptions,
        own: &[(SocketAddr, ListenerOptions)],
    ) -> Self {
        let copy = |listener: &ListenerOptions| {
            let tls = listener.tls.as_deref().cloned();
            Arc::new(ListenerOptions {
                tls: tls.map(Arc::new),
                ..listener.clone()
            })
        };
        Self {
            common: copy(common),
            own: own
                .iter()
                .map(|(address, listener)| (*address, copy(listener)))
                .collect(),
        }
    }

    /// The options of the listener that a connection came through.
    pub(super) fn of(&self, stream: &Stream) -> &Arc<ListenerOptions> {
        if self.own.is_empty() {
            return &self.common;
        }
        let digest = stream.get_socket_digest();
        let local = digest
            .as_ref()
            .and_then(|digest| digest.local_addr())
            .and_then(PeerAddress::as_inet);
        local.map_or(&self.common, |local| self.at(*local))
    }

    /// The options of the listener for a connection to this address.
    fn at(&self, local: SocketAddr) -> &Arc<ListenerOptions> {
        let is_any = |address: &SocketAddr| {
            address.ip().is_unspecified()
                && address.port() == local.port()
                && address.is_ipv4() == local.is_ipv4()
        };
        let exact = self.own.iter().find(|(address, _)| *address == local);
        exact
            .or_else(|| self.own.iter().find(|(address, _)| is_any(address)))
            .map_or(&self.common, |(_, listener)| listener)
    }
}

/// The outcome of a connection before its first request.
pub(super) enum Accepted {
    /// HTTP in cleartext, with the bytes that are already read.
    Plain(Stream, BytesMut),
    /// HTTP/1 within TLS.
    Encrypted(Stream),
    /// HTTP/2 within TLS.
    Http2(Stream),
    /// A request in cleartext where TLS is spoken.
    NotEncrypted(Stream),
    /// A client that asks for a name without a certificate.
    Unknown(Stream),
    /// It has been dropped.
    Nothing,
}

impl Accepted {
    /// The connection, unless it has been dropped.
    pub(super) fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Plain(stream, _)
            | Self::Encrypted(stream)
            | Self::Http2(stream)
            | Self::NotEncrypted(stream)
            | Self::Unknown(stream) => Some(stream),
            Self::Nothing => None,
        }
    }
}

/// Why a connection came to nothing.
#[derive(Debug, Error)]
pub(super) enum AcceptError {
    #[error(transparent)]
    Proxy(#[from] HeaderError),
    #[error("a PROXY protocol header from a peer that is not in proxy_protocol.trusted")]
    Stranger,
    #[error("the client spoke neither TLS nor HTTP")]
    Garbage,
    #[error("the client left")]
    Gone,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("no TLS: {0}")]
    Tls(Box<pingora_core::Error>),
    #[error("it was not ready after {0:?}")]
    TooSlow(Duration),
    #[error("the head of a request was not whole after {0:?} (timeouts.head)")]
    SlowHead(Duration),
}

/// Keeps what Pingora's digest leaves out of a handshake.
struct KeepClient;

#[async_trait]
impl TlsAccept for KeepClient {
    async fn handshake_complete_callback(
        &self,
        tls: &TlsRef,
    ) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        Some(Arc::new(TlsClient::new(
            tls.server_name(),
            tls.peer_certificate_der(),
        )))
    }
}

/// The peer as the kernel knows it.
pub(super) fn peer(stream: &Stream) -> Option<SocketAddr> {
    let digest = stream.get_socket_digest()?;
    digest.peer_addr().and_then(PeerAddress::as_inet).copied()
}

/// The mode in which the requests of a connection are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenerMode {
    /// Whether they are only sent to https.
    pub(super) redirect: HttpsRedirect,
    /// Whether registrations are taken.
    pub(super) registers: bool,
}

impl ListenerMode {
    /// The mode of a listener that serves its clients.
    pub(super) const SERVING: Self = Self {
        redirect: HttpsRedirect::Off,
        registers: true,
    };

    /// The mode for a connection that has been taken in. A listener that redirects takes
    /// registrations from this machine alone: what others send, tokens too, is for TLS.
    pub(super) fn of(redirect: HttpsRedirect, stream: &Stream) -> Self {
        Self {
            redirect,
            registers: redirect == HttpsRedirect::Off || is_local(stream),
        }
    }
}

/// Whether a connection comes from this machine itself, not through a load balancer.
fn is_local(stream: &Stream) -> bool {
    let is_loopback = |peer: SocketAddr| peer.ip().to_canonical().is_loopback();
    stream.get_proxy_digest().is_none() && peer(stream).is_some_and(is_loopback)
}

/// The socket of a connection in cleartext.
pub(super) fn socket(stream: Stream) -> Option<Box<Socket>> {
    stream.into_any().downcast().ok()
}

/// Takes a connection in, within the deadline. A client of TLS that `sheds` is closed in place of its handshake.
pub(super) async fn admit(
    stream: Stream,
    listener: &ListenerOptions,
    limit: Duration,
    sheds: impl Fn(&Socket) -> bool,
) -> Result<Accepted, AcceptError> {
    match pingora_timeout::tokio_timeout(limit, take_in(stream, listener, sheds)).await {
        Ok(accepted) => accepted,
        Err(_elapsed) => Err(AcceptError::TooSlow(limit)),
    }
}

async fn take_in(
    stream: Stream,
    listener: &ListenerOptions,
    sheds: impl Fn(&Socket) -> bool,
) -> Result<Accepted, AcceptError> {
    let peer = peer(&stream);
    let Some(mut socket) = socket(stream) else {
        let reason = io::Error::other("the connection is no socket");
        return Err(reason.into());
    };
    let mut bytes = BytesMut::new();
    if listener.trusts(peer) {
        read_header(&mut socket, &mut bytes, peer).await?;
    } else if !listener.proxy_protocol.is_empty() {
        refuse_header(&mut socket, &mut bytes).await?;
    }
    let Some(config) = &listener.tls else {
        return Ok(Accepted::Plain(socket, bytes));
    };
    if bytes.is_empty() {
        read_more(&mut socket, &mut bytes).await?;
    }
    match bytes.first().copied() {
        Some(first) if sniff::is_tls(first) => {}
        Some(first) if sniff::is_http(first) => return Ok(Accepted::NotEncrypted(socket)),
        _ => return Err(AcceptError::Garbage),
    }
    if sheds(&socket) {
        return Ok(Accepted::Nothing);
    }
    if !client_hello::is_known(config, &mut socket, &mut bytes).await? {
        return Ok(Accepted::Unknown(socket));
    }
    socket.rewind(&bytes);
    drop(bytes);
    let acceptor = Acceptor::from_server_config(Arc::clone(config));
    let stream = handshake_with_callback(&acceptor, *socket, &KeepClient)
        .await
        .map_err(AcceptError::Tls)?;
    let protocol = stream.selected_alpn_proto();
    let is_http2 = protocol == Some(ALPN::H2);
    let mut stream: Stream = Box::new(stream);
    if matches!(&protocol, Some(ALPN::Custom(own)) if own.protocol() == ACME) {
        // A challenge of TLS-ALPN-01: the handshake was all of it (RFC 8737, 3).
        Shutdown::shutdown(&mut *stream).await;
        return Ok(Accepted::Nothing);
    }
    Ok(if is_http2 {
        Accepted::Http2(stream)
    } else {
        Accepted::Encrypted(stream)
    })
}

/// Reads on; an error at the end of the stream.
pub(super) async fn read_more(
    socket: &mut Socket,
    bytes: &mut BytesMut,
) -> Result<(), AcceptError> {
    // The usual ClientHello, with its post-quantum key, comes in one piece.
    bytes.reserve(2048);
    match socket.read_buf(bytes).await? {
        0 => Err(AcceptError::Gone),
        _ => Ok(()),
    }
}

/// Reads the header of a trusted peer; what follows it stays in `bytes`.
async fn read_header(
    socket: &mut Socket,
    bytes: &mut BytesMut,
    peer: Option<SocketAddr>,
) -> Result<(), AcceptError> {
    let (length, announced) = loop {
        read_more(socket, bytes).await?;
        if let Some(header) = proxy_protocol::parse(bytes)? {
            break header;
        }
    };
    bytes.advance(length);
    announce(socket, announced, peer);
    Ok(())
}

/// Waits until it is clear that a peer that may not send a header sends none.
async fn refuse_header(socket: &mut Socket, bytes: &mut BytesMut) -> Result<(), AcceptError> {
    loop {
        read_more(socket, bytes).await?;
        match proxy_protocol::beginning(bytes) {
            Beginning::Header => return Err(AcceptError::Stranger),
            Beginning::Other => return Ok(()),
            Beginning::Open => {}
        }
    }
}

/// Gives a connection the client that was announced. That it was relayed is told by the presence of
/// a proxy digest, which holds the peer as the kernel knows it.
fn announce(socket: &mut Socket, announced: Announced, peer: Option<SocketAddr>) {
    if let Announced::Client(client) = announced {
        let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
        // The cell is new, so it is empty.
        if digest
            .peer_addr
            .set(Some(PeerAddress::Inet(client)))
            .is_ok()
        {
            socket.set_socket_digest(digest);
        }
    }
    if let Ok(response) = ResponseHeader::build(200, Some(0)) {
        let relay = ProxyDigest::new(Box::new(response), Some(Box::new(peer)));
        socket.set_proxy_digest(relay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;

    #[test]
    fn each_listener_has_its_options() {
        let own = |address: &str| {
            let listener = Arc::new(ListenerOptions {
                http2_cleartext: true,
                ..ListenerOptions::default()
            });
            (address.parse().unwrap(), listener)
        };
        let listeners = Listeners {
            common: Arc::default(),
            own: vec![own("127.0.0.1:443"), own("0.0.0.0:443"), own("[::]:80")],
        };
        let cases = [
            ("127.0.0.1:443", Some(0)),
            ("192.0.2.1:443", Some(1)),
            ("[::1]:80", Some(2)),
            ("[::1]:443", None),
            ("127.0.0.1:80", None),
        ];
        for (local, index) in cases {
            let found = listeners.at(local.parse().unwrap());
            let expected = index.map_or(&listeners.common, |index: usize| &listeners.own[index].1);
            assert!(Arc::ptr_eq(found, expected), "{local}");
        }
    }

    #[tokio::test]
    async fn a_handshake_keeps_the_name_that_was_asked_for() {
        let made = rcgen::generate_simple_self_signed(vec!["shop.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = || Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(4096);
        let client = tokio_rustls::TlsConnector::from(Arc::new(client));
        let client = tokio::spawn(client.connect("shop.test".try_into().unwrap(), far));
        let acceptor = Acceptor::from_server_config(Arc::new(config));
        let stream = handshake_with_callback(&acceptor, near, &KeepClient).await;
        let digest = stream.unwrap().get_ssl_digest().unwrap();
        let kept = digest.extension.get::<TlsClient>().unwrap();
        assert_eq!(kept.server_name.as_deref(), Some("shop.test"));
        assert_eq!(kept.certificate, None);
        drop(client);
    }
}
