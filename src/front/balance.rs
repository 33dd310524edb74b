//! Spreads connections over the workers of a server.
//!
//! Workers accept from copies of the same sockets, and a connection stays with the worker that has accepted
//! it. A worker that is busy comes to accept late, and an idle one has taken everything by then. So a worker
//! that has clearly more connections than another hands new ones on to that.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::BytesMut;
use log::{debug, warn};
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream as Socket;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

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
    home: OnceLock<Home<F>>,
}

/// Where the connections of a worker are served.
struct Home<F> {
    front: Weak<F>,
    runtime: Handle,
    shutdown: ShutdownWatch,
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
                home: OnceLock::new(),
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

    /// The worker's connections are served by this front, in the runtime that this is called in.
    pub(super) fn settle(&self, front: &Arc<F>, shutdown: ShutdownWatch) {
        let home = Home {
            front: Arc::downgrade(front),
            runtime: Handle::current(),
            shutdown,
        };
        let is_new = self
            .place()
            .is_some_and(|place| place.home.set(home).is_ok());
        if !is_new {
            debug!("a worker has settled before");
        }
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
    /// Hands a new connection on to a worker that has fewer of them. If there is no such worker, the
    /// connection is returned.
    pub(super) fn hand_on(&self, stream: Stream) -> Option<Stream> {
        let better = self.seat.as_ref().and_then(Seat::better);
        let Some((place, home)) = better.and_then(|place| Some((place, place.home.get()?))) else {
            return Some(stream);
        };
        let Some(front) = home.front.upgrade() else {
            return Some(stream);
        };
        let moving = match Moving::of(&stream) {
            Ok(moving) => moving,
            Err(error) => {
                debug!("a connection stays with a worker that has many: {error}");
                return Some(stream);
            }
        };
        let (counted, shutdown) = (place.enter(), home.shutdown.clone());
        // The socket stays open by its other descriptor.
        drop(stream);
        home.runtime.spawn(async move {
            match moving.arrive() {
                Ok(stream) => front.take_in((stream, BytesMut::new()), shutdown, Some(counted)),
                Err(error) => warn!("a connection is lost between two workers: {error}"),
            }
        });
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
mod tests {
    use super::*;

    fn place(balance: &Balance<()>, index: usize, open: usize) {
        balance.0[index].open.store(open, Ordering::Relaxed);
    }

    #[test]
    fn a_worker_hands_on_what_it_has_too_many_of() {
        let balance = Balance::<()>::new(3);
        let seat = balance.seat(0);
        for (own, others, expected) in [
            (0, [0, 0], None),
            (8, [0, 0], None),
            (9, [0, 5], Some(1)),
            (9, [5, 0], Some(2)),
            (98, [80, 90], None),
            (99, [80, 90], Some(1)),
            (5, [80, 90], None),
        ] {
            for (index, open) in [own, others[0], others[1]].into_iter().enumerate() {
                place(&balance, index, open);
            }
            let better = seat.better();
            let index = better.and_then(|better| {
                let is_it = |place: &Arc<Place<()>>| Arc::ptr_eq(place, better);
                balance.0.iter().position(is_it)
            });
            assert_eq!(index, expected, "{own} beside {others:?}");
        }
    }

    #[test]
    fn a_connection_counts_until_it_is_dropped() {
        let balance = Balance::<()>::new(1);
        let seat = balance.seat(0);
        let counted = (seat.enter(), seat.enter());
        assert_eq!(balance.0[0].open(), 2);
        drop(counted);
        assert_eq!(balance.0[0].open(), 0);
        assert!(seat.better().is_none());
    }
}
