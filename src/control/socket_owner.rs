//! The user at the other end of a connection on this machine, as the kernel tells it (`sock_diag(7)`).
//!
//! Both kinds of sockets are asked about in the same way. `SO_PEERCRED` says the same of a Unix socket, and
//! needs its descriptor, which Pingora shows as a number only.
//!
//! Only a socket that is held by a process has an inode. Once it is closed, the kernel goes on sending what
//! was written, and may call the socket root's: it is nobody's here.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_packet_sock_diag::unix::nlas::Nla;
use netlink_packet_sock_diag::unix::{
    ShowFlags, StateFlags as UnixStates, UnixRequest, UnixResponse,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddress};

/// A cookie in a request that means any (`INET_DIAG_NOCOOKIE`).
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// Asks for the user of a Unix socket, and is the type of the answer (`linux/unix_diag.h`); since Linux 5.3.
const UDIAG_SHOW_UID: u32 = 0x40;
const UNIX_DIAG_UID: u16 = 7;

/// The largest datagram that the kernel sends (netlink(7)).
const DATAGRAM: usize = 32 * 1024;

/// The number of a user.
pub(super) type Uid = u32;

/// The user at the other end of a TCP connection, by both ends as this side sees them and the cookie of this
/// end; none if nobody holds the other one. A peer that has reset its connection leaves its port to others, who
/// would be taken for it: so this end has to be there still when the other one has been found.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn of_tcp(peer: SocketAddr, local: SocketAddr, cookie: u64) -> io::Result<Option<Uid>> {
    let owner = find_tcp(peer, local, ANY_COOKIE)?;
    let is_there = find_tcp(local, peer, halves(cookie))?.is_some();
    Ok(owner.filter(|_| is_there))
}

/// The user of the TCP socket with these ends, as its own side sees them.
fn find_tcp(
    source: SocketAddr,
    destination: SocketAddr,
    cookie: [u8; 8],
) -> io::Result<Option<Uid>> {
    let (peer, local) = (canonical(source), canonical(destination));
    let id = SocketId {
        source_port: peer.port(),
        destination_port: local.port(),
        source_address: peer.ip(),
        destination_address: local.ip(),
        interface_id: 0,
        cookie,
    };
    let request = InetRequest {
        family: if peer.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: id,
    };
    let mut owner = None;
    ask(SockDiagMessage::InetRequest(request), 0, |told| {
        if let SockDiagMessage::InetResponse(socket) = told {
            owner = owner_of(&socket, peer, local);
        }
    })?;
    Ok(owner)
}

/// The user of the socket that was found, if it is the one that was looked for: the kernel may answer with
/// one that listens at the port.
fn owner_of(found: &InetResponse, peer: SocketAddr, local: SocketAddr) -> Option<Uid> {
    let (header, id) = (&found.header, &found.header.socket_id);
    let source = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
    let destination = SocketAddr::new(id.destination_address.to_canonical(), id.destination_port);
    (header.inode != 0 && source == peer && destination == local).then_some(header.uid)
}

/// The address without scope, and as IPv4 where it is mapped.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::to_canonical(&address.ip()), address.port())
}

/// The user at the other end of a connection over a Unix socket, by the cookie of this end; none if nobody
/// holds that end. The kernel finds none by its cookie alone, so all of the machine's are gone through: some
/// milliseconds for thousands.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn of_unix(cookie: u64) -> io::Result<Option<Uid>> {
    let request = UnixRequest {
        state_flags: UnixStates::ESTABLISHED,
        inode: 0,
        show_flags: ShowFlags::PEER | ShowFlags::from_bits_retain(UDIAG_SHOW_UID),
        cookie: ANY_COOKIE,
    };
    let (mut peer, mut owners) = (None, Vec::new());
    ask(SockDiagMessage::UnixRequest(request), NLM_F_DUMP, |told| {
        let SockDiagMessage::UnixResponse(socket) = told else {
            return;
        };
        if whole(socket.header.cookie) == cookie {
            peer = socket.peer();
        }
        owners.extend(uid(&socket).map(|uid| (socket.header.inode, uid)));
    })?;
    let Some(peer) = peer.filter(|inode| *inode != 0) else {
        return Ok(None);
    };
    let owner = owners.iter().find(|(inode, _)| *inode == peer);
    Ok(owner.map(|(_, uid)| *uid))
}

/// The user of a Unix socket; the crate does not know of it.
fn uid(socket: &UnixResponse) -> Option<Uid> {
    let mut value = [0; 4];
    let known = socket.nlas.iter().find_map(|nla| match nla {
        Nla::Other(other) if other.kind() == UNIX_DIAG_UID => Some(other),
        _ => None,
    })?;
    if known.value_len() != value.len() {
        return None;
    }
    known.emit_value(&mut value);
    Some(Uid::from_ne_bytes(value))
}

/// A socket's cookie as netlink has it, the other way round than [`whole`].
fn halves(cookie: u64) -> [u8; 8] {
    let mut halves = cookie.to_ne_bytes();
    if cfg!(target_endian = "big") {
        halves.rotate_left(4);
    }
    halves
}

/// A socket's cookie, of which netlink has the lower half first, each half in the machine's order.
fn whole(cookie: [u8; 8]) -> u64 {
    let half = |bytes: Option<&[u8; 4]>| u64::from(u32::from_ne_bytes(*bytes.unwrap_or(&[0; 4])));
    half(cookie.first_chunk()) | half(cookie.last_chunk()) << 32
}

/// Asks the kernel, and hands what it tells to `each`; a socket that is not there is not an error.
fn ask(
    request: SockDiagMessage,
    flags: u16,
    mut each: impl FnMut(SockDiagMessage),
) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &NetlinkAddress::new(0, 0), 0)?;
    let mut told = Vec::with_capacity(DATAGRAM);
    loop {
        told.clear();
        let (_, from) = socket.recv_from(&mut told, 0)?;
        if from.port_number() == 0 && is_last(&told, flags, &mut each)? {
            return Ok(());
        }
    }
}

/// Reads one datagram; whether nothing follows.
fn is_last(
    mut told: &[u8],
    flags: u16,
    each: &mut impl FnMut(SockDiagMessage),
) -> io::Result<bool> {
    while !told.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(told)
            .map_err(|error| io::Error::other(format!("sock_diag: {error}")))?;
        match message.payload {
            NetlinkPayload::InnerMessage(message) => each(message),
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => {
                let error = error.to_io();
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                return if is_missing { Ok(true) } else { Err(error) };
            }
            NetlinkPayload::Overrun(_) => return Err(io::Error::other("sock_diag: overrun")),
            _ => {}
        }
        // Messages begin at multiples of four bytes.
        let length = message.header.length.next_multiple_of(4) as usize;
        told = told.get(length..).unwrap_or_default();
    }
    Ok(flags & NLM_F_DUMP == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::{Duration, Instant};

    use pingora_core::protocols::SocketDigest;

    fn own() -> Uid {
        nix::unistd::geteuid().as_raw()
    }

    /// Waits until the kernel has noticed that the peer has closed.
    fn eventually_nobody(mut ask: impl FnMut() -> io::Result<Option<Uid>>) {
        let end = Instant::now() + Duration::from_secs(10);
        while ask().unwrap().is_some() {
            assert!(Instant::now() < end, "the peer has closed");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_tcp_peer_is_its_users_until_it_closes() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            let cookie = SocketDigest::from_raw_fd(server.as_raw_fd());
            let cookie = cookie.socket_cookie().unwrap();
            let ask = || of_tcp(peer, local, cookie);
            assert_eq!(ask().unwrap(), Some(own()), "{address}");
            let other = of_tcp(peer, local, cookie + 1).unwrap();
            assert_eq!(other, None, "{address}: this end is another by now");
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(ask().unwrap(), Some(own()), "{address}");
            drop(client);
            eventually_nobody(ask);
            // One that listens at the port is not the peer.
            let other = SocketAddr::new(local.ip(), 9);
            assert_eq!(
                find_tcp(local, other, ANY_COOKIE).unwrap(),
                None,
                "{address}"
            );
        }
    }

    #[test]
    fn a_mapped_peer_is_its_users() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("::ffff:127.0.0.1", port)).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let cookie = SocketDigest::from_raw_fd(server.as_raw_fd());
        let cookie = cookie.socket_cookie().unwrap();
        assert_eq!(
            of_tcp(peer, server.local_addr().unwrap(), cookie).unwrap(),
            Some(own())
        );
        drop(client);
    }

    #[test]
    fn a_unix_peer_is_its_users_until_it_closes() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let client = UnixStream::connect(folder.path().join("s")).unwrap();
        let (server, _) = listener.accept().unwrap();
        let digest = SocketDigest::from_raw_fd(server.as_raw_fd());
        let cookie = digest.socket_cookie().unwrap();
        assert_eq!(of_unix(cookie).unwrap(), Some(own()));
        drop(client);
        eventually_nobody(|| of_unix(cookie));
        assert_eq!(of_unix(u64::MAX - 1).unwrap(), None);
    }
}
