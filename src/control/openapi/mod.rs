//! `GET /openapi.json`: the API, described by its own types. What every operation has is added here
//! once, and so are the operations on one instance, which share their handlers with those on a route.

pub(super) mod refusals;
pub(super) mod requests;
pub(super) mod texts;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, RefOr, Response, Schema};
use utoipa::{Modify, OpenApi};

use self::refusals::{BadBody, NotMade, NotThere, Refused};
use self::requests::{IfMatch, IfNoneMatch, InstancePath, RoutePath};
use super::generation::GENERATION;
use super::routes::{RemoveQuery, Removed, WriteQuery, Written};
use super::state::Control;
use super::view::InstanceView;
use super::{problem, register};
use crate::health::{LIVENESS, READINESS};

/// The name of the way to say who one is.
const TOKEN: &str = "token";

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "dynamic-reverse-proxy",
        description = "The control API: routes as a resource, with leases, drains and events. What \
            is refused is a problem document (RFC 9457), and changes nothing. Every answer has the \
            table's generation in `x-route-generation`.",
        license(name = "MIT", identifier = "MIT")
    ),
    servers((url = "/", description = "The listener that this was read from")),
    paths(
        super::set::list,
        super::set::put,
        super::set::patch,
        super::routes::read,
        super::routes::put,
        super::routes::remove,
        read_instance,
        put_instance,
        remove_instance,
        super::matching::find,
        super::events::follow,
        super::status::status,
        super::health::live,
        super::health::ready,
        super::certificates::list,
        super::certificates::read,
        super::certificates::put,
        super::certificates::remove,
        super::register::register,
        document,
    ),
    components(schemas(
        problem::Document,
        refusals::Refusal,
        texts::HostPattern,
        texts::AskedPrefix,
        texts::PathOfPrefix,
        texts::InstanceId,
        texts::CertificateName,
        texts::Drain,
        texts::Since,
        texts::Cursor,
        texts::Url,
        texts::EntityTags,
        texts::Star,
    )),
    tags(
        (name = "routes", description = "Routes and their instances"),
        (name = "events", description = "What happens"),
        (name = "status", description = "What is running"),
        (name = "certificates", description = "The certificates of TLS with clients"),
        (name = "registration", description = "The door for apps"),
    ),
    modifiers(&Everywhere),
)]
struct Api;

/// Reads this description.
#[utoipa::path(get, path = "/openapi.json", tag = "status", operation_id = "getDescription", responses(
    (status = 200, description = "The API in OpenAPI 3.1", body = utoipa::openapi::Object),
    Refused,
))]
pub(super) async fn document(State(control): State<Arc<Control>>) -> Json<Document> {
    let callers = &control.callers;
    Json(described(
        callers.need_token(),
        callers.need_token_to_register(),
    ))
}

/// Reads an instance of a route.
#[utoipa::path(get, path = "/v1/routes/{host}/{prefix}/instances/{id}", tag = "routes",
    operation_id = "getInstance", params(RoutePath, InstancePath), responses(
        (status = 200, description = "The instance", body = InstanceView, headers(
            ("ETag" = inline(texts::EntityTag), description = "The route's state"),
        )),
        Refused, NotThere,
    ))]
#[expect(dead_code, reason = "the description's; `routes::read` does it")]
fn read_instance() {}

/// Puts an instance: the route has it afterwards, beside those that it had.
#[utoipa::path(put, path = "/v1/routes/{host}/{prefix}/instances/{id}", tag = "routes",
    operation_id = "putInstance",
    params(RoutePath, InstancePath, WriteQuery, IfMatch, IfNoneMatch),
    request_body = requests::NamedInstance, responses(
        (status = 200, description = "Replaced, renewed or unchanged; or what would be", body = Written),
        (status = 201, description = "Joined", body = Written, headers(
            ("ETag" = inline(texts::EntityTag), description = "The route's state"),
            ("Location" = String, description = "The route's path"),
        )),
        Refused, BadBody, NotMade,
    ))]
#[expect(dead_code, reason = "the description's; `routes::put` does it")]
fn put_instance() {}

/// Removes an instance of a route; without its last one the route is gone.
#[utoipa::path(delete, path = "/v1/routes/{host}/{prefix}/instances/{id}", tag = "routes",
    operation_id = "removeInstance",
    params(RoutePath, InstancePath, RemoveQuery, IfMatch), responses(
        (status = 200, description = "Removed, or draining; or what would be", body = Removed),
        Refused, NotThere, NotMade,
    ))]
#[expect(dead_code, reason = "the description's; `routes::remove` does it")]
fn remove_instance() {}

/// The description of an API that needs a token, or does not.
fn described(token: bool, token_to_register: bool) -> Document {
    let mut document = Api::openapi();
    for (path, item) in &mut document.paths.paths {
        let token = if path == register::PATH {
            token_to_register
        } else {
            token
        };
        for operation in operations(item) {
            if [LIVENESS, READINESS].contains(&path.as_str()) {
                operation.security = Some(vec![SecurityRequirement::default()]);
                continue;
            }
            let mut ways = vec![SecurityRequirement::new(TOKEN, [] as [&str; 0])];
            if !token {
                ways.insert(0, SecurityRequirement::default());
            }
            operation.security = Some(ways);
        }
    }
    document
}

/// Adds what every operation has.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token of `control.tokens`. Without tokens, on a Unix socket, and for health probes, none is needed.",
            ));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme.build()));
        for name in [
            "InstanceInput",
            "NamedInstance",
            "SingleInstance",
            "Registration",
        ] {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
                // The builder has no name for it.
                let either = json!([{ "required": ["port"] }, { "required": ["unix"] }]);
                object.extensions = Some(Extensions::from_iter([("anyOf", either)]));
                if name != "InstanceInput" {
                    // It stands elsewhere, if it has a name.
                    object.properties.remove("id");
                }
            }
        }
        for item in document.paths.paths.values_mut() {
            for operation in operations(item) {
                add_links(operation);
                for (status, response) in &mut operation.responses.responses {
                    if let RefOr::T(response) = response {
                        add_fields(status, response);
                    }
                }
            }
        }
    }
}

/// Adds links to the response to a `PUT` that has created something: to read it, and to remove it.
fn add_links(operation: &mut Operation) {
    let (targets, parameters): ([&str; 2], &[&str]) = match operation.operation_id.as_deref() {
        Some("putRoute") => (["getRoute", "removeRoute"], &["host", "prefix"]),
        Some("putInstance") => {
            let parameters = &["host", "prefix", "id"];
            (["getInstance", "removeInstance"], parameters)
        }
        Some("putCertificate") => (["getCertificate", "removeCertificate"], &["name"]),
        _ => return,
    };
    let created = operation.responses.responses.get_mut("201");
    if let Some(RefOr::T(response)) = created {
        for target in targets {
            let link = parameters
                .iter()
                .fold(Link::builder().operation_id(target), |link, name| {
                    link.parameter(*name, format!("$request.path.{name}"))
                });
            response
                .links
                .insert(target.to_owned(), link.build().into());
        }
    }
}

fn add_fields(status: &str, response: &mut Response) {
    let count = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0));
    let generation = header(count, "The table's generation");
    response
        .headers
        .insert(GENERATION.to_owned(), generation.into());
    if status == "401" {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let challenge = header(text, "What to prove (RFC 6750, 3)");
        response
            .headers
            .insert("WWW-Authenticate".to_owned(), challenge.into());
    }
    for header in response.headers.values_mut() {
        if let RefOr::T(header) = header
            && !refusals::is_listeners(status)
        {
            // The builder has no name for it.
            header.extensions = Some(Extensions::from_iter([("required", true)]));
        }
    }
}

fn header(schema: ObjectBuilder, description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(schema.build()))
        .description(Some(description))
        .build()
}

/// The operations on a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The methods of each path are looked at from outside, by tests/it/openapi.rs.
    #[test]
    fn every_path_of_the_router_is_described_and_no_other() {
        let mut expected = vec![register::PATH];
        for (path, _) in super::super::paths() {
            match path {
                "/v1/routes/{*route}" => expected.extend([
                    "/v1/routes/{host}/{prefix}",
                    "/v1/routes/{host}/{prefix}/instances/{id}",
                ]),
                path => expected.push(path),
            }
        }
        expected.sort_unstable();
        let document = described(false, false);
        let found: Vec<_> = document.paths.paths.keys().collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_answers_that_refuse() {
        let mut document = described(true, false);
        let mut names = Vec::new();
        for item in document.paths.paths.values_mut() {
            for operation in operations(item) {
                let name = operation.operation_id.clone().unwrap();
                assert!(operation.summary.is_some(), "{name}");
                let is_open = ["getLiveness", "getReadiness"].contains(&&*name);
                for (status, is_told) in [
                    ("400", true),
                    ("401", !is_open),
                    ("403", !is_open),
                    ("500", true),
                ] {
                    let responses = &operation.responses.responses;
                    assert_eq!(responses.contains_key(status), is_told, "{name} {status}");
                }
                names.push(name);
            }
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((count, names.len()), (20, 20));
    }

    #[test]
    fn a_token_is_needed_where_it_is() {
        let ways = |token, to_register, path: &str| {
            let mut document = described(token, to_register);
            let item = document.paths.paths.get_mut(path).unwrap();
            let operation = operations(item).next().unwrap();
            operation.security.as_ref().unwrap().len()
        };
        assert_eq!(ways(false, false, "/v1/status"), 2);
        assert_eq!(ways(true, false, "/v1/status"), 1);
        assert_eq!(ways(true, false, "/register"), 2);
        assert_eq!(ways(true, true, "/register"), 1);
        let open = vec![SecurityRequirement::default()];
        for path in [LIVENESS, READINESS] {
            let mut document = described(true, true);
            let item = document.paths.paths.get_mut(path).unwrap();
            let operation = operations(item).next().unwrap();
            assert!(operation.security == Some(open.clone()), "{path}");
        }
    }
}
