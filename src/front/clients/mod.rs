//! Who is connected, and whether one more connection, or one more request, is too many.
//!
//! A connection asks once when it is accepted, and again when a header of the PROXY protocol has said who
//! its client is. What it takes is given back by its [`Ticket`].

mod entry;
mod limits;
mod silent;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Instant;

use ipnet::IpNet;
use parking_lot::Mutex;

pub(crate) use entry::StreamGuard;
use entry::{Entry, take};
pub(crate) use limits::ClientMeter;
pub use limits::{ClientLimit, ClientLimits, LimitCounts};
use silent::{Silent, SilentConnections};

use super::failures::Failures;

/// How many parts the table of clients has, each with a lock of its own.
const SHARDS: usize = 64;

/// Above how many clients without a connection a shard is looked through for those to forget.
const MOST_IDLE: usize = 256;

/// The clients that are connected.
#[derive(Debug)]
pub struct Clients {
    limits: ClientLimits,
    counts: Arc<LimitCounts>,
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, Arc<Entry>>>; SHARDS],
    /// Connections within `limits.connections`.
    open: AtomicUsize,
    /// Connections of this machine beyond the limits.
    reserved: AtomicUsize,
    silent: Mutex<SilentConnections>,
    silent_reserved: Mutex<SilentConnections>,
    met: Failures,
}

/// The place that one connection takes.
#[derive(Debug)]
pub(crate) struct Ticket {
    clients: Arc<Clients>,
    class: Class,
    /// The client; none for one without limits.
    entry: Option<Arc<Entry>>,
    /// Until its first request begins.
    silent: Option<(u64, Arc<Silent>)>,
    /// How many requests have begun.
    requests: AtomicU64,
}

/// The class of a connection: what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Everything.
    Usual,
    /// Register alone: it is beyond the limits, and from this machine.
    Reserved,
}

/// A client as it is counted.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl Clients {
    /// No client yet; `counts` has how often limits were met.
    #[must_use]
    pub fn new(limits: ClientLimits, counts: Arc<LimitCounts>) -> Self {
        Self {
            limits,
            counts,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            open: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            silent: Mutex::default(),
            silent_reserved: Mutex::default(),
            met: Failures::new("refused"),
        }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &ClientLimits {
        &self.limits
    }

    /// How often each limit was met since the start.
    #[must_use]
    pub fn counts(&self) -> &Arc<LimitCounts> {
        &self.counts
    }

    /// Information about each limit.
    pub(crate) fn meters(&self) -> impl Iterator<Item = ClientMeter> {
        let limits = &self.limits;
        let number = |most: usize| (most != usize::MAX).then_some(most as u64);
        self.counts.all().map(move |(limit, met)| ClientMeter {
            limit,
            most: match limit {
                ClientLimit::Connections => number(limits.connections),
                ClientLimit::ConnectionsPerClient => number(limits.connections_per_client),
                ClientLimit::NewConnections => limits
                    .new_connections_per_second
                    .map(|rate| rate.get().into()),
                ClientLimit::StreamsPerClient => number(limits.streams_per_client),
                ClientLimit::RequestsPerConnection => {
                    limits.requests_per_connection.map(NonZeroU64::get)
                }
                ClientLimit::Silent
                | ClientLimit::Body
                | ClientLimit::UploadRate
                | ClientLimit::DownloadRate
                | ClientLimit::WebSocketFrame
                | ClientLimit::WebSocketMessage => self.counts.most(limit),
            },
            used: (limit == ClientLimit::Connections).then(|| self.open()),
            met,
        })
    }

    /// How many connections are open now, those beyond the limits not among them.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a connection in; `address` is its client's, none behind a Unix socket. The system gives out the
    /// lowest `descriptor` that is free, so a high one says that all below it are taken.
    ///
    /// # Errors
    /// The limit that it meets. When all connections are too many, the oldest on which no request has
    /// begun makes room.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        descriptor: usize,
    ) -> Result<Ticket, ClientLimit> {
        let admitted = self.enter(address).and_then(|entry| {
            if self.take_place(descriptor) {
                return Ok(entry);
            }
            self.leave(entry);
            Err(ClientLimit::Connections)
        });
        match admitted {
            Ok(entry) => Ok(self.ticket(Class::Usual, entry)),
            Err(limit) => {
                self.note(limit, address);
                let is_own = address.is_some_and(|address| address.to_canonical().is_loopback());
                let may_register = is_own && self.take_reserve();
                let ticket = may_register.then(|| self.ticket(Class::Reserved, None));
                ticket.ok_or(limit)
            }
        }
    }

    /// One of the places for all connections; if none is free, that of the oldest silent one.
    fn take_place(&self, descriptor: usize) -> bool {
        let is_room = descriptor < self.limits.descriptors;
        if is_room && take(&self.open, self.limits.connections) {
            return true;
        }
        let is_evicted = self.silent.lock().evict();
        if !is_room {
            // It would keep its high descriptor, and the next connection would get the low one that is freed.
            return false;
        }
        if is_evicted {
            self.note(ClientLimit::Silent, None);
            // The other's place is free as soon as its task has run.
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        is_evicted
    }

    /// One of the places that are kept back; if none is free, that of the oldest silent one there.
    fn take_reserve(&self) -> bool {
        if take(&self.reserved, self.limits.reserved) {
            return true;
        }
        let is_evicted = self.silent_reserved.lock().evict();
        if is_evicted {
            self.reserved.fetch_add(1, Ordering::Relaxed);
        }
        is_evicted
    }

    fn ticket(self: &Arc<Self>, class: Class, entry: Option<Arc<Entry>>) -> Ticket {
        let silent = self.silent(class).lock().add();
        Ticket {
            clients: Arc::clone(self),
            class,
            entry,
            silent: Some(silent),
            requests: AtomicU64::new(0),
        }
    }

    fn silent(&self, class: Class) -> &Mutex<SilentConnections> {
        match class {
            Class::Usual => &self.silent,
            Class::Reserved => &self.silent_reserved,
        }
    }

    /// Counts that a limit was met, and says so in the log now and then.
    pub(crate) fn note(&self, limit: ClientLimit, address: Option<IpAddr>) {
        self.counts.count(limit);
        let (key, remedy) = match limit {
            ClientLimit::Silent => (
                ClientLimit::Connections.key(),
                "; the oldest connection on which no request has begun makes room",
            ),
            limit => (limit.key(), ""),
        };
        self.met
            .note(address, &format_args!("{key} is reached{remedy}"));
    }

    /// Counts one more connection of a client; none if it is exempt.
    fn enter(&self, address: Option<IpAddr>) -> Result<Option<Arc<Entry>>, ClientLimit> {
        let is_exempt = |address: &IpAddr| is_in(&self.limits.exempt, *address);
        let Some(address) = address.filter(|address| !is_exempt(address)) else {
            return Ok(None);
        };
        let (network, now) = (network(address), Instant::now());
        let mut shard = self.shard(network).lock();
        if shard.len() > MOST_IDLE {
            shard.retain(|_, entry| entry.is_needed(now));
        }
        let entry = shard
            .entry(network)
            .or_insert_with(|| Arc::new(Entry::new(network)));
        let rate = self.limits.new_connections_per_second;
        if rate.is_some_and(|rate| !entry.is_in_time(rate, now)) {
            return Err(ClientLimit::NewConnections);
        }
        if !entry.connect(self.limits.connections_per_client) {
            return Err(ClientLimit::ConnectionsPerClient);
        }
        Ok(Some(Arc::clone(entry)))
    }

    /// Counts the end of a client's connection.
    fn leave(&self, entry: Option<Arc<Entry>>) {
        let Some(entry) = entry else {
            return;
        };
        let mut shard = self.shard(entry.network).lock();
        if entry.disconnect() && !entry.is_needed(Instant::now()) {
            shard.remove(&entry.network);
        }
    }

    fn shard(&self, network: IpAddr) -> &Mutex<HashMap<IpAddr, Arc<Entry>>> {
        let hash = self.hasher.hash_one(network);
        let [first, ..] = &self.shards;
        let index = usize::try_from(hash % SHARDS as u64);
        index
            .ok()
            .and_then(|index| self.shards.get(index))
            .unwrap_or(first)
    }
}

impl Ticket {
    /// The client is another, as a header of the PROXY protocol says.
    ///
    /// # Errors
    /// The limit that it meets.
    pub(crate) fn announce(&mut self, address: Option<IpAddr>) -> Result<(), ClientLimit> {
        let entry = self.clients.enter(address);
        let entry = entry.inspect_err(|limit| self.clients.note(*limit, address))?;
        let before = std::mem::replace(&mut self.entry, entry);
        self.clients.leave(before);
        Ok(())
    }

    /// Whether the connection is only there to register.
    pub(crate) fn is_reserved(&self) -> bool {
        self.class == Class::Reserved
    }

    /// A request begins: the connection stays, from now on.
    pub(crate) fn speak(&mut self) {
        if let Some((number, _silent)) = self.silent.take() {
            self.clients.silent(self.class).lock().remove(number);
        }
    }

    /// Whether its client has more than half of the connections that it may have.
    pub(crate) fn takes_much(&self) -> bool {
        let most = self.clients.limits.connections_per_client / 2;
        self.entry
            .as_ref()
            .is_some_and(|entry| entry.connections() > most)
    }

    /// Counts one more request; whether it is to be the last.
    pub(crate) fn is_at_limit(&self) -> bool {
        let Some(most) = self.clients.limits.requests_per_connection else {
            return false;
        };
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if count == most.get() {
            self.note(ClientLimit::RequestsPerConnection);
        }
        count >= most.get()
    }

    /// Counts that this client has met a limit.
    pub(crate) fn note(&self, limit: ClientLimit) {
        let address = self.entry.as_ref().map(|entry| entry.network);
        self.clients.note(limit, address);
    }

    /// Whether no request has begun yet.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// Returns once the connection is to make room for another, before its first request.
    pub(crate) async fn evicted(&self) {
        std::future::poll_fn(|context| {
            if self.is_evicted(context.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn is_evicted(&self, waker: &Waker) -> bool {
        self.silent.as_ref().is_some_and(|(_number, silent)| {
            silent.watch(waker);
            silent.is_evicted()
        })
    }

    /// Counts one request of HTTP/2 until the guard is dropped.
    ///
    /// # Errors
    /// The limit that it meets.
    pub(crate) fn stream(&self) -> Result<Option<StreamGuard>, ClientLimit> {
        let Some(entry) = &self.entry else {
            return Ok(None);
        };
        let guard = entry.stream(self.clients.limits.streams_per_client);
        guard.map(Some).ok_or(ClientLimit::StreamsPerClient)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.speak();
        let places = match self.class {
            Class::Usual => &self.clients.open,
            Class::Reserved => &self.clients.reserved,
        };
        places.fetch_sub(1, Ordering::Relaxed);
        self.clients.leave(self.entry.take());
    }
}

/// Whether an address is in one of these networks.
fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Returns a ticket for a connection without a client address.
#[cfg(test)]
pub(crate) fn test_ticket() -> Ticket {
    let clients = Clients::new(ClientLimits::of_descriptors(1024), Arc::default());
    Arc::new(clients).admit(None, 0).expect("a place")
}

#[cfg(test)]
mod tests;
