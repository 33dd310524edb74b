//! What clients send, where the types that read it say less than the description may: parameters
//! that are read by hand, and bodies whose fields depend on each other.

#![expect(
    dead_code,
    reason = "the description's; `place`, `condition` and `input` read the requests"
)]

use utoipa::{IntoParams, ToSchema};

use super::texts;
use crate::control::input::InstanceInput;
use crate::registry::HttpsInput;

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

/// What a change of something that may be there expects.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::control) struct IfMatch {
    /// The entity tag that the route, or the set, has to have; `*` for any.
    #[param(rename = "If-Match", value_type = texts::EntityTags, required = false)]
    if_match: String,
}

/// What a change of something that may not be there expects.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::control) struct IfNoneMatch {
    /// `*`: the route must not be there.
    #[param(rename = "If-None-Match", value_type = texts::Star, required = false)]
    if_none_match: String,
}

/// What a reader of events has read.
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

/// The instances of a route.
#[derive(ToSchema)]
#[schema(as = Instances)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct SeveralInstances {
    /// The instances, each with a name of its own.
    #[schema(min_items = 1, max_items = 1000)]
    instances: Vec<InstanceInput>,
    /// What becomes of requests in cleartext; if it is not given, what `tls.routes` says.
    #[schema(value_type = Option<texts::TlsPolicy>)]
    tls: Option<String>,
    /// What browsers are told about later requests; if it is not given, what `tls.hsts` says.
    #[schema(value_type = Option<texts::Hsts>)]
    hsts: Option<String>,
    /// Whether clients have to show a certificate.
    #[schema(value_type = Option<texts::ClientCertificate>)]
    client_certificate: Option<String>,
}

/// A route of one instance, which is called `default`.
#[derive(ToSchema)]
#[schema(as = SingleInstance, example = json!({"port": 4321, "ttl": "30s"}))]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct SingleInstance {
    /// The target's host.
    #[schema(value_type = Option<texts::TargetHost>)]
    host: Option<String>,
    /// The target's port; needed unless there is a Unix socket.
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// The target's Unix socket, instead of a host and a port.
    #[schema(value_type = Option<texts::UnixPath>)]
    unix: Option<String>,
    /// What is spoken there.
    #[schema(value_type = Option<texts::Protocol>)]
    protocol: Option<String>,
    /// Whether, or how, the connection to the target is secured.
    https: Option<HttpsInput>,
    /// Whose it is; the token's name, if nobody is named.
    #[schema(value_type = Option<texts::Owner>)]
    owner: Option<String>,
    /// How long it stays unless it is renewed. Without one it stays for good.
    #[schema(value_type = Option<texts::Lease>)]
    ttl: Option<String>,
    /// What becomes of requests in cleartext; if it is not given, what `tls.routes` says.
    #[schema(value_type = Option<texts::TlsPolicy>)]
    tls: Option<String>,
    /// What browsers are told about later requests; if it is not given, what `tls.hsts` says.
    #[schema(value_type = Option<texts::Hsts>)]
    hsts: Option<String>,
    /// Whether clients have to show a certificate.
    #[schema(value_type = Option<texts::ClientCertificate>)]
    client_certificate: Option<String>,
}

/// An instance whose name stands elsewhere.
#[derive(ToSchema)]
#[schema(as = NamedInstance, example = json!({"port": 4321, "ttl": "30s"}))]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct NamedInstance {
    /// The target's host.
    #[schema(value_type = Option<texts::TargetHost>)]
    host: Option<String>,
    /// The target's port; needed unless there is a Unix socket.
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// The target's Unix socket, instead of a host and a port.
    #[schema(value_type = Option<texts::UnixPath>)]
    unix: Option<String>,
    /// What is spoken there.
    #[schema(value_type = Option<texts::Protocol>)]
    protocol: Option<String>,
    /// Whether, or how, the connection to the target is secured.
    https: Option<HttpsInput>,
    /// Whose it is; the token's name, if nobody is named.
    #[schema(value_type = Option<texts::Owner>)]
    owner: Option<String>,
    /// How long it stays unless it is renewed. Without one it stays for good.
    #[schema(value_type = Option<texts::Lease>)]
    ttl: Option<String>,
}

/// One change of a list.
#[derive(ToSchema)]
#[schema(as = Change)]
#[serde(untagged)]
pub(in crate::control) enum Change {
    /// The route has these instances and no others.
    Put(Put),
    /// The route is gone.
    Remove(Remove),
    /// The route has this instance too.
    Join(Join),
    /// The route does not have this instance any more.
    Leave(Leave),
}

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
    instances: Vec<InstanceInput>,
    /// What becomes of requests in cleartext; if it is not given, what `tls.routes` says.
    #[schema(value_type = Option<texts::TlsPolicy>)]
    tls: Option<String>,
    /// What browsers are told about later requests; if it is not given, what `tls.hsts` says.
    #[schema(value_type = Option<texts::Hsts>)]
    hsts: Option<String>,
    /// Whether clients have to show a certificate.
    #[schema(value_type = Option<texts::ClientCertificate>)]
    client_certificate: Option<String>,
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
    instance: InstanceInput,
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
