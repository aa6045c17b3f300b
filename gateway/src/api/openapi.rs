//! The OpenAPI document, made from the handlers' own annotations.

use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Spalla",
        description = "Orchestration of buildings. Every read says how fresh it is; every write finds the leader by itself."
    ),
    paths(
        super::status::status,
        super::status::healthz,
        super::status::readyz,
        super::status::metrics,
        super::resources::apply,
        super::resources::list,
        super::flows::list,
        super::flows::check,
        super::flows::switch,
        super::flows::remove,
        super::pictures::flow,
        super::instance_list::list,
        super::instances::show,
        super::instances::start,
        super::instances::operate,
        super::pictures::instance,
        super::trace::page,
        super::trace::stream,
        super::tasks::list,
        super::tasks::complete,
        super::devices::list,
        super::devices::add,
        super::device_logins::show,
        super::device_logins::operate,
        super::device_proposals::list,
        super::device_proposals::admit,
        super::device_watch::watch,
        super::clients::list,
        super::clients::add,
        super::clients::show,
        super::clients::operate,
        super::areas::list,
        super::areas::show,
        super::areas::forgive,
        super::listeners::reload,
        super::audit::tail,
        super::audit::verify,
        super::mesh::show,
        super::mesh::digest,
        super::members::status,
        super::members::invite,
        super::members::join,
        super::members::remove,
        super::members::transfer,
        super::backup::take,
    )
)]
struct Document;

pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
