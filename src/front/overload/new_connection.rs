//! New connections while requests are shed.
//!
//! When each request comes over a connection of its own, most of what it costs is the connection. So what is to
//! be shed is shed where it is accepted: one read, one segment with the whole reply, and the end, without a
//! task or a timer. And a handshake of TLS, which costs many times what a request does, is not begun for a
//! client that has waited for too long.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;
use http::Method;
use log::debug;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use pingora_core::protocols::l4::stream::Stream as Socket;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, Stream};

use super::super::caller::Caller;
use super::super::framing::Framing;
use super::super::head::{self, HeadScan};
use super::super::listener::{ListenerMode, ListenerOptions};
use super::super::request::Request;
use super::super::{Front, Service};
use super::{Wait, age};

/// How much of a request is read at once: a larger one takes the usual way.
const ROOM: usize = 4096;

/// `MSG_MORE`, which nix does not name: what is sent waits for what comes next, here the end.
const MORE: MsgFlags = MsgFlags::from_bits_retain(0x8000);

/// The treatment of a new connection.
pub(in crate::front) enum NewConnection {
    /// It is served; these bytes have been read from it.
    Serve(BytesMut),
    /// It is to be closed.
    Shed,
}

impl<P: Service, C> Front<P, C> {
    /// Looks at a connection that has been accepted, while requests are shed. Whether they are to be is decided
    /// later, where they have waited in the thread's queue as well.
    pub(in crate::front) fn look_at_new(&self, stream: &Stream) -> NewConnection {
        if self.overload.is_shedding() && self.has_waited(stream.get_socket_digest().as_deref()) {
            let listener = self.options.listeners.of(stream);
            if listener.tls.is_some() {
                self.count_handshake();
                return NewConnection::Shed;
            }
            if listener.is_direct() {
                return self.look_at_request(stream, listener);
            }
        }
        NewConnection::Serve(BytesMut::new())
    }

    /// Whether the first bytes of a TLS client have waited for too long for the handshake to be worth its cost.
    /// If so, its connection is to be closed, and has been counted.
    pub(in crate::front) fn sheds_handshake(&self, socket: &Socket) -> bool {
        let is_shed = self.has_waited(socket.get_socket_digest().as_deref());
        if is_shed {
            self.count_handshake();
        }
        is_shed
    }

    fn count_handshake(&self) {
        let count = &self.overload.shed.handshakes;
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn has_waited(&self, socket: Option<&SocketDigest>) -> bool {
        let wait = |_now: Instant| Wait::of(age(socket));
        self.overload.sheds(false, wait)
    }

    /// Sheds the request that has come over a new connection, if the connection ends with it. One that the
    /// client wants to keep takes the usual way, which leaves it alone for a while.
    fn look_at_request(&self, stream: &Stream, listener: &ListenerOptions) -> NewConnection {
        let Some(socket) = (**stream).as_any().downcast_ref::<Socket>() else {
            return NewConnection::Serve(BytesMut::new());
        };
        let mut bytes = received(socket);
        let Some(request) = self.last_request(&mut bytes, stream, listener) else {
            return NewConnection::Serve(bytes);
        };
        let id = self.options.request_ids.of(&request);
        let field = self.options.request_ids.field.as_str();
        let reply = self.overload.reply(&request);
        let named = (field.as_bytes(), id.as_bytes());
        let text = reply.last_of_http1(named, *request.method() == Method::HEAD);
        if let Err(error) = send_last(socket, &text) {
            debug!("a client left before it read that its request is shed: {error} [{id}]");
        }
        NewConnection::Shed
    }

    /// The request in `bytes`, if it is all that its client wants, and may be shed.
    fn last_request(
        &self,
        bytes: &mut BytesMut,
        stream: &Stream,
        listener: &ListenerOptions,
    ) -> Option<Request> {
        let limits = &self.options.limits;
        let (length, head) = head::take(&mut HeadScan::default(), bytes, limits).ok()??;
        let is_last = !head.options.persists(head.version);
        if !is_last || head.framing != Framing::None || length != bytes.len() {
            return None;
        }
        let mode = ListenerMode::of(listener.redirect_to_https, stream);
        let caller = Caller::of(
            stream.get_socket_digest(),
            None,
            None,
            mode.redirect,
            mode.registers,
        );
        let request = Request::http1(bytes.clone(), head, caller);
        (!request.is_grpc() && !self.proxy.is_exempt(&request)).then_some(request)
    }
}

/// The bytes that have come over a connection.
fn received(socket: &Socket) -> BytesMut {
    let mut room = [0; ROOM];
    // Whatever an error says, the usual way will meet it again.
    let count = recv(raw(socket), &mut room, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
    BytesMut::from(room.get(..count).unwrap_or_default())
}

/// Sends the last bytes of a connection, with its end in the same segment. A new connection has room for them.
fn send_last(socket: &Socket, bytes: &[u8]) -> nix::Result<()> {
    let flags = MORE | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send(raw(socket), bytes, flags)?;
    shutdown(raw(socket), Shutdown::Write)
}

fn raw(socket: &Socket) -> std::os::fd::RawFd {
    std::os::fd::AsRawFd::as_raw_fd(socket)
}
