//! `GET /openapi.json`: the API, described by its own types.

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "dynamic-reverse-proxy",
        description = "The control API: routes as a resource, with leases, drains and events. \
            Every answer has the table's generation in `x-route-generation`.",
        license(name = "MIT", identifier = "MIT")
    ),
    paths(
        super::set::list,
        super::set::put,
        super::set::patch,
        super::routes::read,
        super::routes::put,
        super::routes::remove,
        super::matching::find,
        super::events::follow,
        super::status::status,
        super::certificates::list,
        super::certificates::read,
        super::certificates::put,
        super::certificates::remove,
        super::register::register,
    ),
    components(schemas(super::input::InstanceInput, super::view::InstanceView)),
    tags(
        (name = "routes", description = "Routes and their instances"),
        (name = "events", description = "What happens"),
        (name = "status", description = "What is running"),
        (name = "certificates", description = "The certificates of TLS with clients"),
        (name = "registration", description = "The door for apps"),
    )
)]
struct Api;

pub(super) async fn document() -> Json<Document> {
    Json(Api::openapi())
}
