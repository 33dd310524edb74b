//! The sections of the configuration. Each is checked while it is read: once it exists, it holds.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::header;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::network::{AllowedTarget, Network};
use super::{Located, duration, number, size, text};

/// `routing`: how a request finds its route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// Whether prefixes are compared with regard to ASCII case. Default: false.
    pub case_sensitive: bool,
}

/// `registration`: how apps register.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Whether apps can register at all. Default: true.
    pub enabled: bool,
    /// The path that takes registrations: whole segments, without a trailing slash. Default:
    /// `/register`.
    #[serde(deserialize_with = "path")]
    pub path: String,
    /// Whether a registration needs a token of `control.tokens`. Default: false.
    pub require_token: bool,
    /// What becomes of a field that the contract does not know. Default: refuse.
    pub unknown_fields: UnknownFields,
    /// The longest body, in bytes. Default: 64 KiB.
    #[serde(deserialize_with = "size::positive")]
    pub body_limit: usize,
    /// How long the whole body may take to arrive. Default: 10 s.
    #[serde(deserialize_with = "duration::positive")]
    pub body_timeout: Duration,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            enabled: true,
            path: "/register".to_owned(),
            require_token: false,
            unknown_fields: UnknownFields::Refuse,
            body_limit: 64 * 1024,
            body_timeout: Duration::from_secs(10),
        }
    }
}

/// What becomes of an unknown field in a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// The registration is refused.
    Refuse,
    /// The field is ignored, as the original does.
    Ignore,
}

/// `engine`: what carries proxied requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
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
pub struct Targets {
    /// What is allowed beyond loopback. Default: nothing.
    #[serde(deserialize_with = "text::or_blank")]
    pub allow: Vec<AllowedTarget>,
    /// Settings for TLS with targets, which registrations choose by name. Default: none.
    #[serde(deserialize_with = "text::or_blank")]
    pub tls: Vec<TargetTls>,
}

/// An entry of `targets.tls`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
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
pub struct Timeouts {
    /// To connect to a target. Default: 2 s.
    #[serde(deserialize_with = "duration::positive")]
    pub connect: Duration,
    /// From the end of the request to the target's first byte. Default: 60 s.
    #[serde(deserialize_with = "duration::or_off")]
    pub first_byte: Option<Duration>,
    /// Between two reads of the target's answer. Default: 60 s.
    #[serde(deserialize_with = "duration::or_off")]
    pub between_bytes: Option<Duration>,
    /// Without a byte on an upgraded connection, either way. Default: off.
    #[serde(deserialize_with = "duration::or_off")]
    pub websocket_idle: Option<Duration>,
    /// For a client to send the whole head of a request. Default: 10 s.
    #[serde(deserialize_with = "duration::positive")]
    pub head: Duration,
    /// For what comes before a connection's first request: PROXY protocol, TLS, the preface of
    /// HTTP/2. Default: 10 s.
    #[serde(deserialize_with = "duration::positive")]
    pub handshake: Duration,
    /// Between two requests on a client's connection. Default: 60 s.
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
            between_bytes: minute,
            websocket_idle: None,
            head: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            idle: minute,
            upstream_idle: minute,
            grpc_deadline: Duration::from_hours(1),
            client_body: minute,
            send: minute,
        }
    }
}

/// `limits`: how large a request's head may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 * 1024,
            target: 16 * 1024,
            fields: 100,
        }
    }
}

/// `overload`: when a request is answered with 503 because the proxy has too many.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
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

/// `http2`: HTTP/2 with clients. Over TLS it is always offered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
pub struct ProxyProtocol {
    /// The peers that begin every connection with a header, and have to. Default: none.
    #[serde(deserialize_with = "networks")]
    pub trusted: Vec<IpNet>,
}

/// `errors`: the statuses, 400 to 599, of the proxy's own answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
pub struct RequestId {
    /// The field's name. Default: `x-request-id`.
    #[serde(deserialize_with = "field_name")]
    pub field: HeaderName,
    /// Whether a client's own id is passed on, if it is at most 128 visible characters; otherwise,
    /// and when there is none, a new one is made. Default: true.
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

/// An entry of `routes`: a route that is there from the start and that nobody registered. The
/// prefix and the names are as written: their rules are the route module's, and
/// [`Located::error`] reports what it finds at the right place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// The path prefix.
    pub prefix: Located<String>,
    /// The target's port, 1 to 65535.
    pub port: u16,
    /// The target's host. Default: `localhost`.
    pub host: Located<String>,
    /// `reqHostNames`: the request hosts that the route is for, at least one. Default: any.
    pub req_host_names: Option<Vec<Located<String>>>,
    /// What becomes of requests in cleartext. Default: `tls.routes`.
    pub tls: Option<Located<String>>,
    /// What browsers are told about later requests. Default: `tls.hsts`.
    pub hsts: Option<Located<String>>,
    /// Whether clients have to show a certificate. Default: optional.
    pub client_certificate: Option<Located<String>>,
}

/// `trusted_proxies`: the peers whose `Forwarded` and `X-Forwarded-*` fields are believed.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let networks: Vec<Network> = text::or_blank(deserializer)?;
    Ok(networks.into_iter().map(|network| network.0).collect())
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text::parse_with(deserializer, |text| {
        let path = text.trim_end_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let segment = |segment: &str| !matches!(segment, "" | "." | "..");
        let valid = path.strip_prefix('/').is_some_and(|segments| {
            segments.bytes().all(plain) && segments.split('/').all(segment)
        });
        if valid {
            return Ok(path.to_owned());
        }
        Err(format!(
            "is not a path for registrations: {}; write segments of letters, digits and -._~, \
             such as /register or /_proxy/register",
            text::shown(text)
        ))
    })
}

fn field_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    text::parse_with(deserializer, |text| match text.parse::<HeaderName>() {
        Ok(name) if !FRAMING.contains(&name) => Ok(name),
        Ok(name) => Err(format!(
            "cannot be {name}, which has a meaning of its own; write one such as x-request-id"
        )),
        Err(error) => {
            log::trace!("{text:?} as a field name: {error}");
            Err(format!(
                "is not a field name: {}; write one such as x-request-id",
                text::shown(text)
            ))
        }
    })
}

/// Fields that carry a message or its route: an id in their place breaks it.
const FRAMING: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::AUTHORIZATION,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VIA,
];
