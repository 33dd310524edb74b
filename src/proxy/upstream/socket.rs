//! A connection to an upstream.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker, ready};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use pingora_core::server::configuration::ServerConf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

#[cfg(test)]
use super::key::UpstreamKey;
use super::key::{KeyRef, Origin};
use super::pool::Poolable;
use super::tls::{self, Profiles};
use crate::front::Caller;
use crate::proxy::guard::Guard;
use crate::proxy::peer::Address;
use crate::proxy::rules::failure::NoHttp2;
use crate::route::{Instance, Protocol, Target};

/// A connection to an upstream that speaks HTTP/1, or does not speak yet.
#[derive(Debug)]
pub(in crate::proxy) struct Socket {
    stream: Stream,
    origin: Origin,
}

#[derive(Debug)]
enum Stream {
    Raw(Raw),
    Tls(Box<TlsStream<Raw>>),
}

/// A connection without TLS.
#[derive(Debug)]
enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// This machine's addresses to connect from; without any, as the system chooses.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Sources {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Sources {
    /// Those of a server's settings. What is not an address is left out; the configuration has been checked.
    pub(in crate::proxy) fn of(conf: &ServerConf) -> Self {
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

/// Connects, from one of this machine's addresses if there is a `source`.
async fn connect_tcp(
    source: Option<IpAddr>,
    target: SocketAddr,
    share: Share,
) -> io::Result<TcpStream> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    leaves_enough(socket.as_raw_fd(), share)?;
    if let Some(source) = source {
        // The port is chosen when both ends are known: ports last for each target, not for all.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(target).await
}

/// The part of the descriptors that may be taken when a connection is opened for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Share {
    /// Seven eighths: the rest is for clients, control and registration alone.
    Usual,
    /// Half, for a client that has taken much already: its connections, and those to upstreams for it, leave the
    /// rest to others.
    Half,
}

impl Share {
    /// The share of a client.
    pub(in crate::proxy) fn of(caller: &Caller) -> Self {
        if caller.takes_much {
            Self::Half
        } else {
            Self::Usual
        }
    }

    fn of_descriptors(self, descriptors: u64) -> RawFd {
        let most = match self {
            Self::Usual => descriptors / 8 * 7,
            Self::Half => descriptors / 2,
        };
        RawFd::try_from(most).unwrap_or(RawFd::MAX)
    }
}

/// Checks that a new connection leaves descriptors for others. The system gives out the lowest that is free, so
/// a high one says that all below it are taken.
///
/// # Errors
/// The one of a process that has none left.
pub(in crate::proxy) fn leaves_enough(socket: RawFd, share: Share) -> io::Result<()> {
    static DESCRIPTORS: LazyLock<u64> = LazyLock::new(|| {
        let limits = rlimit::Resource::NOFILE.get();
        limits.map_or(1024, |(soft, _)| soft)
    });
    if socket < share.of_descriptors(*DESCRIPTORS) {
        return Ok(());
    }
    Err(Errno::EMFILE.into())
}

impl Socket {
    /// Connects; the caller sets the limit. The handshake of TLS belongs to connecting.
    pub(in crate::proxy) async fn connect(
        target: &Target,
        (address, share): (Address<'_>, Share),
        sources: &Sources,
        profiles: &Profiles,
        guard: &Guard,
    ) -> io::Result<Self> {
        // Whoever registers from now on may be somebody else at the same place.
        let newest = Instance::newest();
        let raw = Raw::connect((address, share), sources, guard).await?;
        let stream = match &target.tls {
            None => Stream::Raw(raw),
            Some(tls) => {
                // Boxed: a handshake is large, and no part of every exchange.
                let stream = Box::pin(profiles.secure(tls, target.protocol, raw)).await?;
                if target.protocol == Protocol::H2 && !tls::speaks_http2(&stream) {
                    return Err(io::Error::other(NoHttp2));
                }
                Stream::Tls(Box::new(stream))
            }
        };
        Ok(Self {
            stream,
            origin: Origin {
                key: KeyRef::new(target, address).to_owned(),
                newest,
            },
        })
    }

    /// A connection that is there already.
    #[cfg(test)]
    pub(in crate::proxy) fn unix(stream: UnixStream, path: &str, newest: u64) -> Self {
        let key = UpstreamKey::unix(path);
        Self {
            stream: Stream::Raw(Raw::Unix(stream)),
            origin: Origin { key, newest },
        }
    }

    /// Whether HTTP/2 is spoken over it.
    pub(in crate::proxy) fn is_http2(&self, protocol: Protocol) -> bool {
        match &self.stream {
            Stream::Raw(_) => protocol == Protocol::H2c,
            Stream::Tls(stream) => tls::speaks_http2(stream),
        }
    }

    /// Reads into `room`; 0 at the end of the stream. Over TLS that is the peer's word: an end without it
    /// is an error.
    pub(in crate::proxy) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(room);
        let read = AsyncRead::poll_read(Pin::new(self), context, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }

    /// Writes some of `bytes`.
    pub(in crate::proxy) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Raw(raw) => raw.poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// Ready once everything that was written is on its way.
    pub(in crate::proxy) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Raw(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Where it leads.
    pub(in crate::proxy) fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl Poolable for Socket {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether nothing has come over it, its end neither. As long as nothing has, this is no system call.
    fn is_usable(&mut self) -> bool {
        match &mut self.stream {
            Stream::Raw(raw) => raw.is_silent(),
            // What comes may be of TLS alone, such as a ticket.
            Stream::Tls(stream) => {
                let mut byte = [0];
                let mut buffer = ReadBuf::new(&mut byte);
                let mut nobody = Context::from_waker(Waker::noop());
                Pin::new(stream)
                    .poll_read(&mut nobody, &mut buffer)
                    .is_pending()
            }
        }
    }

    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Stream::Raw(raw) => raw.poll_heard(context),
            Stream::Tls(stream) => {
                let mut byte = [0];
                let mut buffer = ReadBuf::new(&mut byte);
                Pin::new(stream).poll_read(context, &mut buffer).map(drop)
            }
        }
    }
}

impl Raw {
    async fn connect(
        (address, share): (Address<'_>, Share),
        sources: &Sources,
        guard: &Guard,
    ) -> io::Result<Self> {
        match address {
            Address::Inet(address) => {
                guard.check(address)?;
                let stream = connect_tcp(sources.choose(&address), address, share).await?;
                // A head and the body behind it may be two writes.
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => {
                let stream = guard.connect_unix(path).await?;
                leaves_enough(stream.as_raw_fd(), share)?;
                Ok(Self::Unix(stream))
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// Ready once something has come, or the end has.
    fn poll_heard(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let ready = match self {
                Self::Tcp(stream) => stream.poll_read_ready(context),
                Self::Unix(stream) => stream.poll_read_ready(context),
            };
            // What the runtime remembers may be over.
            if ready!(ready).is_err() || !self.is_silent() {
                return Poll::Ready(());
            }
        }
    }

    fn is_silent(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Raw {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Raw {
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
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Raw(raw) => Pin::new(raw).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
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
            Stream::Raw(raw) => Pin::new(raw).poll_write_vectored(context, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Socket::poll_flush(self.get_mut(), context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Raw(raw) => Pin::new(raw).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
