//! Spreads connections over the workers of a server.
//!
//! Workers accept from copies of the same sockets, and a connection stays with the worker that has accepted
//! it. A worker that is busy comes to accept late, and an idle one has taken everything by then. So a worker
//! that has clearly more connections than another hands new ones on to that.
//!
//! One task of each worker takes what is handed on to it. A task for each connection would be spawned from
//! another thread, and of those a busy runtime of Tokio's takes one in 31 turns: under load they would wait for
//! seconds.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use log::{debug, warn};
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream as Socket;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::duplicate::duplicate;
use super::{ControlService, Front, Service};

/// How many more connections than another a worker may have, beside an eighth of the other's.
const SLACK: usize = 8;

/// The workers of a server.
pub(crate) struct Balance<F>(Box<[Arc<Place<F>>]>);

/// A worker, on a cache line of its own: its connections begin and end here.
#[repr(align(128))]
struct Place<F> {
    /// How many connections it has.
    open: AtomicUsize,
    /// Where connections are handed on to it. They are as few as it may have more of, so there is no bound.
    arrivals: OnceLock<UnboundedSender<Handover<F>>>,
}

/// A connection that is handed on, counted where it goes to.
struct Handover<F> {
    moving: Moving,
    counted: Counted<F>,
}

/// A worker's place among the others.
pub(crate) struct Seat<F> {
    balance: Arc<Balance<F>>,
    own: usize,
}

/// A connection of a worker, until it is dropped.
pub(super) struct Counted<F>(Arc<Place<F>>);

impl<F> Balance<F> {
    /// For so many workers.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        let place = |_index| {
            Arc::new(Place {
                open: AtomicUsize::new(0),
                arrivals: OnceLock::new(),
            })
        };
        Arc::new(Self((0..workers).map(place).collect()))
    }

    /// The place of a worker, by its number.
    pub(crate) fn seat(self: &Arc<Self>, own: usize) -> Seat<F> {
        Seat {
            balance: Arc::clone(self),
            own,
        }
    }
}

impl<F> Place<F> {
    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>) -> Counted<F> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(self))
    }
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<F> Seat<F> {
    fn place(&self) -> Option<&Arc<Place<F>>> {
        self.balance.0.get(self.own)
    }

    /// Returns the receiver of connections handed over to this worker; `None` if it has been taken before.
    fn arrivals(&self) -> Option<UnboundedReceiver<Handover<F>>> {
        let (sender, receiver) = unbounded_channel();
        self.place()?.arrivals.set(sender).ok()?;
        Some(receiver)
    }

    /// Counts a connection of this worker.
    pub(super) fn enter(&self) -> Option<Counted<F>> {
        self.place().map(Place::enter)
    }

    /// The worker that is to have a new connection in place of this one, if any is.
    fn better(&self) -> Option<&Arc<Place<F>>> {
        let own = self.place()?.open();
        let places = self.balance.0.iter();
        let fewest = places.min_by_key(|place| place.open())?;
        let open = fewest.open();
        (own > open + open / 8 + SLACK).then_some(fewest)
    }
}

impl<P, C> Front<P, C>
where
    P: Service,
    C: ControlService,
{
    /// Takes connections from the other workers too, from now on and in this runtime.
    pub(crate) fn settle(self: &Arc<Self>, shutdown: ShutdownWatch) {
        let Some(mut arrivals) = self.seat.as_ref().and_then(Seat::arrivals) else {
            return;
        };
        let front = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(Handover { moving, counted }) = arrivals.recv().await {
                let Some(front) = front.upgrade() else {
                    return;
                };
                match moving.arrive() {
                    Ok(stream) => {
                        front.take_in((stream, BytesMut::new()), shutdown.clone(), Some(counted));
                    }
                    Err(error) => warn!("a connection is lost between two workers: {error}"),
                }
            }
        });
    }

    /// Hands a new connection on to a worker that has fewer of them. If there is no such worker, the
    /// connection is returned.
    pub(super) fn hand_on(&self, stream: Stream) -> Option<Stream> {
        let better = self.seat.as_ref().and_then(Seat::better);
        let Some((place, arrivals)) = better.and_then(|place| Some((place, place.arrivals.get()?)))
        else {
            return Some(stream);
        };
        if arrivals.is_closed() {
            return Some(stream);
        }
        let moving = match Moving::of(&stream) {
            Ok(moving) => moving,
            Err(error) => {
                debug!("a connection stays with a worker that has many: {error}");
                return Some(stream);
            }
        };
        // The socket stays open by its other descriptor.
        drop(stream);
        let counted = place.enter();
        if arrivals.send(Handover { moving, counted }).is_err() {
            warn!("a connection is lost between two workers: the other one has stopped");
        }
        None
    }
}

/// A connection on its way to another worker's runtime.
struct Moving {
    socket: std::net::TcpStream,
    peer: Option<PeerAddress>,
}

impl Moving {
    fn of(stream: &Stream) -> io::Result<Self> {
        let socket = (**stream).as_any().downcast_ref::<Socket>();
        let socket = socket.ok_or_else(|| io::Error::other("it is no socket"))?;
        let peer = socket.get_socket_digest();
        Ok(Self {
            peer: peer.and_then(|digest| digest.peer_addr().cloned()),
            socket: duplicate(socket.as_raw_fd())?.into(),
        })
    }

    /// Joins the runtime that this is called in.
    fn arrive(self) -> io::Result<Stream> {
        let mut socket = Socket::from(TcpStream::from_std(self.socket)?);
        let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
        if digest.peer_addr.set(self.peer).is_err() {
            debug!("a new digest has a peer");
        }
        socket.set_socket_digest(digest);
        Ok(Box::new(socket))
    }
}

#[cfg(test)]
mod tests;
