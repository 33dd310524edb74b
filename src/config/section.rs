//! The sections of the configuration. Each is checked while it is read: once it exists, it holds.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::field_name::field_name;
use super::network::{AllowedTarget, Network};
use super::number::Count;
use super::{duration, number, size, text};

/// `routing`: how a request finds its route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Routing {
    /// Whether prefixes are compared with regard to ASCII case. Default: false.
    pub case_sensitive: bool,
}

/// `engine`: what carries proxied requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Engine {
    /// The proxy's own HTTP client and HTTP/2 server.
    #[default]
    Direct,
    /// Pingora's.
    Pingora,
}

/// `targets`: where a registered target may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Targets {
    /// The targets that are allowed beyond loopback. Default: none.
    #[serde(deserialize_with = "text::or_blank")]
    pub allow: Vec<AllowedTarget>,
    /// Settings for TLS with targets, which registrations choose by name. Default: none.
    #[serde(deserialize_with = "text::or_blank")]
    pub tls: Vec<TargetTls>,
}

/// An entry of `targets.tls`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TargetTls {
    /// The name that registrations choose it by.
    pub name: String,
    /// The file with the authorities that vouch for targets, PEM. Default: the system's.
    #[serde(default, deserialize_with = "text::given")]
    pub ca: Option<PathBuf>,
    /// The file with the certificate chain that is shown to targets that ask, PEM. Default: none.
    #[serde(default, deserialize_with = "text::given")]
    pub certificate: Option<PathBuf>,
    /// The file with its key, PEM.
    #[serde(default, deserialize_with = "text::given")]
    pub key: Option<PathBuf>,
}

/// `timeouts`: none is off unless it says so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Timeouts {
    /// To connect to a target. Default: 2 s.
    #[serde(deserialize_with = "duration::positive")]
    pub connect: Duration,
    /// From the end of the request to the target's first byte. Default: 60 s.
    #[serde(deserialize_with = "duration::or_off")]
    pub first_byte: Option<Duration>,
    /// Between two reads of the target's answer. Default: 1 h, so that a stream of events may pause.
    #[serde(deserialize_with = "duration::or_off")]
    pub between_bytes: Option<Duration>,
    /// Without a byte on an upgraded connection, either way. Default: off.
    #[serde(deserialize_with = "duration::or_off")]
    pub websocket_idle: Option<Duration>,
    /// For a client to send the whole head of a request. Default: 10 s.
    #[serde(deserialize_with = "duration::positive")]
    pub head: Duration,
    /// For what comes before a connection's first request (PROXY protocol, TLS, the preface of HTTP/2), and
    /// then for that request to begin. Default: 10 s.
    #[serde(deserialize_with = "duration::positive")]
    pub handshake: Duration,
    /// Between two requests on a client's connection. Default: 75 s, more than the 60 s for which load
    /// balancers keep theirs, so that it is the balancer that ends them.
    #[serde(deserialize_with = "duration::or_off")]
    pub idle: Option<Duration>,
    /// For which a target's connection is kept for reuse. Default: 60 s.
    #[serde(deserialize_with = "duration::or_off")]
    pub upstream_idle: Option<Duration>,
    /// The furthest deadline of a gRPC call that takes the place of the limits on silence. Default: 1 h.
    #[serde(deserialize_with = "duration::positive")]
    pub grpc_deadline: Duration,
    /// Between two reads of a client's body. Default: 60 s.
    #[serde(deserialize_with = "duration::or_off")]
    pub client_body: Option<Duration>,
    /// For a client to take what is written to it. Default: 60 s.
    #[serde(deserialize_with = "duration::or_off")]
    pub send: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Some(Duration::from_mins(1));
        Self {
            connect: Duration::from_secs(2),
            first_byte: minute,
            between_bytes: Some(Duration::from_hours(1)),
            websocket_idle: None,
            head: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            idle: Some(Duration::from_secs(75)),
            upstream_idle: minute,
            grpc_deadline: Duration::from_hours(1),
            client_body: minute,
            send: minute,
        }
    }
}

/// `limits`: how large a request may be, what one client may take, and how much the table may hold. A client is
/// an IPv4 address, or a network of IPv6 (/64).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// The whole head, in bytes; at most 1 MiB. Default: 64 KiB.
    #[serde(deserialize_with = "size::positive")]
    pub head: usize,
    /// The request target (path and query), in bytes; at most `head`. Default: 16 KiB.
    #[serde(deserialize_with = "size::positive")]
    pub target: usize,
    /// The number of header fields, 1 to 200. Default: 100.
    #[serde(deserialize_with = "number::fields")]
    pub fields: usize,
    /// The body, in bytes. Default: off.
    #[serde(deserialize_with = "size::or_off")]
    pub body: Option<u64>,
    /// How many connections may be open in all. Default: three quarters of the descriptors.
    #[serde(deserialize_with = "number::auto_or_off")]
    pub connections: Count,
    /// How many of one client may be. Default: half of the descriptors.
    #[serde(deserialize_with = "number::auto_or_off")]
    pub connections_per_client: Count,
    /// How many new connections one client may open in a second, on average and at once. Default: off.
    #[serde(deserialize_with = "number::or_off")]
    pub new_connections_per_second: Option<NonZeroU32>,
    /// How many requests a connection serves before it is closed in order. Default: off.
    #[serde(deserialize_with = "number::or_off")]
    pub requests_per_connection: Option<NonZeroU32>,
    /// How many requests of HTTP/2 one client may have in progress at a time, on all of its connections.
    /// Default: an eighth of the descriptors.
    #[serde(deserialize_with = "number::auto_or_off")]
    pub streams_per_client: Count,
    /// How many bytes of a body a client has to send in a second, while it is waited for. Default: 128.
    #[serde(deserialize_with = "size::rate_or_off")]
    pub upload_rate: Option<NonZeroU32>,
    /// How many bytes of a response a client has to take in a second, while it is waited for. Default: 128.
    #[serde(deserialize_with = "size::rate_or_off")]
    pub download_rate: Option<NonZeroU32>,
    /// A frame of a WebSocket from a client, in bytes. Default: off.
    #[serde(deserialize_with = "size::or_off")]
    pub websocket_frame: Option<u64>,
    /// A message of a WebSocket from a client, in bytes. Default: off.
    #[serde(deserialize_with = "size::or_off")]
    pub websocket_message: Option<u64>,
    /// The most routes. Default: 131072.
    #[serde(deserialize_with = "number::count")]
    pub routes: Option<usize>,
    /// The most routes of one owner; those without one are together one owner's. Default: 114688.
    #[serde(deserialize_with = "number::count")]
    pub routes_per_owner: Option<usize>,
    /// The most hosts that routes are for. Default: 114688.
    #[serde(deserialize_with = "number::count")]
    pub hosts: Option<usize>,
    /// The most hosts of one owner. Default: 102400.
    #[serde(deserialize_with = "number::count")]
    pub hosts_per_owner: Option<usize>,
    /// The most instances of all routes. Default: 196608.
    #[serde(deserialize_with = "number::count")]
    pub instances: Option<usize>,
    /// The most instances of one owner. Default: 163840.
    #[serde(deserialize_with = "number::count")]
    pub instances_per_owner: Option<usize>,
    /// The most request hosts that one registration names. Default: 1000.
    #[serde(deserialize_with = "number::count")]
    pub hosts_per_registration: Option<usize>,
    /// The memory that routes may take, in bytes, by an estimate from above. Default: 160 MiB.
    #[serde(deserialize_with = "size::given")]
    pub route_memory: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        let slowest = NonZeroU32::new(128);
        Self {
            head: 64 * 1024,
            target: 16 * 1024,
            fields: 100,
            body: None,
            connections: Count::Auto,
            connections_per_client: Count::Auto,
            new_connections_per_second: None,
            requests_per_connection: None,
            streams_per_client: Count::Auto,
            upload_rate: slowest,
            download_rate: slowest,
            websocket_frame: None,
            websocket_message: None,
            routes: None,
            routes_per_owner: None,
            hosts: None,
            hosts_per_owner: None,
            instances: None,
            instances_per_owner: None,
            hosts_per_registration: None,
            route_memory: None,
        }
    }
}

/// `overload`: when a request is answered with 503 because the proxy has too many.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Overload {
    /// How long a request may wait until the proxy looks at it. Default: 200 ms.
    #[serde(deserialize_with = "duration::or_off")]
    pub target: Option<Duration>,
    /// For how long requests have to have waited for longer than `target` before the first is
    /// answered with 503. Default: 100 ms.
    #[serde(deserialize_with = "duration::any")]
    pub interval: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            target: Some(Duration::from_millis(200)),
            interval: Duration::from_millis(100),
        }
    }
}

/// `events`: what is kept for `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Events {
    /// How many failures of one code are kept in a second. Default: 10.
    #[serde(deserialize_with = "number::or_off")]
    pub failures_per_second: Option<NonZeroU32>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            failures_per_second: NonZeroU32::new(10),
        }
    }
}

/// `http2`: HTTP/2 with clients. Over TLS it is always offered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Http2 {
    /// Whether a client in cleartext may speak it at once, by prior knowledge. Default: false.
    pub cleartext: bool,
    /// How many streams a client may have open at a time on one connection. Default: 100.
    #[serde(deserialize_with = "number::streams")]
    pub streams: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            cleartext: false,
            streams: 100,
        }
    }
}

/// `proxy_protocol`: the load balancers that announce each client by the PROXY protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxyProtocol {
    /// The peers that begin every connection with a header, and have to. Default: none.
    #[serde(deserialize_with = "networks")]
    pub trusted: Vec<IpNet>,
}

/// `errors`: the statuses, 400 to 599, of the proxy's own answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Errors {
    /// No route matches. Default: 501.
    #[serde(deserialize_with = "number::status")]
    pub no_route: u16,
    /// The target cannot be reached. Default: 500.
    #[serde(deserialize_with = "number::status")]
    pub unreachable: u16,
    /// The target is too slow. Default: 504.
    #[serde(deserialize_with = "number::status")]
    pub timeout: u16,
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            no_route: 501,
            unreachable: 500,
            timeout: 504,
        }
    }
}

/// `request_id`: the field that names a request, to the target and in the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RequestId {
    /// The field's name. Default: `x-request-id`.
    #[serde(deserialize_with = "field_name")]
    pub field: HeaderName,
    /// Whether a client's own id is passed on, if it is at most 128 visible characters, none of
    /// `[]"\`; otherwise, and when there is none, a new one is made. Default: true.
    pub accept: bool,
}

impl Default for RequestId {
    fn default() -> Self {
        Self {
            field: HeaderName::from_static("x-request-id"),
            accept: true,
        }
    }
}

/// `trusted_proxies`: the peers whose `Forwarded` and `X-Forwarded-*` fields are believed.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let networks: Vec<Network> = text::or_blank(deserializer)?;
    Ok(networks.into_iter().map(|network| network.0).collect())
}
