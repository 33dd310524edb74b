//! `engine: direct`: requests over connections of the proxy's own, which are kept for the next ones.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::server::configuration::ServerConf;
use pingora_timeout::tokio_timeout as timeout;

use super::guard::Guard;
use super::peer::Address;
use super::policy::Policy;
use super::rules::failure::{ConnectTimeout, Expected, Failure};
use super::upstream::pool::Pool;
use super::upstream::socket::Share;
use super::upstream::socket::Sources;
use super::upstream::tls::{ClientTls, Profiles};
use super::upstream::{H2Connection, KeyRef, Socket};
use crate::route::{Protocol, Target};

/// Connections to upstreams, and how they are made.
pub(super) struct Direct {
    pub(super) policy: Arc<Policy>,
    pub(super) http1: Arc<Pool<Socket>>,
    pub(super) http2: Arc<Pool<H2Connection>>,
    sources: Sources,
    profiles: Profiles,
    guard: Guard,
    /// The most connections that are tried for one request.
    pub(super) most_tries: usize,
}

/// A connection that a request can be sent over, and whether it was idle before.
pub(super) enum Connected {
    Http1(Socket, bool),
    Http2(H2Connection, bool),
}

impl Connected {
    /// Begins to speak over a new connection.
    pub(super) async fn begin(socket: Socket, protocol: Protocol) -> Result<Self, Failure> {
        if !socket.is_http2(protocol) {
            return Ok(Self::Http1(socket, false));
        }
        let connection = Box::pin(H2Connection::open(socket)).await;
        connection
            .map(|connection| Self::Http2(connection, false))
            .map_err(|error| Failure::http2(error, Expected::Head))
    }
}

impl Direct {
    /// Connections by the settings of a server: how many idle ones are kept, where they come from, and how
    /// many are tried.
    pub(super) fn new(policy: Arc<Policy>, conf: &ServerConf) -> Self {
        let idle = policy.options.timeouts.upstream_idle;
        let most_idle = conf.upstream_keepalive_pool_size;
        let tls = ClientTls {
            ca_file: conf.ca_file.clone(),
            logs_keys: conf.upstream_debug_ssl_keylog,
        };
        Self {
            profiles: Profiles::new(&policy.options, tls),
            guard: policy.guard(),
            policy,
            http1: Arc::new(Pool::new(most_idle, idle)),
            http2: Arc::new(Pool::new(most_idle, idle)),
            sources: Sources::of(conf),
            most_tries: conf.max_retries.max(1),
        }
    }

    /// An idle connection to a target, for an instance with this serial number.
    pub(super) fn take_idle(
        &self,
        target: &Target,
        key: KeyRef<'_>,
        serial: u64,
    ) -> Option<Connected> {
        let http1 = || Some(Connected::Http1(self.http1.take(key, serial)?, true));
        let http2 = || Some(Connected::Http2(self.http2.take(key, serial)?, true));
        match (target.protocol, &target.tls) {
            (Protocol::Http1, _) | (Protocol::Auto, None) => http1(),
            (Protocol::H2 | Protocol::H2c, _) => http2(),
            (Protocol::Auto, Some(_)) => http2().or_else(http1),
        }
    }

    /// Connects to a target, at one of its addresses, within a time.
    pub(super) async fn connect(
        &self,
        target: &Target,
        (address, share): (Address<'_>, Share),
        limit: Duration,
    ) -> io::Result<Socket> {
        let (sources, profiles) = (&self.sources, &self.profiles);
        let place = (address, share);
        let connecting = Socket::connect(target, place, sources, profiles, &self.guard);
        // Boxed: most requests find a connection that is there.
        let connecting = Box::pin(connecting);
        let socket = match timeout(limit, connecting).await {
            Ok(connected) => connected?,
            Err(_elapsed) => {
                let late = ConnectTimeout(limit);
                return Err(io::Error::new(io::ErrorKind::TimedOut, late));
            }
        };
        if let Address::Inet(address) = address {
            target.prefer(address);
        }
        Ok(socket)
    }
}
