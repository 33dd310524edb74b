//! A client's connection, with TLS or without.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Result;

/// How long one connection, or one answer, may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Makes connections to one proxy.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Clients come from several loopback addresses: one alone has not the ports for a connection for each
/// request.
static SOURCE: AtomicU8 = AtomicU8::new(0);

impl Connector {
    pub(crate) async fn connect(&self) -> Result<Stream> {
        tokio::time::timeout(PATIENCE, self.connect_patiently())
            .await
            .map_err(|_late| "no connection in 20 s")?
    }

    async fn connect_patiently(&self) -> Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        let source = 1 + SOURCE.fetch_add(1, Ordering::Relaxed) % 64;
        let source = Ipv4Addr::new(127, 0, 1, source);
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(Stream::Plain(stream));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let name = ServerName::try_from("localhost")?;
        let stream = connector.connect(name, stream).await?;
        let wanted = config.alpn_protocols.first().map(Vec::as_slice);
        let got = stream.get_ref().1.alpn_protocol();
        // HTTP/1.1 is what one speaks without ALPN.
        if got != wanted && !(got.is_none() && wanted == Some(b"http/1.1")) {
            return Err("the proxy does not speak the protocol".into());
        }
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// A connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
