//! The end of a connection that its client cannot take for the end of a response.

use std::mem::size_of;
use std::os::fd::AsRawFd;

use log::debug;
use nix::libc;
use nix::sys::socket::{SockaddrIn, connect};
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as Socket;

/// Resets a connection of TCP in cleartext (RFC 9293, 3.5.3); what is still on its way is lost. A connection
/// of TLS that ends without `close_notify` says as much by itself.
pub(super) fn reset(transport: &Stream) {
    let Some(socket) = transport.as_any().downcast_ref::<Socket>() else {
        return;
    };
    // The socket's type gives its number alone, for which no safe call sets SO_LINGER. A connection that is
    // connected to no address (connect(2), AF_UNSPEC) is reset as well.
    let nowhere = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or_default(),
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; size_of::<[u8; 8]>()],
    };
    if let Err(error) = connect(socket.as_raw_fd(), &SockaddrIn::from(nowhere)) {
        debug!("a connection cannot be reset: {error}");
    }
}
