//! What the API answers, as its clients see it. A field that is not needed here is not read, so
//! that a newer proxy can say more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::Key;

/// `GET /v1/routes`.
#[derive(Debug, Deserialize)]
pub(super) struct Routes {
    pub(super) routes: Vec<Route>,
}

/// One route.
#[derive(Debug, Deserialize)]
pub(super) struct Route {
    pub(super) host: String,
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) instances: Vec<Instance>,
    pub(super) tls: Option<String>,
    pub(super) hsts: Option<String>,
    pub(super) client_certificate: Option<String>,
    #[serde(default)]
    pub(super) activity: Activity,
}

/// One instance of a route.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) unix: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) https: Option<Value>,
    pub(super) owner: Option<String>,
    pub(super) ttl: Option<String>,
    #[serde(default)]
    pub(super) state: String,
    pub(super) expires_in: Option<String>,
    pub(super) drain_ends_in: Option<String>,
    #[serde(default)]
    pub(super) in_flight: u64,
    pub(super) since: Option<String>,
}

/// What a route has served.
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

/// An instance as it is asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInstance {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) https: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<String>,
}

/// What a route asks of its clients' connections.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Security {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hsts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_certificate: Option<String>,
}

/// A route of one instance as it is asked for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SingleInstance {
    #[serde(flatten)]
    pub(super) instance: NewInstance,
    #[serde(flatten)]
    pub(super) security: Security,
}

/// A route as it is asked for, beside others.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRoute {
    #[serde(default = "any")]
    pub(super) host: String,
    pub(super) prefix: String,
    pub(super) instances: Vec<NewInstance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hsts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_certificate: Option<String>,
}

/// A set of routes: the form of an export.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteSet {
    pub(super) routes: Vec<NewRoute>,
}

/// The body of `POST /register`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registration {
    pub(super) prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) https: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) req_host_names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<String>,
    #[serde(flatten)]
    pub(super) security: Security,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
}

fn any() -> String {
    super::key::ANY.to_owned()
}

impl Route {
    pub(super) fn key(&self) -> Key {
        Key::new(&self.host, &self.prefix)
    }
}

impl Instance {
    pub(super) fn is_draining(&self) -> bool {
        self.state == "draining"
    }

    /// Host and port, or the Unix socket.
    pub(super) fn target(&self) -> String {
        target(self.host.as_deref(), self.port, self.unix.as_deref())
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

impl NewRoute {
    pub(super) fn key(&self) -> Key {
        Key::new(&self.host, &self.prefix)
    }
}
