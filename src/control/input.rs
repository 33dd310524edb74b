//! What clients of the API send, field by field, and its way to what the registry understands. What is
//! wrong is said with a pointer to the field (RFC 6901).

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::de::{DeserializeOwned, IgnoredAny, IntoDeserializer};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::Control;
use super::error::refusal;
use super::object::Object;
use super::openapi::{requests, texts};
use super::problem::Problem;
use super::register::{BodyLimits, collect};
use crate::registry::{
    Destination, Edit, HttpsInput, Place, RegisterError, Registry, Spec, instance_id, owner,
    parse_drain, parse_ttl, protocol, target_host, unix_path,
};
use crate::route::{
    ClientCertificate, HostPattern, Hsts, InstanceId, PathPrefix, Protocol, RouteKey, Security,
    TlsPolicy,
};

/// An instance as it is asked for.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceInput {
    /// Its name within the route: 1 to 64 letters, digits, `-`, `_`, `.` or `~`; not `.` or `..`.
    #[schema(value_type = Option<texts::InstanceId>, default = "default")]
    id: Option<String>,
    /// The target's host: a name or an address.
    #[schema(value_type = Option<texts::TargetHost>)]
    host: Option<String>,
    /// The target's port; needed unless there is a Unix socket.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65535)]
    port: Option<NonZeroU16>,
    /// The target's Unix socket, by its absolute path, instead of a port.
    #[schema(value_type = Option<texts::UnixPath>)]
    unix: Option<String>,
    /// What is spoken there: `http1`, `h2c` (HTTP/2 without TLS), `h2` (with), or `auto`.
    #[schema(value_type = Option<texts::Protocol>)]
    protocol: Option<String>,
    /// Whether, or how, the connection to the target is secured.
    https: Option<HttpsInput>,
    /// Whose it is; the token's name, if nobody is named.
    #[schema(value_type = Option<texts::Owner>)]
    owner: Option<String>,
    /// How long it stays unless it is renewed, with a unit: 1s to 30d. Without one it stays for good.
    #[schema(value_type = Option<texts::Lease>)]
    ttl: Option<String>,
}

/// A route as it is asked for: its instances, or the one instance's own fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteInput {
    /// The instances, at least one; not beside the fields of a single one.
    instances: Option<Vec<Object<InstanceInput>>>,
    /// Of a single instance: the target's host.
    host: Option<String>,
    /// Of a single instance: the target's port.
    port: Option<NonZeroU16>,
    /// Of a single instance: the target's Unix socket.
    unix: Option<String>,
    /// Of a single instance: what is spoken there.
    protocol: Option<String>,
    /// Of a single instance: whether, or how, the connection is secured.
    https: Option<HttpsInput>,
    /// Of a single instance: whose it is.
    owner: Option<String>,
    /// Of a single instance: the length of its lease.
    ttl: Option<String>,
    /// What becomes of requests in cleartext.
    tls: Option<TlsPolicy>,
    /// What browsers are told about later requests.
    hsts: Option<Hsts>,
    /// Whether clients have to show a certificate.
    client_certificate: Option<ClientCertificate>,
}

/// The whole set of routes.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"routes": [{"host": "*", "prefix": "/shop", "instances": [{"port": 4321}]}]}))]
#[serde(deny_unknown_fields)]
pub(super) struct SetInput {
    /// The routes; all others are removed.
    #[schema(value_type = Vec<EntryInput>)]
    pub(super) routes: Vec<Object<EntryInput>>,
}

/// A route of a set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryInput {
    /// The request hosts: `*`, `example.com` or `*.example.com`.
    #[schema(value_type = texts::HostPattern)]
    host: String,
    /// The path prefix.
    #[schema(value_type = texts::AskedPrefix)]
    prefix: String,
    /// The instances, each with a name of its own.
    #[schema(value_type = Vec<InstanceInput>, min_items = 1, max_items = 1000)]
    instances: Vec<Object<InstanceInput>>,
    /// What becomes of requests in cleartext; if it is not given, what `tls.routes` says.
    #[schema(value_type = Option<texts::TlsPolicy>)]
    tls: Option<TlsPolicy>,
    /// What browsers are told about later requests; if it is not given, what `tls.hsts` says.
    #[schema(value_type = Option<texts::Hsts>)]
    hsts: Option<Hsts>,
    /// Whether clients have to show a certificate.
    #[schema(value_type = Option<texts::ClientCertificate>)]
    client_certificate: Option<ClientCertificate>,
}

/// A list of changes.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"changes": [
    {"op": "join", "host": "*", "prefix": "/shop", "instance": {"id": "a", "port": 4321, "ttl": "30s"}},
    {"op": "leave", "host": "*", "prefix": "/shop", "id": "a", "drain": "30s"}
]}))]
#[serde(deny_unknown_fields)]
pub(super) struct BatchInput {
    /// The changes, made in their order, all or none.
    #[schema(value_type = Vec<requests::Change>)]
    pub(super) changes: Vec<Object<ChangeInput>>,
}

/// One change of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeInput {
    #[serde(deserialize_with = "word")]
    op: Op,
    /// The request hosts: `*`, `example.com` or `*.example.com`.
    host: String,
    /// The path prefix.
    prefix: String,
    /// With `put`: the instances.
    instances: Option<Vec<Object<InstanceInput>>>,
    /// With `join`: the instance.
    instance: Option<Object<InstanceInput>>,
    /// With `leave`: the instance's name.
    id: Option<String>,
    /// With `remove` and `leave`: how long requests in flight may go on.
    drain: Option<String>,
    /// With `put`: what becomes of requests in cleartext.
    tls: Option<TlsPolicy>,
    /// With `put`: what browsers are told about later requests.
    hsts: Option<Hsts>,
    /// With `put`: whether clients have to show a certificate.
    client_certificate: Option<ClientCertificate>,
}

/// What a change of a list does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Op {
    /// The route has these instances and no others.
    Put,
    /// The route is gone.
    Remove,
    /// The route has this instance too.
    Join,
    /// The route does not have this instance any more.
    Leave,
}

/// Reads one of some words, and nothing that only stands for one (`{"put": null}`).
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Op, D::Error> {
    let word = String::deserialize(deserializer)?;
    Op::deserialize(word.into_deserializer())
}

type Result<T> = std::result::Result<T, Problem>;

/// Reads a body as JSON of one shape.
pub(super) async fn json<T: DeserializeOwned>(
    control: &Control,
    fields: &HeaderMap,
    body: Body,
) -> Result<T> {
    is_json(fields)?;
    let bytes = body_of(fields, body, control.api_body).await?;
    let mut text = serde_json::Deserializer::from_slice(&bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        // A word in the wrong place is a fault of the syntax to the parser.
        let is_json = inner.is_data() || serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
        let problem = |code| {
            let detail = format!("The body: {inner}.");
            Problem::new(StatusCode::BAD_REQUEST, code, detail)
        };
        if is_json {
            problem("INVALID_BODY").at(pointer)
        } else {
            problem("NOT_JSON")
        }
    })?;
    text.end().map_err(|error| {
        let detail = format!("The body goes on behind its end: {error}.");
        Problem::new(StatusCode::BAD_REQUEST, "NOT_JSON", detail)
    })?;
    Ok(value)
}

async fn body_of(fields: &HeaderMap, body: Body, limits: BodyLimits) -> Result<bytes::Bytes> {
    let body = collect(fields, body, limits).await;
    body.map_err(|error| invalid(&error, ""))
}

fn is_json(fields: &HeaderMap) -> Result<()> {
    let refused = |detail: &'static str| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(Problem::new(status, "NOT_JSON", detail))
    };
    let essence = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    };
    let mut types = fields.get_all(CONTENT_TYPE).iter();
    if !types.all(|value| essence(value) == "application/json") {
        return refused(
            "The body's type is not application/json; send it so, or without a type (curl: --json).",
        );
    }
    let mut codings = fields.get_all(CONTENT_ENCODING).iter();
    if !codings.all(|value| essence(value) == "identity") {
        return refused(
            "The body has a content coding; send it as it is, without Content-Encoding.",
        );
    }
    Ok(())
}

/// A path into a body as a JSON pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let text = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&text);
    }
    pointer
}

/// A value that the registry's rules refuse, at its place in the body.
pub(super) fn invalid(error: &RegisterError, pointer: &str) -> Problem {
    let refusal = refusal(error);
    let problem = Problem::new(refusal.status, refusal.code, refusal.message);
    if pointer.is_empty() {
        problem
    } else {
        problem.at(pointer)
    }
}

/// The key of a route, by its texts.
pub(super) fn key(registry: &Registry, host: &str, prefix: &str, at: &str) -> Result<RouteKey> {
    let host = match host {
        "*" => HostPattern::Any,
        host => HostPattern::parse(host).map_err(|error| {
            let detail = format!("The host: {error}.");
            Problem::new(StatusCode::BAD_REQUEST, "INVALID_HOST_PATTERN", detail)
                .at(format!("{at}/host"))
        })?,
    };
    let prefix = PathPrefix::parse(prefix)
        .map_err(RegisterError::from)
        .and_then(|prefix| registry.admit_prefix(prefix))
        .map_err(|error| invalid(&error, &format!("{at}/prefix")))?;
    Ok(RouteKey { host, prefix })
}

/// How long a drain takes.
pub(super) fn drain(text: Option<&str>) -> std::result::Result<Option<Duration>, RegisterError> {
    text.map(|text| parse_drain(text).map_err(RegisterError::from))
        .transpose()
}

impl InstanceInput {
    /// The name, if one is given.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The same instance under this name.
    pub(super) fn named(mut self, id: &InstanceId) -> Self {
        self.id = Some(id.to_string());
        self
    }

    /// Checks it and resolves its target; `at` is where it stands in the body.
    pub(super) async fn spec(&self, registry: &Registry, at: &str) -> Result<Spec> {
        let place = |field: &str| format!("{at}/{field}");
        let id = match &self.id {
            None => InstanceId::default(),
            Some(id) => instance_id(id).map_err(|e| invalid(&e, &place("id")))?,
        };
        let destination = self.destination(at)?;
        let owner: Option<Arc<str>> = match &self.owner {
            None => None,
            Some(name) => Some(owner(name).map_err(|e| invalid(&e, &place("owner")))?),
        };
        let ttl = match &self.ttl {
            None => None,
            Some(ttl) => Some(parse_ttl(ttl).map_err(|e| invalid(&e.into(), &place("ttl")))?),
        };
        let target = registry.resolve(&destination).await.map_err(|error| {
            let field = match error {
                _ if self.unix.is_some() => "unix",
                RegisterError::TargetIsProxy { .. } => "port",
                _ => "host",
            };
            invalid(&error, &place(field))
        })?;
        Ok(Spec {
            id,
            owner,
            target,
            ttl,
        })
    }
}

impl InstanceInput {
    /// Where it is.
    fn destination(&self, at: &str) -> Result<Destination> {
        let bad = |field: &str| {
            let place = format!("{at}/{field}");
            move |error: RegisterError| invalid(&error, &place)
        };
        let place = match (&self.unix, self.port) {
            (Some(_), Some(_)) => {
                let detail = "give either a port or a Unix socket, not both".to_owned();
                return Err(bad("unix")(RegisterError::Unix(detail)));
            }
            (Some(path), None) => Place::Unix(unix_path(path).map_err(bad("unix"))?),
            (None, Some(port)) => {
                let host = self.host.as_deref().unwrap_or("localhost");
                Place::Tcp(target_host(host).map_err(bad("host"))?, port)
            }
            (None, None) => {
                let detail = "The instance has neither a `port` nor a `unix` socket.";
                return Err(
                    Problem::new(StatusCode::BAD_REQUEST, "INVALID_BODY", detail)
                        .at(format!("{at}/port")),
                );
            }
        };
        let spoken = match &self.protocol {
            None => Protocol::Http1,
            Some(name) => protocol(name).map_err(bad("protocol"))?,
        };
        let tls = self.https.clone().and_then(HttpsInput::wish);
        Destination::at(place)
            .speaking(spoken, tls)
            .map_err(|error| {
                let field = if matches!(error, RegisterError::Https(_)) {
                    "https"
                } else {
                    "protocol"
                };
                bad(field)(error)
            })
    }
}

/// Checks the instances of a route.
async fn specs(
    instances: &[Object<InstanceInput>],
    registry: &Registry,
    at: &str,
) -> Result<Vec<Spec>> {
    let mut specs = Vec::with_capacity(instances.len());
    for (index, Object(instance)) in instances.iter().enumerate() {
        specs.push(instance.spec(registry, &format!("{at}/{index}")).await?);
    }
    Ok(specs)
}

impl RouteInput {
    /// What the route is to ask of its clients' connections.
    pub(super) fn security(&self) -> Security {
        Security {
            tls: self.tls,
            hsts: self.hsts.clone(),
            client_certificate: self.client_certificate,
        }
    }

    /// The instances that the route is to have.
    pub(super) async fn specs(self, registry: &Registry) -> Result<Vec<Spec>> {
        let Self {
            instances,
            host,
            port,
            unix,
            protocol,
            https,
            owner,
            ttl,
            ..
        } = self;
        let is_placed = port.is_some() || unix.is_some();
        let is_single = is_placed
            || host.is_some()
            || protocol.is_some()
            || https.is_some()
            || owner.is_some()
            || ttl.is_some();
        let refuse = |detail: &'static str, at: &str| {
            Err(Problem::new(StatusCode::BAD_REQUEST, "INVALID_BODY", detail).at(at))
        };
        match (instances, is_placed) {
            (Some(_), _) if is_single => refuse(
                "Give either `instances` or the fields of a single one, not both.",
                "/instances",
            ),
            (Some(instances), _) => specs(&instances, registry, "/instances").await,
            (None, true) => {
                let single = InstanceInput {
                    id: None,
                    host,
                    port,
                    unix,
                    protocol,
                    https,
                    owner,
                    ttl,
                };
                Ok(vec![single.spec(registry, "").await?])
            }
            (None, false) => refuse(
                "The route has neither `instances` nor a `port`; send {\"port\": 4321}.",
                "/port",
            ),
        }
    }
}

impl SetInput {
    /// The routes of the set.
    pub(super) async fn routes(
        self,
        registry: &Registry,
    ) -> Result<Vec<(RouteKey, Vec<Spec>, Security)>> {
        let mut routes = Vec::with_capacity(self.routes.len());
        for (index, Object(entry)) in self.routes.iter().enumerate() {
            let at = format!("/routes/{index}");
            let key = key(registry, &entry.host, &entry.prefix, &at)?;
            let specs = specs(&entry.instances, registry, &format!("{at}/instances")).await?;
            let security = Security {
                tls: entry.tls,
                hsts: entry.hsts.clone(),
                client_certificate: entry.client_certificate,
            };
            routes.push((key, specs, security));
        }
        Ok(routes)
    }
}

impl BatchInput {
    /// The edits of the list.
    pub(super) async fn edits(self, registry: &Registry) -> Result<Vec<Edit>> {
        let mut edits = Vec::with_capacity(self.changes.len());
        for (index, Object(change)) in self.changes.iter().enumerate() {
            edits.push(change.edit(registry, &format!("/changes/{index}")).await?);
        }
        Ok(edits)
    }
}

impl ChangeInput {
    async fn edit(&self, registry: &Registry, at: &str) -> Result<Edit> {
        self.check(at)?;
        let key = key(registry, &self.host, &self.prefix, at)?;
        let drain = drain(self.drain.as_deref())
            .map_err(|error| invalid(&error, &format!("{at}/drain")))?;
        let missing = |field: &str| self.refuse("lacks", field, at);
        Ok(match self.op {
            Op::Put => {
                let instances = self
                    .instances
                    .as_ref()
                    .ok_or_else(|| missing("instances"))?;
                let specs = specs(instances, registry, &format!("{at}/instances")).await?;
                let security = Security {
                    tls: self.tls,
                    hsts: self.hsts.clone(),
                    client_certificate: self.client_certificate,
                };
                Edit::Put(key, specs, security)
            }
            Op::Join => {
                let Object(instance) = self.instance.as_ref().ok_or_else(|| missing("instance"))?;
                let spec = instance.spec(registry, &format!("{at}/instance")).await?;
                Edit::Join(key, spec, Security::default(), false)
            }
            Op::Remove => Edit::Leave(key, None, drain),
            Op::Leave => {
                let id = self.id.as_ref().ok_or_else(|| missing("id"))?;
                let id = instance_id(id).map_err(|error| invalid(&error, &format!("{at}/id")))?;
                Edit::Leave(key, Some(id), drain)
            }
        })
    }

    /// Each operation has fields of its own, and no others.
    fn check(&self, at: &str) -> Result<()> {
        let has = [
            ("instances", self.instances.is_some()),
            ("instance", self.instance.is_some()),
            ("id", self.id.is_some()),
            ("drain", self.drain.is_some()),
            ("tls", self.tls.is_some()),
            ("hsts", self.hsts.is_some()),
            ("client_certificate", self.client_certificate.is_some()),
        ];
        let own: &[&str] = match self.op {
            Op::Put => &["instances", "tls", "hsts", "client_certificate"],
            Op::Join => &["instance"],
            Op::Remove => &["drain"],
            Op::Leave => &["id", "drain"],
        };
        match has.iter().find(|(name, is)| *is && !own.contains(name)) {
            None => Ok(()),
            Some((name, _)) => Err(self.refuse("does not have", name, at)),
        }
    }

    fn refuse(&self, verb: &str, field: &str, at: &str) -> Problem {
        let op = match self.op {
            Op::Put => "put",
            Op::Remove => "remove",
            Op::Join => "join",
            Op::Leave => "leave",
        };
        let detail = format!("A change with the op `{op}` {verb} `{field}`.");
        Problem::new(StatusCode::BAD_REQUEST, "INVALID_BODY", detail).at(format!("{at}/{field}"))
    }
}
