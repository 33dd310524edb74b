//! The set of routes: listed, put as a whole, changed in one go.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::condition::{conditions, tag};
use super::entries::{self, ChangeInput};
use super::error::{not_allowed, not_made};
use super::input::{Asked, query};
use super::openapi::refusals::{BadBody, NotMade, NotThere, Refused};
use super::openapi::requests::{ChangeList, IfMatch, RouteList};
use super::openapi::texts;
use super::problem::{Problem, internal};
use super::routes::{ResultName, WriteQuery, make};
use super::state::Control;
use super::view::{RouteView, Viewer};
use crate::registry::{Action, Actor, Change, Clock, Edits, Outcome, Registry, State as Snapshot};
use crate::route::{HostPattern, PathPrefix, Route, RouteSpec};

/// How many routes are written at a time.
const CHUNK: usize = 256;

/// The largest page.
const MAX_PAGE: usize = 10_000;

/// Which routes are listed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Of these request hosts: `*`, `example.com` or `*.example.com`.
    #[param(value_type = texts::HostPattern, required = false)]
    host: Option<String>,
    /// Of this prefix, or below it.
    #[param(value_type = texts::AskedPrefix, required = false)]
    prefix: Option<String>,
    /// With an instance of this owner.
    #[param(value_type = String, required = false)]
    owner: Option<String>,
    /// Without a request or a byte since then: a time (RFC 3339), or how long ago it was (`30m`).
    #[param(value_type = texts::Since, required = false)]
    inactive_since: Option<String>,
    /// At most so many: a page. Without it all are listed.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 10000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    #[param(value_type = texts::Cursor, required = false)]
    cursor: Option<String>,
}

/// Routes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List {
    /// The table's generation.
    generation: u64,
    /// How many routes are meant, on all pages.
    total: usize,
    /// The routes, by host and prefix.
    routes: Vec<RouteView>,
    /// Where the next page begins.
    #[schema(required)]
    next: Option<String>,
}

/// The result of a set, or of a list of changes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changed {
    /// The table's generation with the change.
    generation: u64,
    /// Whether nothing was changed, since that was asked for.
    dry_run: bool,
    /// Routes or instances that are new.
    created: usize,
    /// Those that are not what they were.
    replaced: usize,
    /// Those that are as they were.
    unchanged: usize,
    /// Those that are gone, or drain.
    removed: usize,
    /// The result of each change of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<ChangedEntry>>,
}

/// The result of one change of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangedEntry {
    host: String,
    prefix: String,
    result: ResultName,
}

type Result<T> = std::result::Result<T, Problem>;

/// Lists routes. Without a limit the answer streams from one moment's state, and holds nobody up.
#[utoipa::path(get, path = "/v1/routes", tag = "routes", operation_id = "listRoutes",
    params(ListQuery), responses(
        (status = 200, description = "The routes", body = List, headers(
            ("ETag" = inline(texts::EntityTag), description = "The set's state"),
        )),
        Refused,
    ))]
pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked<ListQuery>,
) -> Result<Response> {
    let query = query(asked)?;
    if !actor.rights.may(Action::Read) {
        return Err(not_allowed(Action::Read));
    }
    let filter = Filter::of(&control.registry, &query, actor)?;
    let registry = Arc::clone(&control.registry);
    let limit = query.limit;
    let listing = tokio::task::spawn_blocking(move || Listing::new(registry, &filter, limit))
        .await
        .map_err(|error| {
            log::error!("routes cannot be listed: {error}");
            internal()
        })?;
    let etag = tag(&control.registry, listing.state.generation());
    let fields = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ETAG, etag),
    ];
    Ok((fields, Body::from_stream(listing.stream())).into_response())
}

/// Puts the whole set: afterwards there are these routes and no others.
#[utoipa::path(put, path = "/v1/routes", tag = "routes", operation_id = "putRoutes",
    params(WriteQuery, IfMatch), request_body = RouteList, responses(
        (status = 200, description = "The set is this one; or what would come of it", body = Changed),
        Refused, BadBody, NotMade,
    ))]
pub(super) async fn put(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked<WriteQuery>,
    fields: HeaderMap,
    body: Body,
) -> Result<Response> {
    let dry_run = query(asked)?.dry_run;
    let registry = &control.registry;
    let routes = entries::list::<RouteSpec>(&control, &fields, body).await?;
    let change = Change {
        edits: Edits::All(routes),
        conditions: conditions(registry, &fields, None)?,
        dry_run,
        actor,
    };
    let outcome = registry
        .change(change)
        .await
        .map_err(|error| not_made(&error, "/routes"))?;
    Ok(changed(registry, &outcome, false))
}

/// Makes a list of changes, all or none.
#[utoipa::path(patch, path = "/v1/routes", tag = "routes", operation_id = "changeRoutes",
    params(WriteQuery, IfMatch), request_body = ChangeList, responses(
        (status = 200, description = "All changes are made; or what would come of them",
            body = Changed),
        Refused, NotThere, BadBody, NotMade,
    ))]
pub(super) async fn patch(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked<WriteQuery>,
    fields: HeaderMap,
    body: Body,
) -> Result<Response> {
    let dry_run = query(asked)?.dry_run;
    let registry = &control.registry;
    let edits = entries::list::<ChangeInput>(&control, &fields, body).await?;
    let is_one = edits.len() == 1;
    let conditions = conditions(registry, &fields, None)?;
    let outcome = make(registry, edits, conditions, dry_run, actor)
        .await
        .map_err(|problem| match problem.pointer {
            // What the store or a condition says is not about the entry.
            None if is_one
                && problem.code != "PRECONDITION_FAILED"
                && !problem.status.is_server_error() =>
            {
                problem.at("/changes/0")
            }
            _ => problem,
        })?;
    Ok(changed(registry, &outcome, true))
}

fn changed(registry: &Registry, outcome: &Outcome, with_results: bool) -> Response {
    let entries = || {
        let entry = |result: &crate::registry::EditResult| ChangedEntry {
            host: result.key.host.to_string(),
            prefix: result.key.prefix.to_string(),
            result: result.what.into(),
        };
        outcome.results.iter().map(entry).collect()
    };
    let counts = outcome.counts;
    let body = Changed {
        generation: outcome.generation.0,
        dry_run: outcome.dry_run,
        created: counts.created,
        replaced: counts.replaced,
        unchanged: counts.unchanged,
        removed: counts.removed,
        results: with_results.then(entries),
    };
    let mut response = Json(body).into_response();
    if !outcome.dry_run {
        let tag = tag(registry, outcome.generation);
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Which routes are meant.
struct Filter {
    host: Option<HostPattern>,
    prefix: Option<PathPrefix>,
    owner: Option<String>,
    inactive_since: Option<u64>,
    after: Option<(HostPattern, PathPrefix)>,
    actor: Actor,
}

impl Filter {
    fn of(registry: &Registry, query: &ListQuery, actor: Actor) -> Result<Self> {
        let bad = |name: &'static str, detail: String| {
            Problem::new(StatusCode::BAD_REQUEST, "INVALID_QUERY", detail).in_parameter(name)
        };
        if query
            .limit
            .is_some_and(|limit| !(1..=MAX_PAGE).contains(&limit))
        {
            return Err(bad("limit", format!("A page has 1 to {MAX_PAGE} routes.")));
        }
        let host = query.host.as_deref().map(host_pattern).transpose();
        let prefix = query.prefix.as_deref().map(PathPrefix::parse).transpose();
        let prefix = prefix.map(|prefix| prefix.map(|prefix| registry.spelt(prefix)));
        let after = match &query.cursor {
            None => None,
            Some(cursor) => {
                let key = cursor.find('/').map(|slash| cursor.split_at(slash));
                let key = key.and_then(|(host, prefix)| {
                    let prefix = registry.spelt(PathPrefix::parse(prefix).ok()?);
                    Some((host_pattern(host).ok()?, prefix))
                });
                let detail = || "The cursor is not the `next` of a page.".to_owned();
                Some(key.ok_or_else(|| bad("cursor", detail()))?)
            }
        };
        let inactive_since = match &query.inactive_since {
            None => None,
            Some(text) => Some(moment(registry.clock(), text).ok_or_else(|| {
                let detail = "inactive_since is neither a time such as 2026-01-31T12:00:00Z nor a \
                              length of time such as 30m.";
                bad("inactive_since", detail.to_owned())
            })?),
        };
        Ok(Self {
            host: host.map_err(|error| bad("host", format!("The host: {error}.")))?,
            prefix: prefix.map_err(|error| bad("prefix", format!("The prefix: {error}.")))?,
            owner: query.owner.clone(),
            inactive_since,
            after,
            actor,
        })
    }

    fn takes(&self, route: &Route) -> bool {
        let prefix = |own: &PathPrefix| route.prefix.is_below(own);
        let owner = |own: &String| {
            let mut instances = route.instances();
            instances.any(|instance| instance.owner.as_deref() == Some(own))
        };
        self.host.as_ref().is_none_or(|own| *own == route.host)
            && self.prefix.as_ref().is_none_or(prefix)
            && self.owner.as_ref().is_none_or(owner)
            && self.inactive_since.is_none_or(|since| {
                let totals = route.activity.totals();
                totals.last_activity < since
            })
            && self.may_see(route)
    }
}

impl Filter {
    fn may_see(&self, route: &Route) -> bool {
        let rights = &self.actor.rights;
        rights.is_all() || rights.allows(Action::Read, &route.key(), None)
    }
}

fn host_pattern(text: &str) -> std::result::Result<HostPattern, crate::route::HostError> {
    match text {
        "*" => Ok(HostPattern::Any),
        text => HostPattern::parse(text),
    }
}

/// A time, or how long ago it was, on the registry's clock.
fn moment(clock: &Clock, text: &str) -> Option<u64> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = u64::try_from(ago.as_millis()).ok()?;
        return Some(clock.now().saturating_sub(ago));
    }
    Some(clock.moment(date(text)?))
}

/// A time with its offset from UTC (RFC 3339, 5.6): `2026-01-31T13:00:00+01:00`.
fn date(text: &str) -> Option<SystemTime> {
    if let Ok(date) = humantime::parse_rfc3339_weak(text) {
        return Some(date);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let is_ahead = offset.starts_with('+');
    let (hours, minutes) = offset.strip_prefix(['+', '-'])?.split_once(':')?;
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let offset = Duration::from_secs((hours * 60 + minutes) * 60);
    if hours > 23 || minutes > 59 {
        return None;
    }
    if is_ahead {
        local.checked_sub(offset)
    } else {
        local.checked_add(offset)
    }
}

/// The routes that are meant, as of one moment.
struct Listing {
    registry: Arc<Registry>,
    state: Arc<Snapshot>,
    total: usize,
    routes: Vec<Arc<Route>>,
    next: Option<String>,
}

impl Listing {
    fn new(registry: Arc<Registry>, filter: &Filter, limit: Option<usize>) -> Self {
        let state = registry.state();
        let only_draining = state.draining.iter().filter(|route| {
            let key = route.key();
            state.routes.get(&key).is_none()
        });
        let all = state.routes.iter().chain(only_draining);
        let mut routes: Vec<Arc<Route>> =
            all.filter(|route| filter.takes(route)).cloned().collect();
        let total = routes.len();
        let key = |route: &Arc<Route>| (route.host.clone(), route.prefix.clone());
        if let Some(after) = &filter.after {
            routes.retain(|route| (&route.host, &route.prefix) > (&after.0, &after.1));
        }
        routes.sort_unstable_by(|a, b| (&a.host, &a.prefix).cmp(&(&b.host, &b.prefix)));
        let limit = limit.unwrap_or(usize::MAX);
        let next = (routes.len() > limit)
            .then(|| routes.get(limit - 1).map(key))
            .flatten()
            .map(|(host, prefix)| format!("{host}{prefix}"));
        routes.truncate(limit);
        Self {
            registry,
            state,
            total,
            routes,
            next,
        }
    }

    /// The whole document, piece by piece, as the client takes it.
    fn stream(self) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
        futures_util::stream::unfold((self, Some(0)), |(listing, at)| async move {
            let at = at?;
            let piece = listing.piece(at);
            let done = at + CHUNK >= listing.routes.len();
            Some((piece, (listing, (!done).then_some(at + CHUNK))))
        })
    }

    fn piece(&self, at: usize) -> std::io::Result<Bytes> {
        let viewer = Viewer::new(&self.registry, &self.state);
        let mut text = Vec::new();
        if at == 0 {
            let head = format!(
                "{{\"generation\":{},\"total\":{},\"routes\":[",
                self.state.generation(),
                self.total
            );
            text.extend_from_slice(head.as_bytes());
        }
        let end = (at + CHUNK).min(self.routes.len());
        let routes = self.routes.get(at..end).unwrap_or_default();
        for (index, route) in routes.iter().enumerate() {
            if at + index > 0 {
                text.push(b',');
            }
            serde_json::to_writer(&mut text, &viewer.of(route))?;
        }
        if end == self.routes.len() {
            text.extend_from_slice(b"],\"next\":");
            serde_json::to_writer(&mut text, &self.next)?;
            text.push(b'}');
        }
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_ends_now() {
        let now = 10_000_000;
        let clock = Clock::from(now);
        for (text, expected) in [
            ("0s", now),
            ("1ms", now - 1),
            ("1s", now - 1_000),
            ("1m 30s", now - 90_000),
            ("1h", now - 3_600_000),
            // Longer ago than the clock goes back.
            ("1000y", 0),
        ] {
            let late = moment(&clock, text).unwrap() - expected;
            // What passes between the two lines, on the clock of the machine.
            assert!(late <= clock.now() - now, "{text}: {late}");
        }
    }

    #[test]
    fn a_date_has_an_offset_from_utc() {
        let utc = |text: &str| date(text).map(|date| humantime::format_rfc3339(date).to_string());
        for (text, expected) in [
            ("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00Z")),
            ("2026-01-31T12:00:00+01:30", Some("2026-01-31T10:30:00Z")),
            ("2026-01-31T23:00:00-01:00", Some("2026-02-01T00:00:00Z")),
            ("2026-01-31T12:00:00+24:00", None),
            ("2026-01-31T12:00:00+01:60", None),
            ("2026-01-31T12:00:00 01:00", None),
            ("2026-01-31T12:00:00+0100", None),
            ("+01:00", None),
            ("é", None),
        ] {
            assert_eq!(utc(text).as_deref(), expected, "{text}");
        }
    }
}
