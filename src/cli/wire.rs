//! The API's responses, as its clients see them. A field that is not needed here is not read, so
//! that a newer proxy can say more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::route::{InstanceSpec, Port, RouteSpec, Settings, With};

/// `GET /v1/routes`.
#[derive(Debug, Deserialize)]
pub(super) struct Routes {
    pub(super) routes: Vec<Route>,
}

/// One route: what is written of it, and how it is.
pub(super) type Route = With<RouteState, Settings>;

/// One instance of a route: what is written of it, and how it is.
pub(super) type Instance = With<InstanceState, InstanceSpec>;

/// A route without its settings.
#[derive(Debug, Deserialize)]
pub(super) struct RouteState {
    pub(super) host: String,
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) instances: Vec<Instance>,
    #[serde(default)]
    pub(super) activity: Activity,
}

/// How an instance is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct InstanceState {
    #[serde(default)]
    pub(super) state: String,
    pub(super) expires_in: Option<String>,
    pub(super) drain_ends_in: Option<String>,
    #[serde(default)]
    pub(super) in_flight: u64,
    pub(super) since: Option<String>,
}

/// The traffic that a route has served.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Activity {
    #[serde(rename = "last_activity")]
    pub(super) last: Option<String>,
    pub(super) in_flight: u64,
    pub(super) requests: BTreeMap<String, u64>,
    pub(super) bytes: BTreeMap<String, u64>,
}

/// The answer to a change of one route or instance.
#[derive(Debug, Deserialize)]
pub(super) struct Changed {
    pub(super) result: String,
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// The answer to a change of many routes.
#[derive(Debug, Deserialize)]
pub(super) struct Applied {
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) dry_run: bool,
    pub(super) created: u64,
    pub(super) replaced: u64,
    pub(super) unchanged: u64,
    pub(super) removed: u64,
}

/// `GET /v1/match`.
#[derive(Debug, Deserialize)]
pub(super) struct Match {
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) route: Option<Route>,
    #[serde(default)]
    pub(super) considered: Vec<Considered>,
    #[serde(default)]
    pub(super) why: String,
}

/// A route that was looked at for a URL.
#[derive(Debug, Deserialize)]
pub(super) struct Considered {
    pub(super) host: String,
    pub(super) prefix: String,
    pub(super) taken: bool,
    #[serde(default)]
    pub(super) why: String,
}

/// `GET /v1/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) generation: u64,
    pub(super) routes: u64,
    /// Routes with instances that drain.
    pub(super) draining: u64,
    pub(super) store: String,
    /// Requests that were shed; an older proxy does not say.
    #[serde(default)]
    pub(super) shed: u64,
    /// Connections that were closed before TLS; an older proxy does not say.
    #[serde(default)]
    pub(super) shed_handshakes: u64,
    pub(super) uptime: String,
}

/// The answer of `POST /register`.
#[derive(Debug, Deserialize)]
pub(super) struct Registered {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) unix: Option<String>,
    pub(super) prefix: String,
}

/// A set of routes: the form of an export.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteSet {
    pub(super) routes: Vec<RouteSpec>,
}

/// The body of `POST /register`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registration {
    pub(super) prefix: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) req_host_names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instance: Option<String>,
    /// All else of the instance: the contract has another name for its id.
    #[serde(flatten)]
    pub(super) spec: InstanceSpec,
    #[serde(flatten)]
    pub(super) settings: Settings,
}

impl RouteState {
    pub(super) fn key(&self) -> Key {
        Key::new(&self.host, &self.prefix)
    }
}

impl Instance {
    pub(super) fn id(&self) -> &str {
        self.group.id.as_deref().unwrap_or_default()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state == "draining"
    }

    /// Host and port, or the Unix socket.
    pub(super) fn target(&self) -> String {
        let spec = &self.group;
        let port = spec.port.map(Port::get);
        target(spec.host.as_deref(), port, spec.unix.as_deref())
    }
}

impl Registered {
    /// Host and port, or the Unix socket.
    pub(super) fn target(&self) -> String {
        target(self.host.as_deref(), self.port, self.unix.as_deref())
    }
}

/// Host and port, with brackets around an IPv6 address; or the Unix socket.
fn target(host: Option<&str>, port: Option<u16>, unix: Option<&str>) -> String {
    match (host.unwrap_or_default(), port, unix) {
        (_, _, Some(path)) => format!("unix:{path}"),
        (host, Some(port), None) if host.contains(':') => format!("[{host}]:{port}"),
        (host, Some(port), None) => format!("{host}:{port}"),
        (host, None, None) => host.to_owned(),
    }
}

/// The key of a route that is asked for; of any host, if none is named.
pub(super) fn key(route: &RouteSpec) -> Key {
    Key::new(
        route.host.as_deref().unwrap_or(super::key::ANY),
        &route.prefix,
    )
}
