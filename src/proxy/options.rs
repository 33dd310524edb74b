//! The options of the data path.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;

use super::{Challenges, TargetTlsOptions};
use crate::front::{LimitCounts, RequestIds};
use crate::health::HealthProbes;
use crate::route::{Hsts, RouteTimeouts, Timeout, TimeoutOrOff, TlsPolicy};

/// The statuses of the failure answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorStatuses {
    /// No route takes the request; 501 by default, as the original.
    pub no_route: StatusCode,
    /// The target cannot be reached or breaks off; 500 by default, as the original.
    pub unreachable: StatusCode,
    /// The target is too slow; 504 by default.
    pub timeout: StatusCode,
}

impl Default for ErrorStatuses {
    fn default() -> Self {
        Self {
            no_route: StatusCode::NOT_IMPLEMENTED,
            unreachable: StatusCode::INTERNAL_SERVER_ERROR,
            timeout: StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// The times that one exchange may take. For a call of gRPC with a deadline, that and 5 s more take the
/// place of `first_byte`, `between_bytes` and `client_body`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// To connect to the target; 2 s by default.
    pub connect: Duration,
    /// From the request to the first byte of the answer; 60 s by default, `None` for no limit.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the answer; 1 h by default, so that a stream of events may pause, `None` for no
    /// limit.
    pub between_bytes: Option<Duration>,
    /// Without a byte on an upgraded connection, in either direction; no limit by default.
    pub websocket_idle: Option<Duration>,
    /// Between two pieces of the request's body; 60 s by default, `None` for no limit.
    pub client_body: Option<Duration>,
    /// For one write to make progress, in either direction; 60 s by default, `None` for no limit.
    pub send: Option<Duration>,
    /// How long an idle connection to a target is kept; 60 s by default, `None` for no limit.
    pub upstream_idle: Option<Duration>,
    /// The furthest deadline of a gRPC call that takes the place of the limits on silence; 1 h by
    /// default. A client names its deadline itself.
    pub grpc_deadline: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Some(Duration::from_mins(1));
        Self {
            connect: Duration::from_secs(2),
            first_byte: minute,
            between_bytes: Some(Duration::from_hours(1)),
            websocket_idle: None,
            client_body: minute,
            send: minute,
            upstream_idle: minute,
            grpc_deadline: Duration::from_hours(1),
        }
    }
}

impl Timeouts {
    /// These limits with what a route says of its app.
    pub(super) fn overridden_by(self, own: RouteTimeouts) -> Self {
        let limit =
            |own: Option<TimeoutOrOff>, general| own.map_or(general, TimeoutOrOff::duration);
        Self {
            connect: own.connect.map_or(self.connect, Timeout::duration),
            first_byte: limit(own.first_byte, self.first_byte),
            between_bytes: limit(own.between_bytes, self.between_bytes),
            ..self
        }
    }
}

/// The limits on a client within one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeLimits {
    /// The most bytes of a request's body; by default no limit.
    pub body: Option<u64>,
    /// The fewest bytes of a body that a client has to send in a second, on average and while it is waited
    /// for; 128 by default.
    pub upload_rate: Option<NonZeroU32>,
    /// The fewest bytes of a response that a client has to take in a second, in the same way; 128 by
    /// default.
    pub download_rate: Option<NonZeroU32>,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        let slowest = NonZeroU32::new(128);
        Self {
            body: None,
            upload_rate: slowest,
            download_rate: slowest,
        }
    }
}

/// The TLS policy and the HSTS of routes that set none of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecurityDefaults {
    /// The treatment of requests in cleartext; by default they are served.
    pub tls: TlsPolicy,
    /// Strict-Transport-Security for later requests; nothing by default.
    pub hsts: Hsts,
}

/// The options of the data path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayOptions {
    /// The statuses of the failure answers.
    pub errors: ErrorStatuses,
    /// The times that one exchange may take.
    pub timeouts: Timeouts,
    /// The limits on a client within one exchange.
    pub limits: ExchangeLimits,
    /// How often clients have met a limit.
    pub limit_counts: Arc<LimitCounts>,
    /// How requests get their ids.
    pub request_ids: RequestIds,
    /// The proxies whose word on the client is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Settings for TLS with targets, by the names that registrations give.
    pub target_tls: BTreeMap<String, TargetTlsOptions>,
    /// The TLS policy and the HSTS of routes that set none of their own.
    pub security: SecurityDefaults,
    /// The public port of https, which redirects name; 443 by default.
    pub https_port: u16,
    /// The challenges of certificate authorities that are answered; by default none are.
    pub challenges: Challenges,
    /// Where health probes are answered on the listeners of the traffic; nowhere by default.
    pub health: HealthProbes,
    /// Whether routing decisions are logged and answers carry `x-served-by`.
    pub debug: bool,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            errors: ErrorStatuses::default(),
            timeouts: Timeouts::default(),
            limits: ExchangeLimits::default(),
            limit_counts: Arc::default(),
            request_ids: RequestIds::default(),
            trusted_proxies: Vec::new(),
            target_tls: BTreeMap::new(),
            security: SecurityDefaults::default(),
            https_port: 443,
            challenges: Challenges::default(),
            health: HealthProbes::default(),
            debug: false,
        }
    }
}
