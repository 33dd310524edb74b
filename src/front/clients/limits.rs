//! The limits on clients, and the counts of how often each was met.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;

/// The limits on clients. A client is an IPv4 address, or a network of IPv6 (/64): what one household or
/// one machine is given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// How many connections may be open in all; by default three quarters of the descriptors that the
    /// process may have.
    pub connections: usize,
    /// How many of one client may be; by default half of the descriptors.
    pub connections_per_client: usize,
    /// How many connections beyond these two limits clients of this machine may have, to register; by
    /// default a 32nd of the descriptors, at least 16.
    pub reserved: usize,
    /// How many descriptors may be taken, by whatever it is, when a connection comes that is for none of these
    /// two purposes: control and registration have the rest. By default 29 of 32.
    pub descriptors: usize,
    /// How many new connections one client may open in a second, on average and at once; by default no
    /// limit.
    pub new_connections_per_second: Option<NonZeroU32>,
    /// How many requests a connection serves before it is closed in order; by default no limit.
    pub requests_per_connection: Option<NonZeroU64>,
    /// How many requests of HTTP/2 one client may have in progress at a time, on all of its connections:
    /// each may cost a connection to an upstream. By default an eighth of the descriptors.
    pub streams_per_client: usize,
    /// The clients for which none of these hold, besides those that announce others by the PROXY
    /// protocol: proxies in front of this one. None by default.
    pub exempt: Vec<IpNet>,
}

impl ClientLimits {
    /// The defaults of a process that may have so many descriptors.
    #[must_use]
    pub fn of_descriptors(descriptors: usize) -> Self {
        Self {
            connections: (descriptors / 4 * 3).max(1),
            connections_per_client: (descriptors / 2).max(1),
            reserved: (descriptors / 32).max(16),
            descriptors: (descriptors / 32 * 29).max(1),
            new_connections_per_second: None,
            requests_per_connection: None,
            streams_per_client: (descriptors / 8).max(100),
            exempt: Vec::new(),
        }
    }
}

impl ClientLimits {
    /// Returns the limits on the clients of the control API, whose connections are counted beside these: an
    /// eighth of the connections that one client may have here (by default a sixteenth of the descriptors),
    /// at least 64. A silent connection makes room for a new one.
    pub(crate) fn for_control(&self) -> Self {
        let connections = (self.connections_per_client / 8).max(64);
        Self {
            connections,
            connections_per_client: usize::MAX,
            reserved: 0,
            descriptors: usize::MAX,
            new_connections_per_second: None,
            requests_per_connection: None,
            streams_per_client: connections,
            exempt: Vec::new(),
        }
    }
}

impl Default for ClientLimits {
    /// The defaults by the descriptors that this process may have (`RLIMIT_NOFILE`).
    fn default() -> Self {
        let descriptors = rlimit::Resource::NOFILE
            .get()
            .map_or(1024, |(soft, _hard)| soft);
        Self::of_descriptors(usize::try_from(descriptors).unwrap_or(usize::MAX))
    }
}

/// A limit that a client has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientLimit {
    /// `limits.connections`.
    Connections,
    /// `limits.connections_per_client`.
    ConnectionsPerClient,
    /// `limits.new_connections_per_second`.
    NewConnections,
    /// `limits.streams_per_client`.
    StreamsPerClient,
    /// A connection on which no request had begun, and which made room for another.
    Silent,
    /// `limits.requests_per_connection`.
    RequestsPerConnection,
    /// `limits.body`.
    Body,
    /// `limits.upload_rate`.
    UploadRate,
    /// `limits.download_rate`.
    DownloadRate,
    /// `limits.websocket_frame`.
    WebSocketFrame,
    /// `limits.websocket_message`.
    WebSocketMessage,
}

impl ClientLimit {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Connections,
        Self::ConnectionsPerClient,
        Self::NewConnections,
        Self::StreamsPerClient,
        Self::Silent,
        Self::RequestsPerConnection,
        Self::Body,
        Self::UploadRate,
        Self::DownloadRate,
        Self::WebSocketFrame,
        Self::WebSocketMessage,
    ];

    /// The key of the configuration, and the name in `GET /v1/status`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Connections => "limits.connections",
            Self::ConnectionsPerClient => "limits.connections_per_client",
            Self::NewConnections => "limits.new_connections_per_second",
            Self::StreamsPerClient => "limits.streams_per_client",
            Self::Silent => "limits.silent_connections",
            Self::RequestsPerConnection => "limits.requests_per_connection",
            Self::Body => "limits.body",
            Self::UploadRate => "limits.upload_rate",
            Self::DownloadRate => "limits.download_rate",
            Self::WebSocketFrame => "limits.websocket_frame",
            Self::WebSocketMessage => "limits.websocket_message",
        }
    }
}

/// A limit, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientMeter {
    pub(crate) limit: ClientLimit,
    /// The amount that it allows; none if it is off, or no number of things.
    pub(crate) most: Option<u64>,
    /// The amount of it in all, if that is counted.
    pub(crate) used: Option<usize>,
    /// How often it was met.
    pub(crate) met: u64,
}

/// How often each limit was met since the start, and what those allow that are kept elsewhere.
#[derive(Debug, Default)]
pub struct LimitCounts {
    met: [AtomicU64; ClientLimit::ALL.len()],
    /// 0 for what is not known, or off.
    most: [AtomicU64; ClientLimit::ALL.len()],
}

/// Two are the same that have counted the same.
impl PartialEq for LimitCounts {
    fn eq(&self, other: &Self) -> bool {
        self.all().eq(other.all())
    }
}

impl Eq for LimitCounts {}

impl LimitCounts {
    /// Counts one; how often that was before.
    pub(crate) fn count(&self, limit: ClientLimit) -> u64 {
        self.met
            .get(limit as usize)
            .map_or(0, |count| count.fetch_add(1, Ordering::Relaxed))
    }

    /// Says what a limit allows.
    pub(crate) fn allow(&self, limit: ClientLimit, most: impl Into<u64>) {
        if let Some(allowed) = self.most.get(limit as usize) {
            allowed.store(most.into(), Ordering::Relaxed);
        }
    }

    /// Returns the amount that a limit allows; `None` if it is off, or not known here.
    pub(super) fn most(&self, limit: ClientLimit) -> Option<u64> {
        let most = self.most.get(limit as usize)?.load(Ordering::Relaxed);
        (most != 0).then_some(most)
    }

    /// Each limit, and how often it was met.
    pub(crate) fn all(&self) -> impl Iterator<Item = (ClientLimit, u64)> {
        let counts = self.met.iter().map(|count| count.load(Ordering::Relaxed));
        ClientLimit::ALL.into_iter().zip(counts)
    }
}
