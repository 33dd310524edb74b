//! `GET /v1/match`: which route takes a URL, and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::not_allowed;
use super::input::{Asked, query};
use super::openapi::refusals::Refused;
use super::openapi::texts;
use super::problem::Problem;
use super::state::Control;
use super::view::{RouteView, Viewer};
use crate::registry::{Action, Actor, State as Snapshot};
use crate::route::{HostPattern, PathPrefix, RequestHost, RequestPath, Route, RouteKey};

/// The query.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MatchQuery {
    /// The URL, or its path alone for a request without a host.
    #[param(value_type = texts::Url)]
    url: String,
}

/// Where a URL goes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Match {
    /// The host as it is matched; empty for none.
    host: String,
    /// The path as it is matched and forwarded.
    path: String,
    /// The table's generation.
    generation: u64,
    /// The route that takes it.
    #[schema(required)]
    route: Option<RouteView>,
    /// The routes that could, the first of which does.
    considered: Vec<Considered>,
    /// The reason, as a sentence.
    why: String,
}

/// A route whose host and prefix fit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Considered {
    host: String,
    prefix: String,
    /// Whether it is the one.
    taken: bool,
    /// Why, or why not.
    why: &'static str,
}

/// Says which route takes a URL, and why.
#[utoipa::path(get, path = "/v1/match", tag = "routes", operation_id = "matchUrl",
    params(MatchQuery), responses(
        (status = 200, description = "Where it goes", body = Match),
        Refused,
    ))]
pub(super) async fn find(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked<MatchQuery>,
) -> Result<Json<Match>, Problem> {
    if !actor.rights.may(Action::Read) {
        return Err(not_allowed(Action::Read));
    }
    let url = query(asked)?.url;
    let (host, path) = taken_apart(&url)?;
    let registry = &control.registry;
    let state = registry.state();
    let candidates: Vec<&Arc<Route>> = candidates(&state, &host, &path)
        .into_iter()
        .filter(|route| actor.rights.allows(Action::Read, &route.key(), None))
        .collect();
    let taken = state.routes.lookup(&host, &path);
    let considered = candidates
        .iter()
        .map(|route| Considered {
            host: route.host.to_string(),
            prefix: route.prefix.to_string(),
            taken: taken.is_some_and(|taken| Arc::ptr_eq(taken, route)),
            why: why(route, taken),
        })
        .collect();
    let route = taken.filter(|route| actor.rights.allows(Action::Read, &route.key(), None));
    let sentence = match (route, taken) {
        (Some(route), _) => format!(
            "{} takes it: {}, and {} is the longest prefix there that contains the path.",
            route.key(),
            host_reason(&route.host),
            route.prefix,
        ),
        (None, Some(_)) => "A route takes it that this token may not see.".to_owned(),
        (None, None) => format!(
            "No route takes it: none for {} has a prefix that contains {path}.",
            if host.is_empty() { "any host" } else { &host },
        ),
    };
    Ok(Json(Match {
        generation: state.generation().0,
        route: route.map(|route| Viewer::new(registry, &state).of(route)),
        considered,
        why: sentence,
        host,
        path,
    }))
}

/// The host and the path of a URL, as they are matched.
fn taken_apart(url: &str) -> Result<(String, String), Problem> {
    let bad = |detail: String| {
        Problem::new(StatusCode::BAD_REQUEST, "INVALID_URL", detail).in_parameter("url")
    };
    // A URL's fragment is not sent.
    let url = url.split('#').next().unwrap_or_default();
    let uri: Uri = url
        .parse()
        .map_err(|error| bad(format!("The url {url:?} is not a URL: {error}.")))?;
    let host = match uri.authority() {
        None => String::new(),
        Some(authority) => RequestHost::parse(authority.as_str())
            .map_err(|error| bad(format!("The url's host: {error}.")))?
            .into_name()
            .into_owned(),
    };
    let path = if uri.path().is_empty() {
        "/"
    } else {
        uri.path()
    };
    let path = RequestPath::parse(path.as_bytes())
        .map_err(|error| bad(format!("The url's path: {error}.")))?;
    if !path.as_str().starts_with('/') {
        return Err(bad(
            "The url has no path; write it with its scheme, as http://example.com/shop, \
                        or as a path, /shop."
                .to_owned(),
        ));
    }
    Ok((host, path.as_str().to_owned()))
}

/// The routes whose host and prefix fit, the one that is taken first.
fn candidates<'s>(state: &'s Snapshot, host: &str, path: &str) -> Vec<&'s Arc<Route>> {
    let mut found: Vec<&Arc<Route>> = Vec::new();
    for host in hosts(host) {
        let mut end = path.len();
        loop {
            let text = path.get(..end).unwrap_or("/");
            let prefix = PathPrefix::parse(if text.is_empty() { "/" } else { text });
            let key = prefix.ok().map(|prefix| RouteKey {
                host: host.clone(),
                prefix,
            });
            let route = key.and_then(|key| state.routes.get(&key));
            if let Some(route) = route
                && !found.iter().any(|known| Arc::ptr_eq(known, route))
            {
                found.push(route);
            }
            match text.rfind('/') {
                Some(slash) => end = slash,
                None => break,
            }
        }
    }
    found
}

/// The patterns that take a host, the most specific first.
fn hosts(host: &str) -> Vec<HostPattern> {
    let mut patterns: Vec<HostPattern> = HostPattern::parse(host).into_iter().collect();
    for (dot, _) in host.match_indices('.') {
        let parent = host.get(dot..).unwrap_or_default();
        patterns.extend(HostPattern::parse(&format!("*{parent}")));
    }
    patterns.push(HostPattern::Any);
    patterns
}

fn host_reason(host: &HostPattern) -> &'static str {
    match host {
        HostPattern::Exact(_) => "a route for this very host goes before all others",
        HostPattern::Wildcard(_) => "the longest wildcard goes before shorter ones and any host",
        HostPattern::Any => "no route for this host has a prefix that fits",
    }
}

fn why(route: &Arc<Route>, taken: Option<&Arc<Route>>) -> &'static str {
    match taken {
        Some(taken) if Arc::ptr_eq(taken, route) => {
            "the most specific host, and the longest prefix there that contains the path"
        }
        Some(taken) if taken.host == route.host => "a longer prefix contains the path",
        _ => "a more specific host has a prefix that contains the path",
    }
}
