//! Why an exchange broke off, and what the client is told: the one place that knows which failure of the
//! data path is which status.

use std::fmt;
use std::io;
use std::time::Duration;

use h2::Reason as Code;
use http::StatusCode;
use log::{debug, error, info, warn};
use nix::errno::Errno;

use super::response::ResponseError;
use super::retry::Loss;
use crate::front::{BadChunk, DownstreamError};
use crate::proxy::ErrorStatuses;
use crate::registry::ProxyError;
use crate::reply::Refusal;
use crate::route::Route;

/// Whose fault a broken exchange is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Fault {
    /// The upstream's, or the lack of one: the event `proxyError`.
    Upstream(ProxyError),
    /// The client's, who is still there to read about it.
    Client(Refusal),
    /// The client has gone.
    ClientGone,
    /// The client is there, and takes nothing of its response.
    ClientStuck,
    /// Ours.
    Proxy,
}

/// Why an exchange, or one try of it, broke off.
#[derive(Debug)]
pub(in crate::proxy) struct Failure {
    pub(in crate::proxy) fault: Fault,
    pub(in crate::proxy) reason: Reason,
    pub(in crate::proxy) loss: Loss,
    /// The error code by which the upstream has reset its stream (RFC 9113, 7).
    pub(in crate::proxy) reset: Option<u32>,
    /// The limit that has passed, if it is one that names itself.
    pub(in crate::proxy) limit: Option<Limit>,
}

/// A limit on an exchange: the configuration's, unless the route or the call itself has set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Limit {
    key: Key,
    is_of_route: bool,
}

/// The key of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Connect,
    FirstByte,
    BetweenBytes,
    ClientBody,
    /// The deadline of a call of gRPC, which takes the place of the other limits on silence.
    GrpcTimeout,
}

impl Limit {
    pub(in crate::proxy) const CONNECT: Self = Self::of_configuration(Key::Connect);
    pub(in crate::proxy) const FIRST_BYTE: Self = Self::of_configuration(Key::FirstByte);
    pub(in crate::proxy) const BETWEEN_BYTES: Self = Self::of_configuration(Key::BetweenBytes);
    pub(in crate::proxy) const CLIENT_BODY: Self = Self::of_configuration(Key::ClientBody);
    const GRPC_TIMEOUT: Self = Self::of_configuration(Key::GrpcTimeout);

    const fn of_configuration(key: Key) -> Self {
        Self {
            key,
            is_of_route: false,
        }
    }

    /// This limit as the route's, if that has set it.
    fn of(self, route: &Route) -> Self {
        let own = route.settings().and_then(|own| own.timeouts);
        let own = own.unwrap_or_default();
        let is_of_route = match self.key {
            Key::Connect => own.connect.is_some(),
            Key::FirstByte => own.first_byte.is_some(),
            Key::BetweenBytes => own.between_bytes.is_some(),
            Key::ClientBody | Key::GrpcTimeout => false,
        };
        Self {
            is_of_route,
            ..self
        }
    }

    /// This limit for a call of gRPC with a deadline: that holds in place of the limits on silence.
    fn of_call(self) -> Self {
        match self.key {
            Key::FirstByte | Key::BetweenBytes | Key::ClientBody => Self::GRPC_TIMEOUT,
            Key::Connect | Key::GrpcTimeout => self,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self.key {
            Key::Connect => "timeouts.connect",
            Key::FirstByte => "timeouts.first_byte",
            Key::BetweenBytes => "timeouts.between_bytes",
            Key::ClientBody => "timeouts.client_body",
            Key::GrpcTimeout => "the deadline of the call itself, grpc-timeout",
        };
        let whose = if self.is_of_route {
            " of the route"
        } else {
            ""
        };
        write!(f, "{key}{whose}")
    }
}

/// There is no connection after this time.
#[derive(Debug, thiserror::Error)]
#[error("no connection after {0:?}")]
pub(in crate::proxy) struct ConnectTimeout(pub(in crate::proxy) Duration);

/// A target that is to speak HTTP/2 over TLS has not agreed to it.
#[derive(Debug, thiserror::Error)]
#[error("it does not offer HTTP/2 (ALPN h2)")]
pub(in crate::proxy) struct NoHttp2;

/// The reason for the log.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Reason {
    #[error("{}", in_words(.0))]
    Io(#[from] io::Error),
    #[error(transparent)]
    Response(#[from] ResponseError),
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error(transparent)]
    Downstream(DownstreamError),
    #[error("{0}")]
    Text(&'static str),
    /// In Pingora's words.
    #[error("{0}")]
    Pingora(String),
}

/// Why an upstream is given up that does not read.
const UNSENT: &str = "it takes no more of the request (timeouts.send)";

/// Why a client is cut that does not read.
pub(in crate::proxy) const STUCK: &str = "the client takes no more of the response (timeouts.send)";

/// The error of a connection, for the log. What rustls says of one that ends too early is a link to its
/// manual.
fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let is_aborted = error.kind() == io::ErrorKind::UnexpectedEof && text.contains("close_notify");
    if is_aborted {
        return "the connection ended without the close_notify of TLS (RFC 8446, 6.1)".to_owned();
    }
    text
}

/// The part of a response that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Expected {
    Head,
    Body,
}

impl Failure {
    fn new(fault: Fault, reason: Reason) -> Self {
        Self {
            fault,
            reason,
            loss: Loss::Other,
            reset: None,
            limit: None,
        }
    }

    /// The upstream has taken longer than this limit allows.
    pub(in crate::proxy) fn late(limit: Limit, reason: &'static str) -> Self {
        Self {
            limit: Some(limit),
            ..Self::upstream(ProxyError::Timeout, reason)
        }
    }

    /// The upstream has done what it should not have.
    pub(in crate::proxy) fn upstream(error: ProxyError, reason: &'static str) -> Self {
        Self::new(Fault::Upstream(error), Reason::Text(reason))
    }

    /// The table has no route for the request any more.
    pub(in crate::proxy) fn no_route() -> Self {
        Self::upstream(ProxyError::NotFound, "the route went away meanwhile")
    }

    /// The upstream's response is malformed.
    pub(in crate::proxy) fn invalid(error: ResponseError) -> Self {
        let fault = Fault::Upstream(ProxyError::InvalidResponse);
        Self::new(fault, Reason::Response(error))
    }

    /// The upstream cannot be connected to.
    pub(in crate::proxy) fn unreachable(error: io::Error) -> Self {
        if error.raw_os_error() == Some(Errno::EMFILE as i32) {
            let reason = "too few descriptors are left to connect to the app (allow the process more, or \
                          clients less by `limits`)";
            return Self::refused(too_many_connections(), reason);
        }
        let cause = error.get_ref();
        let cause = cause.and_then(|cause| cause.downcast_ref::<ConnectTimeout>());
        let is_late = cause.is_some();
        Self {
            limit: is_late.then_some(Limit::CONNECT),
            ..Self::new(Fault::Upstream(ProxyError::Unreachable), Reason::Io(error))
        }
    }

    /// Whether it says no more than that nobody listens there, or that nothing was tried.
    pub(in crate::proxy) fn is_refusal(&self) -> bool {
        match &self.reason {
            Reason::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
            Reason::Text(_) => true,
            Reason::Response(_) | Reason::Http2(_) | Reason::Downstream(_) | Reason::Pingora(_) => {
                false
            }
        }
    }

    /// The connection to the upstream broke.
    pub(in crate::proxy) fn broken(reason: Reason) -> Self {
        Self::new(Fault::Upstream(ProxyError::Broken), reason)
    }

    /// An upstream of HTTP/2, or the connection to it, has failed in place of what was `expected`.
    pub(in crate::proxy) fn http2(error: h2::Error, expected: Expected) -> Self {
        let fault = match expected {
            // What the upstream itself has ended, by RST_STREAM or GOAWAY, is no malformed response.
            Expected::Head if !error.is_io() && !error.is_remote() => ProxyError::InvalidResponse,
            Expected::Head | Expected::Body => ProxyError::Broken,
        };
        let is_reset = error.is_reset() && error.is_remote();
        let is_untouched = match error.reason() {
            Some(Code::REFUSED_STREAM) => is_reset,
            Some(Code::NO_ERROR) => error.is_go_away() && error.is_remote(),
            _ => false,
        };
        Self {
            reset: error.reason().filter(|_| is_reset).map(u32::from),
            loss: if is_untouched {
                Loss::Untouched
            } else {
                Loss::Other
            },
            ..Self::new(Fault::Upstream(fault), Reason::Http2(error))
        }
    }

    /// The instance, or the proxy, is taken down.
    pub(in crate::proxy) fn drained() -> Self {
        let reason = "the exchange was cut: the app or the proxy is taken down";
        Self::upstream(ProxyError::Drained, reason)
    }

    /// The client takes nothing of its response.
    pub(in crate::proxy) fn stuck(reason: &'static str) -> Self {
        Self::new(Fault::ClientStuck, Reason::Text(reason))
    }

    /// The client has sent what is refused, or has not sent what it announced.
    pub(in crate::proxy) fn refused(refusal: Refusal, reason: &'static str) -> Self {
        Self::new(Fault::Client(refusal), Reason::Text(reason))
    }

    /// The body of the request is longer than the limit.
    pub(in crate::proxy) fn body_too_large(most: u64) -> Self {
        Self::refused(body_too_large(most), "the body is too long (limits.body)")
    }

    /// The upstream takes nothing of the request.
    pub(in crate::proxy) fn unsent() -> Self {
        Self::upstream(ProxyError::Timeout, UNSENT)
    }

    /// No more of the body of the request comes.
    pub(in crate::proxy) fn no_body() -> Self {
        Self {
            limit: Some(Limit::CLIENT_BODY),
            ..Self::refused(
                body_timeout("timeouts.client_body"),
                "no more of the request's body comes",
            )
        }
    }

    /// The body of the request comes too slowly.
    pub(in crate::proxy) fn slow_upload() -> Self {
        let reason = "the client sends the body too slowly (limits.upload_rate)";
        Self::refused(body_timeout("limits.upload_rate"), reason)
    }

    /// The response is taken too slowly.
    pub(in crate::proxy) fn slow_download() -> Self {
        Self::stuck("the client takes the response too slowly (limits.download_rate)")
    }

    /// The proxy has met what it does not know.
    pub(in crate::proxy) fn internal(reason: &'static str) -> Self {
        Self::new(Fault::Proxy, Reason::Text(reason))
    }

    /// This failure with its limit named as that of whoever has set it: the call itself, if it has a
    /// deadline, the route, or the configuration.
    pub(in crate::proxy) fn on(self, route: Option<&Route>, has_deadline: bool) -> Self {
        let limit = self.limit.map(|limit| {
            let limit = if has_deadline { limit.of_call() } else { limit };
            route.map_or(limit, |route| limit.of(route))
        });
        Self { limit, ..self }
    }

    /// Writes it into the log, behind what says which request it is about.
    pub(in crate::proxy) fn log(&self, summary: &dyn fmt::Display) {
        let reason = Named(&self.reason, self.limit);
        match &self.fault {
            Fault::ClientGone => debug!("{summary}: the client has gone: {reason}"),
            Fault::ClientStuck
            | Fault::Upstream(ProxyError::NotFound | ProxyError::Drained)
            | Fault::Client(_) => {
                info!("{summary}: {reason}");
            }
            Fault::Upstream(error) => warn!("{summary}: {error}: {reason}"),
            Fault::Proxy => error!("{summary}: {reason}"),
        }
    }
}

/// A text with the limit that has passed behind it.
struct Named<T>(T, Option<Limit>);

impl<T: fmt::Display> fmt::Display for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(limit) => write!(f, "{} ({limit})", self.0),
            None => self.0.fmt(f),
        }
    }
}

impl From<DownstreamError> for Failure {
    fn from(error: DownstreamError) -> Self {
        match error {
            DownstreamError::Aborted => Self::drained(),
            DownstreamError::BadChunk => {
                Self::refused(bad_chunk(), "the client's chunked coding is malformed")
            }
            DownstreamError::InvalidField => Self::invalid(ResponseError::Field),
            DownstreamError::Stuck => Self::stuck(STUCK),
            DownstreamError::Gone(_) | DownstreamError::Broken(_) => {
                Self::new(Fault::ClientGone, Reason::Downstream(error))
            }
        }
    }
}

/// The reply to a request that could not be proxied.
pub(in crate::proxy) fn refusal(
    error: ProxyError,
    limit: Option<Limit>,
    statuses: ErrorStatuses,
) -> Refusal {
    let status = match error {
        ProxyError::NotFound => statuses.no_route,
        ProxyError::Unreachable
        | ProxyError::Broken
        | ProxyError::InvalidResponse
        | ProxyError::Drained => statuses.unreachable,
        ProxyError::Timeout => statuses.timeout,
    };
    Refusal::new(status, error.code(), Named(error, limit).to_string())
}

/// The reply to a request whose body is not valid chunked coding.
pub(in crate::proxy) fn bad_chunk() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", BadChunk.to_string())
}

/// The reply to a request whose body is longer than the limit.
pub(in crate::proxy) fn body_too_large(most: u64) -> Refusal {
    Refusal::of_limit(
        StatusCode::PAYLOAD_TOO_LARGE,
        "PAYLOAD_TOO_LARGE",
        format_args!("the body of the request is longer than {most} bytes"),
        "limits.body",
    )
}

/// The reply to a request whose app cannot be connected to, since the proxy has too many connections.
pub(in crate::proxy) fn too_many_connections() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "TOO_MANY_CONNECTIONS",
        "There are too many connections; try again later.",
    )
}

/// The reply to a request whose body does not come as fast as this key asks for.
pub(in crate::proxy) fn body_timeout(key: &'static str) -> Refusal {
    Refusal::of_limit(
        StatusCode::REQUEST_TIMEOUT,
        "BODY_TIMEOUT",
        "the body of the request did not come in time",
        key,
    )
}

/// The reply when the fault is the proxy's own.
pub(in crate::proxy) fn internal() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "INTERNAL",
        "The proxy could not handle the request; its log says more.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_of_an_upstream_has_its_status() {
        let statuses = ErrorStatuses::default();
        let cases = [
            (ProxyError::NotFound, 501, "NOT_FOUND"),
            (ProxyError::Unreachable, 500, "UNREACHABLE"),
            (ProxyError::Broken, 500, "UPSTREAM_CLOSED"),
            (ProxyError::InvalidResponse, 500, "INVALID_RESPONSE"),
            (ProxyError::Drained, 500, "DRAINED"),
            (ProxyError::Timeout, 504, "TIMEOUT"),
        ];
        for (error, status, code) in cases {
            let refusal = refusal(error, None, statuses);
            assert_eq!((refusal.status.as_u16(), refusal.code), (status, code));
        }
    }

    #[test]
    fn the_deadline_of_a_call_takes_the_place_of_the_limits_on_silence() {
        let named = |limit, has_deadline| {
            let failure = Failure::late(limit, "late").on(None, has_deadline);
            failure.limit.unwrap().to_string()
        };
        let deadline = "the deadline of the call itself, grpc-timeout";
        for (limit, key, of_call) in [
            (Limit::CONNECT, "timeouts.connect", "timeouts.connect"),
            (Limit::FIRST_BYTE, "timeouts.first_byte", deadline),
            (Limit::BETWEEN_BYTES, "timeouts.between_bytes", deadline),
            (Limit::CLIENT_BODY, "timeouts.client_body", deadline),
        ] {
            assert_eq!(named(limit, false), key);
            assert_eq!(named(limit, true), of_call);
        }
        assert_eq!(Failure::no_body().limit, Some(Limit::CLIENT_BODY));
    }

    #[test]
    fn every_failure_of_a_client_has_its_fault() {
        let fault = |error: DownstreamError| Failure::from(error).fault;
        assert_eq!(fault(DownstreamError::Gone("")), Fault::ClientGone);
        assert_eq!(fault(DownstreamError::BadChunk), Fault::Client(bad_chunk()));
        let drained = Fault::Upstream(ProxyError::Drained);
        assert_eq!(fault(DownstreamError::Aborted), drained);
        let invalid = Fault::Upstream(ProxyError::InvalidResponse);
        assert_eq!(fault(DownstreamError::InvalidField), invalid);
        let broken = DownstreamError::Broken(io::ErrorKind::BrokenPipe.into());
        assert_eq!(fault(broken), Fault::ClientGone);
    }
}
