//! A connection to a target.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nix::sys::socket::{setsockopt, sockopt};
use pingora_core::server::configuration::ServerConf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::pool::Kept;
use crate::proxy::peer::Address;
use crate::route::Instance;

/// A connection to a target, without TLS.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    lead: Lead,
}

/// Where a connection leads, and since when.
#[derive(Clone, Debug)]
pub(super) struct Lead {
    pub(super) place: Place,
    /// The serial number of the newest instance that there was when the connection was made.
    pub(super) newest: u64,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Where a connection leads: an [`Address`] to keep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Inet(SocketAddr),
    Unix(Arc<str>),
}

/// This machine's addresses to connect from; without any, as the system chooses.
#[derive(Debug, Default)]
pub(super) struct Sources {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Sources {
    /// Those of a server's settings. What is no address is none; the configuration has been checked.
    pub(super) fn of(conf: &ServerConf) -> Self {
        Self {
            v4: addresses(&conf.client_bind_to_ipv4),
            v6: addresses(&conf.client_bind_to_ipv6),
        }
    }

    /// One of them, for a connection to this address.
    fn choose(&self, target: &SocketAddr) -> Option<IpAddr> {
        fn any<T: Copy>(addresses: &[T]) -> Option<T> {
            addresses
                .get(fastrand::usize(..addresses.len().max(1)))
                .copied()
        }
        match target {
            SocketAddr::V4(_) => any(&self.v4).map(IpAddr::V4),
            SocketAddr::V6(_) => any(&self.v6).map(IpAddr::V6),
        }
    }
}

fn addresses<T: std::str::FromStr>(texts: &[String]) -> Vec<T> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Connects from one of this machine's addresses.
async fn connect_from(source: IpAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The port is chosen when both ends are known: ports last for each target, not for all.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(target).await
}

impl Socket {
    /// Connects; the caller sets the limit.
    pub(super) async fn connect(address: Address<'_>, sources: &Sources) -> io::Result<Self> {
        // Whoever registers from now on may be somebody else at the same place.
        let newest = Instance::newest();
        match address {
            Address::Inet(address) => {
                let stream = match sources.choose(&address) {
                    Some(source) => connect_from(source, address).await?,
                    None => TcpStream::connect(address).await?,
                };
                // A head and the body behind it may be two writes.
                stream.set_nodelay(true)?;
                Ok(Self {
                    stream: Stream::Tcp(stream),
                    lead: Lead {
                        place: Place::Inet(address),
                        newest,
                    },
                })
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                Ok(Self::unix(stream, path, newest))
            }
        }
    }

    pub(super) fn unix(stream: UnixStream, path: &str, newest: u64) -> Self {
        Self {
            stream: Stream::Unix(stream),
            lead: Lead {
                place: Place::Unix(path.into()),
                newest,
            },
        }
    }

    /// Reads into `room`; 0 at the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(room);
        let read = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, &mut buffer),
        };
        read.map_ok(|()| buffer.filled().len())
    }

    /// Writes some of `bytes`.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }
}

impl Kept for Socket {
    fn lead(&self) -> &Lead {
        &self.lead
    }

    /// Whether nothing has come over it, its end neither. As long as nothing has, this is no system call.
    fn is_usable(&self) -> bool {
        let mut byte = [0];
        let read = match &self.stream {
            Stream::Tcp(stream) => stream.try_read(&mut byte),
            Stream::Unix(stream) => stream.try_read(&mut byte),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
