//! What clients of the API send, field by field, and its way to what the registry understands. What is
//! wrong is said with a pointer to the field (RFC 6901).

use std::marker::PhantomData;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny};
use utoipa::ToSchema;

use super::Control;
use super::error::refusal;
use super::object::Object;
use super::openapi::texts;
use super::problem::Problem;
use super::register::{BodyLimits, collect};
use crate::registry::{
    Destination, HttpsInput, Place, RegisterError, Registry, Spec, instance_id, owner, parse_drain,
    parse_ttl, protocol, target_host, unix_path,
};
use crate::route::{
    ClientCertificate, HostPattern, Hsts, InstanceId, PathPrefix, Protocol, RouteKey, Security,
    Target, TlsPolicy,
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

type Result<T> = std::result::Result<T, Problem>;

/// Reads a body as JSON of one shape.
pub(super) async fn json<T: DeserializeOwned>(
    control: &Control,
    fields: &HeaderMap,
    body: Body,
) -> Result<T> {
    let bytes = text(fields, body, control.api_body).await?;
    let Object(value) = parse(&bytes, PhantomData)?;
    Ok(value)
}

/// The body's text, which says that it is JSON.
pub(super) async fn text(fields: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Bytes> {
    is_json(fields)?;
    let body = collect(fields, body, limits).await;
    body.map_err(|error| invalid(&error, ""))
}

/// Reads a text as what the seed is for.
pub(super) fn parse<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], seed: S) -> Result<S::Value> {
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut text, &mut track);
    let value = seed.deserialize(tracked).map_err(|inner| {
        // A word in the wrong place is a fault of the syntax to the parser.
        let is_json = inner.is_data() || serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        let problem = |code| {
            let detail = format!("The body: {inner}.");
            Problem::new(StatusCode::BAD_REQUEST, code, detail)
        };
        if is_json {
            problem("INVALID_BODY").at(pointer(&track.path()))
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
        let (destination, spec) = self.checked(at)?;
        let target = registry.resolve(&destination).await;
        target
            .map(spec)
            .map_err(|error| self.unresolved(&error, at))
    }

    /// As [`spec`](Self::spec), on this thread: blocks while a name is looked up.
    pub(super) fn spec_blocking(&self, registry: &Registry, at: &str) -> Result<Spec> {
        let (destination, spec) = self.checked(at)?;
        let target = registry.resolve_blocking(&destination);
        target
            .map(spec)
            .map_err(|error| self.unresolved(&error, at))
    }

    /// Where it is, and what it is once that is resolved.
    fn checked(&self, at: &str) -> Result<(Destination, impl FnOnce(Target) -> Spec + use<>)> {
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
        let spec = move |target| Spec {
            id,
            owner,
            target,
            ttl,
        };
        Ok((destination, spec))
    }

    fn unresolved(&self, error: &RegisterError, at: &str) -> Problem {
        let field = match error {
            _ if self.unix.is_some() => "unix",
            RegisterError::TargetIsProxy { .. } => "port",
            _ => "host",
        };
        invalid(error, &format!("{at}/{field}"))
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
