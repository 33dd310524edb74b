//! The input of clients, where the types that read it say less than the description may: parameters
//! that are read by hand, and bodies whose fields depend on each other.

#![expect(
    dead_code,
    reason = "the description's; `place`, `condition` and `input` read the requests"
)]

use utoipa::{IntoParams, ToSchema};

use super::texts;
use crate::route::{InstanceSpec, RouteSpec, Settings, With};

/// Where a route is.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::control) struct RoutePath {
    /// The request hosts; `*` for any.
    #[param(value_type = texts::HostPattern, example = "*")]
    host: String,
    /// The path prefix, of as many segments as it has, with plain slashes between them: the prefix
    /// `/shop/cart` is `/v1/routes/*/shop/cart`, the prefix `/` is `/v1/routes/*/`. A client that
    /// escapes slashes in parameters has to be told not to.
    #[param(value_type = texts::PathOfPrefix, example = "shop")]
    prefix: String,
}

/// Which instance of a route.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::control) struct InstancePath {
    /// The instance.
    #[param(value_type = texts::InstanceId)]
    id: String,
}

/// Which certificate.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::control) struct CertificatePath {
    /// The certificate.
    #[param(value_type = texts::CertificateName, example = "site")]
    name: String,
}

/// The precondition of a change of something that may be there.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::control) struct IfMatch {
    /// The entity tag that the route, or the set, has to have; `*` for any.
    #[param(rename = "If-Match", value_type = texts::EntityTags, required = false)]
    if_match: String,
}

/// The precondition of a change of something that may not be there.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::control) struct IfNoneMatch {
    /// `*`: the route must not be there.
    #[param(rename = "If-None-Match", value_type = texts::Star, required = false)]
    if_none_match: String,
}

/// The last event that a reader has read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::control) struct LastEventId {
    /// The id of the last event that was read.
    #[param(rename = "Last-Event-ID", required = false, example = "5f0c2a11-7")]
    last_event_id: String,
}

/// A route as it is asked for: its instances, or the one instance's own fields.
#[derive(ToSchema)]
#[schema(as = RouteInput, example = json!({"port": 4321}))]
#[serde(untagged)]
pub(in crate::control) enum Route {
    /// Its instances.
    Several(SeveralInstances),
    /// The fields of its one instance, which is called `default`.
    Single(SingleInstance),
}

/// The instances of a route, and its settings.
pub(in crate::control) type SeveralInstances = With<Several, Settings>;

/// A route of one instance, which is called `default`.
pub(in crate::control) type SingleInstance = With<With<Single, InstanceSpec>, Settings>;

/// An instance whose name stands elsewhere.
pub(in crate::control) type NamedInstance = With<Named, InstanceSpec>;

/// A route of several instances, and its settings.
#[derive(ToSchema)]
#[schema(as = Instances)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Several {
    /// The instances, each with a name of its own.
    #[schema(min_items = 1, max_items = 1000)]
    instances: Vec<InstanceSpec>,
}

/// A route of one instance, which is called `default`.
#[derive(ToSchema)]
#[schema(as = SingleInstance, example = json!({"port": 4321, "ttl": "30s"}))]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Single {}

/// An instance of a route. Its name is in the path.
#[derive(ToSchema)]
#[schema(as = NamedInstance, example = json!({"port": 4321, "ttl": "30s"}))]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Named {}

/// The whole set of routes.
#[derive(ToSchema)]
#[schema(as = SetInput, example = json!({"routes": [{"host": "*", "prefix": "/shop", "instances": [{"port": 4321}]}]}))]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct RouteList {
    /// The routes; all others are removed.
    routes: Vec<RouteSpec>,
}

/// A list of changes.
#[derive(ToSchema)]
#[schema(as = BatchInput, example = json!({"changes": [
    {"op": "join", "host": "*", "prefix": "/shop", "instance": {"id": "a", "port": 4321, "ttl": "30s"}},
    {"op": "leave", "host": "*", "prefix": "/shop", "id": "a", "drain": "30s"}
]}))]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct ChangeList {
    /// The changes, made in their order, all or none.
    changes: Vec<Change>,
}

/// One change of a list.
#[derive(ToSchema)]
#[schema(as = Change)]
#[serde(untagged)]
pub(in crate::control) enum Change {
    /// The route has these instances and no others.
    Put(PutChange),
    /// The route is gone.
    Remove(Remove),
    /// The route has this instance too.
    Join(Join),
    /// The route does not have this instance any more.
    Leave(Leave),
    /// The route has other settings.
    Set(SetChange),
}

/// The route has these instances and these settings, and no others.
pub(in crate::control) type PutChange = With<Put, Settings>;

/// The route has these instances and no others.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Put {
    #[schema(inline, value_type = texts::OpPut)]
    op: String,
    #[schema(value_type = texts::HostPattern)]
    host: String,
    #[schema(value_type = texts::AskedPrefix)]
    prefix: String,
    /// The instances, each with a name of its own.
    #[schema(min_items = 1, max_items = 1000)]
    instances: Vec<InstanceSpec>,
}

/// The route has other settings: those that are left out stay, and those that are `null` are taken back.
pub(in crate::control) type SetChange = With<Set, Settings>;

/// The route has other settings, and its instances stay. A setting that is left out stays, one that is `null` is
/// taken back, and so is a single limit of `timeouts`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Set {
    #[schema(inline, value_type = texts::OpSet)]
    op: String,
    #[schema(value_type = texts::HostPattern)]
    host: String,
    #[schema(value_type = texts::AskedPrefix)]
    prefix: String,
}

/// The route is gone.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Remove {
    #[schema(inline, value_type = texts::OpRemove)]
    op: String,
    #[schema(value_type = texts::HostPattern)]
    host: String,
    #[schema(value_type = texts::AskedPrefix)]
    prefix: String,
    /// How long requests in flight may go on.
    #[schema(value_type = Option<texts::Drain>)]
    drain: Option<String>,
}

/// The route has this instance too.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Join {
    #[schema(inline, value_type = texts::OpJoin)]
    op: String,
    #[schema(value_type = texts::HostPattern)]
    host: String,
    #[schema(value_type = texts::AskedPrefix)]
    prefix: String,
    instance: InstanceSpec,
}

/// The route does not have this instance any more.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Leave {
    #[schema(inline, value_type = texts::OpLeave)]
    op: String,
    #[schema(value_type = texts::HostPattern)]
    host: String,
    #[schema(value_type = texts::AskedPrefix)]
    prefix: String,
    #[schema(value_type = texts::InstanceId)]
    id: String,
    /// How long requests in flight may go on.
    #[schema(value_type = Option<texts::Drain>)]
    drain: Option<String>,
}
