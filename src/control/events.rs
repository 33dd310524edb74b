//! `GET /v1/events`: what happens, as server-sent events (WHATWG HTML, 9.2).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use super::error::not_allowed;
use super::input::{Asked, query};
use super::openapi::refusals::Refused;
use super::openapi::requests::LastEventId;
use super::problem::Problem;
use super::state::Control;
use super::tokens::Pass;
use crate::registry::{
    Action, Actor, Event, History, Missed, ProxyFailure, Recorded, RegisterFailure, Registry,
    Renewal, RouteEvent, RoutesEvent,
};
use crate::route::{
    HostPattern, Instance, InstanceSpec, PathPrefix, Route, RouteKey, Target, clip_message,
};

/// How often a reader is shown that the connection lives, at least.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the token of a reader is looked at, at least: it may have been revoked.
const TOKEN_CHECK: Duration = Duration::from_secs(1);

/// How many events are written at a time.
const MOST: usize = 256;

/// The query of a reader of events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Whether to tell of renewals of leases that change nothing else, as `lease_renewed`. They have no id, and
    /// are not kept for readers that come back.
    #[param(example = true)]
    #[serde(default)]
    renewals: bool,
}

/// Follows what happens. A reader that comes back with `Last-Event-ID` gets what it missed; one that
/// is too slow is told how much it missed, by an event `missed`, with `"changes": false` if no change of a route
/// is among it. Only some failures of one code are kept in a second: the next one says in `suppressed` how many
/// were not. The stream of a token that is revoked ends within two seconds.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "followEvents",
    params(EventsQuery, LastEventId), responses(
        (status = 200, description = "The events, without end: each has an `id`, a name in `event`, \
            and JSON in `data`", body = String, content_type = "text/event-stream"),
        Refused,
    ))]
pub(super) async fn follow(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked<EventsQuery>,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    let asked = query(asked)?;
    if !actor.rights.may(Action::Events) {
        return Err(not_allowed(Action::Events));
    }
    let mut reader = Reader::new(&control.registry, actor, fields.get("last-event-id"));
    reader.pass = control.callers.pass(&fields);
    if asked.renewals {
        reader.renewals = Some(control.registry.subscribe_renewals());
    }
    let fields = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((fields, Body::from_stream(reader.stream())).into_response())
}

/// One reader: where it is, and nothing else. What it does not take stays where it is.
struct Reader {
    actor: Actor,
    /// The token by which it reads, if by one.
    pass: Option<Pass>,
    history: Arc<History>,
    from: u64,
    /// The renewals, if it wants to know of them.
    renewals: Option<broadcast::Receiver<Arc<Renewal>>>,
    /// The text that is to be sent before the next event.
    first: String,
}

/// The news for a reader of events.
enum News {
    Events,
    Renewal(Arc<Renewal>),
    /// So many renewals came too fast for this reader.
    MissedRenewals(u64),
}

impl Reader {
    fn new(registry: &Registry, actor: Actor, last: Option<&HeaderValue>) -> Self {
        let history = Arc::clone(registry.history());
        let next = history.next();
        let mut first = "retry: 1000\n\n".to_owned();
        let from = match last.and_then(|value| value.to_str().ok()) {
            None => next,
            Some(id) => after(&history, id).map_or_else(
                || {
                    // The process of that event is gone, and what it saw since.
                    first.push_str("event: missed\ndata: {\"missed\":null}\n\n");
                    1
                },
                |from| from.min(next),
            ),
        };
        Self {
            actor,
            pass: None,
            history,
            from,
            renewals: None,
            first,
        }
    }

    fn stream(self) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
        futures_util::stream::unfold(self, |mut reader| async move {
            let piece = reader.piece().await?;
            Some((Ok(Bytes::from(piece)), reader))
        })
    }

    /// Whether it may still read: its token may have been revoked, or allow less by now.
    fn may_read(&mut self) -> bool {
        let Some(pass) = &self.pass else {
            return true;
        };
        match pass.rights() {
            Some(rights) if rights.may(Action::Events) => {
                self.actor.rights = rights;
                true
            }
            _ => {
                let (name, id) = (&self.actor.name, &self.actor.request);
                log::info!(
                    "the events for {} end: the token is no longer valid [{}]",
                    name.as_deref().unwrap_or_default(),
                    id.as_deref().unwrap_or_default()
                );
                false
            }
        }
    }

    /// Waits for news, at most until `end`; none if there are none until then. An error means that the
    /// reader may no longer read.
    async fn wait_until(&mut self, end: Instant) -> Result<Option<News>, Revoked> {
        loop {
            if !self.may_read() {
                return Err(Revoked);
            }
            let now = Instant::now();
            if now >= end {
                return Ok(None);
            }
            let look = match self.pass {
                Some(_) => end.min(now + TOKEN_CHECK),
                None => end,
            };
            let news = news(&self.history, self.from, self.renewals.as_mut());
            if let Ok(news) = timeout_at(look, news).await {
                return Ok(Some(news));
            }
        }
    }

    /// Returns the text that is to be sent next; `None` at the end.
    async fn piece(&mut self) -> Option<String> {
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            return Some(first);
        }
        let end = Instant::now() + HEARTBEAT;
        loop {
            let text = match self.wait_until(end).await.ok()? {
                None => ":\n\n".to_owned(),
                Some(News::Events) => self.events(),
                Some(News::Renewal(renewal)) => self.renewals(&renewal),
                Some(News::MissedRenewals(count)) => missed_renewals(count),
            };
            if !text.is_empty() {
                return Some(text);
            }
        }
    }

    /// The next events.
    fn events(&mut self) -> String {
        let reading = self.history.read(self.from, MOST);
        self.from = reading.next;
        let mut text = String::new();
        for (missed, recorded) in &reading.events {
            if let Some(missed) = missed {
                // The id of the last one that is missed: whoever comes back with it gets the rest.
                self.write(&mut text, missed.last, "missed", &shown_missed(*missed));
            }
            if let Some((name, data)) = self.shown(recorded) {
                self.write(&mut text, recorded.number, name, &data);
            }
        }
        text
    }

    /// A renewal, and those that have come behind it.
    fn renewals(&mut self, first: &Renewal) -> String {
        let mut text = String::new();
        self.write_renewal(&mut text, first);
        for _ in 1..MOST {
            match self.renewals.as_mut().map(broadcast::Receiver::try_recv) {
                Some(Ok(renewal)) => self.write_renewal(&mut text, &renewal),
                Some(Err(TryRecvError::Lagged(count))) => text.push_str(&missed_renewals(count)),
                Some(Err(TryRecvError::Empty | TryRecvError::Closed)) | None => break,
            }
        }
        text
    }

    /// Writes a renewal, if this reader may know of it. Without an id: it is not kept, and whoever comes back
    /// does so with the id of an event.
    fn write_renewal(&self, text: &mut String, renewal: &Renewal) {
        if !self.may_know_of(&renewal.key) {
            return;
        }
        let data = json!({
            "generation": renewal.generation.0,
            "host": renewal.key.host.to_string(),
            "prefix": renewal.key.prefix.as_str(),
            "instance": instance(&renewal.instance),
        });
        let event = format!("event: lease_renewed\ndata: {data}\n\n");
        text.push_str(&event);
    }

    fn write(&self, text: &mut String, number: u64, name: &str, data: &Value) {
        let epoch = self.history.epoch();
        let event = format!("id: {epoch:08x}-{number}\nevent: {name}\ndata: {data}\n\n");
        text.push_str(&event);
    }

    /// An event's name and what it says, if this reader may know of it.
    fn shown(&self, recorded: &Recorded) -> Option<(&'static str, Value)> {
        let (name, key, mut data) = match &recorded.event {
            Event::RouteRegistered(route, instance) => (
                "route_registered",
                Some(route.key()),
                registered(route, &instance.target),
            ),
            Event::RegisterError(failure) => ("register_error", None, register_error(failure)),
            Event::ProxyError(failure) => {
                let key = failure.route.as_ref().map(|route| route.key());
                ("proxy_error", key, proxy_error(failure))
            }
            Event::Route(event) => (
                event.kind.name(),
                Some(event.key.clone()),
                route_event(event),
            ),
            Event::Routes(event) => ("routes_changed", None, routes_event(*event)),
        };
        if recorded.suppressed > 0 {
            add(&mut data, &json!({ "suppressed": recorded.suppressed }));
        }
        let key = key.unwrap_or_else(everything);
        self.may_know_of(&key).then_some((name, data))
    }

    fn may_know_of(&self, key: &RouteKey) -> bool {
        self.actor.rights.allows(Action::Events, key, None)
    }
}

/// The reader may no longer read.
struct Revoked;

/// Waits for an event from number `from` on, or for a renewal.
async fn news(
    history: &History,
    from: u64,
    renewals: Option<&mut broadcast::Receiver<Arc<Renewal>>>,
) -> News {
    let events = history.wait_for(from);
    let Some(renewals) = renewals else {
        events.await;
        return News::Events;
    };
    let renewal = async {
        match renewals.recv().await {
            Ok(renewal) => News::Renewal(renewal),
            Err(RecvError::Lagged(count)) => News::MissedRenewals(count),
            // The registry is gone, and the server stops.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = events => News::Events,
        renewal = renewal => renewal,
    }
}

/// Returns the data of a `missed` event for events that are no longer kept.
fn shown_missed(missed: Missed) -> Value {
    if missed.may_be_changes {
        json!({ "missed": missed.count })
    } else {
        json!({ "missed": missed.count, "changes": false })
    }
}

/// Returns the `missed` event for renewals that came too fast for the reader.
fn missed_renewals(count: u64) -> String {
    let data = json!({ "missed": count, "changes": false });
    format!("event: missed\ndata: {data}\n\n")
}

/// An instance as it was asked for: what changes without an event does not stand in one.
fn instance(instance: &Arc<Instance>) -> Value {
    let mut shown = json!({"host": null, "port": null, "unix": null, "owner": null, "ttl": null});
    add(&mut shown, &InstanceSpec::of(instance));
    shown
}

/// Adds the fields of an object to another.
fn add(shown: &mut Value, object: &impl Serialize) {
    match (shown, serde_json::to_value(object)) {
        (Value::Object(shown), Ok(Value::Object(object))) => shown.extend(object),
        (_, Ok(other)) => log::error!("{other} is no object"),
        (_, Err(error)) => log::error!("an event cannot be written as JSON: {error}"),
    }
}

fn registered(route: &Route, target: &Target) -> Value {
    json!({
        "generation": route.generation.0,
        "host": route.host.to_string(),
        "prefix": route.prefix.as_str(),
        "target": {
            "host": target.host(),
            "port": target.port(),
            "unix": target.unix(),
        },
    })
}

fn route_event(event: &RouteEvent) -> Value {
    let view = |route: &Arc<Route>| {
        let instances: Vec<_> = route.instances().map(instance).collect();
        let mut shown = json!({ "generation": route.generation.0, "instances": instances });
        if let Some(settings) = route.settings() {
            add(&mut shown, settings);
        }
        shown
    };
    let mut data = json!({
        "generation": event.generation.0,
        "host": event.key.host.to_string(),
        "prefix": event.key.prefix.as_str(),
        "before": event.before.as_ref().map(view),
        "after": event.after.as_ref().map(view),
    });
    if let (Some(one), Some(data)) = (&event.instance, data.as_object_mut()) {
        data.insert("instance".to_owned(), instance(one));
    }
    data
}

/// A key that only who may follow everything may follow.
fn everything() -> RouteKey {
    RouteKey {
        host: HostPattern::Any,
        prefix: PathPrefix::root(),
    }
}

/// The number behind an id of this process.
fn after(history: &History, id: &str) -> Option<u64> {
    let (epoch, number) = id.split_once('-')?;
    let is_ours = epoch == format!("{:08x}", history.epoch());
    is_ours.then(|| number.parse::<u64>().ok())??.checked_add(1)
}

fn register_error(failure: &RegisterFailure) -> Value {
    json!({
        "error": failure.error.code(),
        "message": clip_message(failure.error.to_string()),
        "peer": failure.peer.map(|peer| peer.to_string()),
    })
}

fn proxy_error(failure: &ProxyFailure) -> Value {
    json!({
        "error": failure.error.code(),
        "message": failure.error.to_string(),
        "status": failure.status.as_u16(),
        "method": failure.method.as_str(),
        "host": failure.host,
        "path": failure.path,
        "route": failure.route.as_ref().map(|route| json!({
            "host": route.host.to_string(),
            "prefix": route.prefix.as_str(),
        })),
    })
}

fn routes_event(event: RoutesEvent) -> Value {
    json!({
        "generation": event.generation.0,
        "created": event.counts.created,
        "replaced": event.counts.replaced,
        "unchanged": event.counts.unchanged,
        "removed": event.counts.removed,
    })
}
