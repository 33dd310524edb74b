//! The input of the API's clients, field by field, and its conversion to the types of the registry. Errors
//! have a pointer to the field (RFC 6901).

use std::marker::PhantomData;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny};

use super::body::{BodyLimits, collect};
use super::error::invalid;
use super::fault::{Fault, pointer};
use super::object::Object;
use super::problem::Problem;
use super::state::Control;
use crate::registry::{RegisterError, Registry, Spec, SpecError};
use crate::route::{
    CheckedInstance, HostPattern, InstanceSpec, PathPrefix, RouteKey, Settings, With,
    optional_instances, parse_drain,
};

/// The instances of a route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Instances {
    /// The instances, at least one; not beside the fields of a single one.
    #[serde(default, deserialize_with = "optional_instances")]
    instances: Option<Vec<InstanceSpec>>,
}

/// A route as it is asked for: its instances, or the one instance's own fields.
pub(super) type RouteInput = With<With<Instances, InstanceSpec>, Settings>;

type Result<T> = std::result::Result<T, Problem>;

/// The query of a request as axum reads it.
pub(super) type Asked<T> = std::result::Result<Query<T>, QueryRejection>;

/// The query, or what is wrong with it.
pub(super) fn query<T>(asked: Asked<T>) -> Result<T> {
    match asked {
        Ok(Query(query)) => Ok(query),
        Err(error) => {
            let text = error.body_text();
            let reason = text.rsplit_once("string: ").map_or(&*text, |(_, why)| why);
            let detail = format!("The query: {reason}.");
            let problem = Problem::new(StatusCode::BAD_REQUEST, "INVALID_QUERY", detail);
            // The name of a parameter stands in front, unless it is the query that is wrong.
            Err(match reason.split_once(": ") {
                Some((name, _)) if !name.contains(' ') => problem.in_parameter(name.to_owned()),
                _ => problem,
            })
        }
    }
}

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
        if !is_json {
            return unread("NOT_JSON", &inner);
        }
        let path = track.path();
        match Fault::find(bytes, &path, &inner) {
            Some(Fault { object, error }) => {
                let place = format!("{object}{}", error.pointer());
                invalid(&error.into(), &place)
            }
            None => unread("INVALID_BODY", &inner).at(pointer(path.iter())),
        }
    })?;
    text.end().map_err(|error| {
        let detail = format!("The body goes on behind its end: {error}.");
        Problem::new(StatusCode::BAD_REQUEST, "NOT_JSON", detail)
    })?;
    Ok(value)
}

/// A body that is not what is expected, in the deserialiser's words.
fn unread(code: &'static str, error: &serde_json::Error) -> Problem {
    let detail = format!("The body: {error}.");
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
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
        .map_err(|error| SpecError::from(error).into())
        .and_then(|prefix| registry.admit_prefix(prefix))
        .map_err(|error| invalid(&error, &format!("{at}/prefix")))?;
    Ok(RouteKey { host, prefix })
}

/// How long a drain takes.
pub(super) fn drain(text: Option<&str>) -> std::result::Result<Option<Duration>, RegisterError> {
    text.map(|text| parse_drain(text).map_err(RegisterError::from))
        .transpose()
}

/// Checks an instance and resolves its target; `at` is where it stands in the body.
pub(super) async fn spec(instance: &InstanceSpec, registry: &Registry, at: &str) -> Result<Spec> {
    let checked = checked(instance, at)?;
    let target = registry.resolve(&checked.destination).await;
    target
        .map(|target| checked.with_target(target))
        .map_err(|error| unresolved(instance, &error, at))
}

/// As [`spec`], on this thread: blocks while a name is looked up.
pub(super) fn spec_blocking(
    instance: &InstanceSpec,
    registry: &Registry,
    at: &str,
) -> Result<Spec> {
    let checked = checked(instance, at)?;
    let target = registry.resolve_blocking(&checked.destination);
    target
        .map(|target| checked.with_target(target))
        .map_err(|error| unresolved(instance, &error, at))
}

fn checked(instance: &InstanceSpec, at: &str) -> Result<CheckedInstance> {
    instance.check().map_err(|error| {
        let place = format!("{at}{}", error.pointer());
        invalid(&error.into(), &place)
    })
}

fn unresolved(instance: &InstanceSpec, error: &RegisterError, at: &str) -> Problem {
    let field = match error {
        RegisterError::Spec(SpecError::Field(error)) => {
            let place = format!("{at}{}", error.pointer());
            return invalid(&error.clone().into(), &place);
        }
        _ if instance.unix.is_some() => "unix",
        RegisterError::TargetIsProxy { .. } => "port",
        _ => "host",
    };
    invalid(error, &format!("{at}/{field}"))
}

/// Checks the instances of a route.
async fn specs(instances: &[InstanceSpec], registry: &Registry, at: &str) -> Result<Vec<Spec>> {
    let mut specs = Vec::with_capacity(instances.len());
    for (index, instance) in instances.iter().enumerate() {
        specs.push(spec(instance, registry, &format!("{at}/{index}")).await?);
    }
    Ok(specs)
}

/// The instances that a route is to have.
pub(super) async fn route(input: &RouteInput, registry: &Registry) -> Result<Vec<Spec>> {
    let (instances, single) = (&input.own.own.instances, &input.own.group);
    let refuse = |detail: &'static str, at: &str| {
        Err(Problem::new(StatusCode::BAD_REQUEST, "INVALID_BODY", detail).at(at))
    };
    if single.id.is_some() {
        return refuse(
            "The one instance of a route has no id of its own; give `instances`, or leave it out.",
            "/id",
        );
    }
    let is_single = *single != InstanceSpec::default();
    match instances {
        Some(_) if is_single => refuse(
            "Give either `instances` or the fields of a single one, not both.",
            "/instances",
        ),
        Some(instances) => specs(instances, registry, "/instances").await,
        None if single.port.is_none() && single.unix.is_none() => refuse(
            "The route has neither `instances` nor a `port`; send {\"port\": 4321}.",
            "/port",
        ),
        None => Ok(vec![spec(single, registry, "").await?]),
    }
}
