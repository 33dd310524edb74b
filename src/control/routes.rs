//! One route, or one instance of it: read, put, remove.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::condition::{conditions, tag};
use super::error::{invalid, not_made};
use super::input::{self, Asked, RouteInput, query};
use super::openapi::refusals::{BadBody, NotMade, NotThere, Refused};
use super::openapi::requests::{self, IfMatch, IfNoneMatch, RoutePath};
use super::openapi::texts;
use super::place::Place;
use super::problem::{Problem, internal};
use super::state::Control;
use super::view::{RouteView, Viewer};
use crate::registry::{
    Action, Actor, Change, ChangeError, ChangeResult, Edit, Edits, Outcome, Registry,
};
use crate::route::{InstanceId, InstanceSpec, RouteKey, Settings};

/// The query of a request that reads one route; it has no parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadQuery {}

/// The query of every write.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WriteQuery {
    /// Only say what would come of it.
    #[param(example = false)]
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// The query of a removal.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
    /// Only say what would come of it.
    #[serde(default)]
    dry_run: bool,
    /// How long requests in flight may go on: up to 24h. Without it they are not waited for, and not
    /// cut either.
    #[param(value_type = texts::Drain, required = false)]
    drain: Option<String>,
}

/// The result of a write of one route.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Written {
    result: ResultName,
    /// The table's generation with the change.
    generation: u64,
    /// Whether nothing was changed, since that was asked for.
    dry_run: bool,
    /// The route as it is now, or would be.
    #[schema(value_type = RouteView, required)]
    route: Option<RouteView>,
}

/// The result of a removal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Removed {
    result: ResultName,
    /// The table's generation with the change.
    generation: u64,
    /// Whether nothing was changed, since that was asked for.
    dry_run: bool,
}

/// The outcome of a route or an instance.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ResultName {
    /// It is new.
    Created,
    /// It is new beside others.
    Joined,
    /// It is not what it was.
    Replaced,
    /// It is as it was, and its lease has been renewed.
    Renewed,
    /// It is as it was.
    Unchanged,
    /// It is gone.
    Removed,
    /// It takes no more requests and will be gone.
    Draining,
}

impl From<ChangeResult> for ResultName {
    fn from(what: ChangeResult) -> Self {
        match what {
            ChangeResult::Created => Self::Created,
            ChangeResult::Replaced => Self::Replaced,
            ChangeResult::Unchanged => Self::Unchanged,
            ChangeResult::Removed => Self::Removed,
            ChangeResult::Draining => Self::Draining,
        }
    }
}

type Result<T> = std::result::Result<T, Problem>;

/// Reads a route, or an instance of it.
#[utoipa::path(get, path = "/v1/routes/{host}/{prefix}", tag = "routes",
    operation_id = "getRoute", params(RoutePath), responses(
        (status = 200, description = "The route", body = RouteView, headers(
            ("ETag" = inline(texts::EntityTag), description = "The route's state"),
        )),
        Refused, NotThere,
    ))]
pub(super) async fn read(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked<ReadQuery>,
    uri: Uri,
) -> Result<Response> {
    let ReadQuery {} = query(asked)?;
    let registry = &control.registry;
    let place = Place::of(registry, &uri)?;
    may_read(&actor, &place.key)?;
    let state = registry.state();
    let viewer = Viewer::new(registry, &state);
    let (Some(route), Some(view)) = (state.get(&place.key), viewer.route(&place.key)) else {
        return Err(no_route(&place.key));
    };
    let etag = [(ETAG, tag(registry, route.generation))];
    let Some(id) = &place.instance else {
        return Ok((etag, Json(view)).into_response());
    };
    let draining = state.draining.get(&place.key);
    let instance = route
        .instance_named(id)
        .or_else(|| draining.and_then(|route| route.instance_named(id)));
    match instance {
        Some(instance) => Ok((etag, Json(viewer.instance(instance))).into_response()),
        None => Err(not_made(
            &ChangeError::NoSuchInstance {
                key: place.key,
                id: id.clone(),
            },
            "",
        )),
    }
}

/// Puts a route: it has these instances afterwards, and no others.
#[utoipa::path(put, path = "/v1/routes/{host}/{prefix}", tag = "routes",
    operation_id = "putRoute", params(RoutePath, WriteQuery, IfMatch, IfNoneMatch),
    request_body = requests::Route, responses(
        (status = 200, description = "Replaced, renewed or unchanged; or what would be", body = Written),
        (status = 201, description = "Created", body = Written, headers(
            ("ETag" = inline(texts::EntityTag), description = "The route's state"),
            ("Location" = String, description = "The route's path"),
        )),
        Refused, BadBody, NotMade,
    ))]
pub(super) async fn put(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked<WriteQuery>,
    uri: Uri,
    fields: HeaderMap,
    body: Body,
) -> Result<Response> {
    let registry = &control.registry;
    let dry_run = query(asked)?.dry_run;
    let place = Place::of(registry, &uri)?;
    let edit = match &place.instance {
        None => {
            let input: RouteInput = input::json(&control, &fields, body).await?;
            let specs = input::route(&input, registry).await?;
            Edit::Put(place.key.clone(), specs, input.group)
        }
        Some(id) => {
            let mut input: InstanceSpec = input::json(&control, &fields, body).await?;
            if input.id.as_ref().is_some_and(|given| given != id.as_str()) {
                let detail = "The id is not the one in the path; leave it out.";
                let problem = Problem::new(StatusCode::BAD_REQUEST, "INVALID_INSTANCE", detail);
                return Err(problem.at("/id"));
            }
            input.id = Some(id.to_string());
            let spec = input::spec(&input, registry, "").await?;
            Edit::Join(place.key.clone(), spec, Settings::default(), false)
        }
    };
    let conditions = conditions(registry, &fields, Some(&place.key))?;
    let outcome = make(registry, vec![edit], conditions, dry_run, actor)
        .await
        .map_err(|problem| match problem.code {
            "INSTANCE_COUNT" | "DUPLICATE_INSTANCE" if place.instance.is_none() => {
                problem.at("/instances")
            }
            _ => problem,
        })?;
    Ok(written(registry, &outcome, place.instance.as_ref()))
}

/// Removes a route, or an instance of it.
#[utoipa::path(delete, path = "/v1/routes/{host}/{prefix}", tag = "routes",
    operation_id = "removeRoute", params(RoutePath, RemoveQuery, IfMatch), responses(
        (status = 200, description = "Removed, or draining; or what would be", body = Removed),
        Refused, NotThere, NotMade,
    ))]
pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked<RemoveQuery>,
    uri: Uri,
    fields: HeaderMap,
) -> Result<Response> {
    let registry = &control.registry;
    let query = query(asked)?;
    let place = Place::of(registry, &uri)?;
    let drain: Option<Duration> = input::drain(query.drain.as_deref())
        .map_err(|error| invalid(&error, "").in_parameter("drain"))?;
    let conditions = conditions(registry, &fields, Some(&place.key))?;
    let edit = Edit::Leave(place.key, place.instance, drain);
    let outcome = make(registry, vec![edit], conditions, query.dry_run, actor).await?;
    let Some(result) = outcome.results.first() else {
        return Err(internal());
    };
    let removed = Removed {
        result: result.what.into(),
        generation: outcome.generation.0,
        dry_run: outcome.dry_run,
    };
    Ok(Json(removed).into_response())
}

/// Has the registry make a change.
pub(super) async fn make(
    registry: &Registry,
    edits: Vec<Edit>,
    conditions: Vec<crate::registry::Condition>,
    dry_run: bool,
    actor: Actor,
) -> Result<Outcome> {
    let change = Change {
        edits: Edits::Each(edits),
        conditions,
        dry_run,
        actor,
    };
    registry
        .change(change)
        .await
        .map_err(|error| not_made(&error, "/changes"))
}

/// The answer to a put of a route, or of one instance of it.
fn written(registry: &Registry, outcome: &Outcome, instance: Option<&InstanceId>) -> Response {
    let Some(result) = outcome.results.first() else {
        return internal().into_response();
    };
    let state = registry.state();
    let viewer = Viewer::new(registry, &state);
    let is_leased = result.route.iter().any(|route| {
        let mut meant = route
            .instances()
            .filter(|one| instance.is_none_or(|id| one.id == *id));
        meant.any(|one| one.lease.is_some())
    });
    let name = match result.what {
        ChangeResult::Created if instance.is_some() => ResultName::Joined,
        ChangeResult::Unchanged if is_leased => ResultName::Renewed,
        what => what.into(),
    };
    let written = Written {
        result: name,
        generation: outcome.generation.0,
        dry_run: outcome.dry_run,
        route: result.route.as_ref().map(|route| viewer.of(route)),
    };
    let mut response = Json(written).into_response();
    if result.what == ChangeResult::Created && !outcome.dry_run {
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(location) = HeaderValue::from_str(&Place::path(&result.key, instance)) {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    if let Some(route) = &result.route
        && !outcome.dry_run
    {
        let tag = tag(registry, route.generation);
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn may_read(actor: &Actor, key: &RouteKey) -> Result<()> {
    if actor.rights.allows(Action::Read, key, None) {
        return Ok(());
    }
    Err(not_made(
        &ChangeError::Scope {
            action: Action::Read,
            key: key.clone(),
            port: None,
        },
        "",
    ))
}

fn no_route(key: &RouteKey) -> Problem {
    not_made(&ChangeError::NoSuchRoute { key: key.clone() }, "")
}
