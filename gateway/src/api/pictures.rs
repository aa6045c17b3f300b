//! Flows as pictures: a version as it is deployed, or with where an instance is.

use super::instances::{finished_row, running_row};
use super::trace::as_json;
use super::{ApiError, App};
use crate::picture::{self, Progress};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use spalla_shared::flow::plan::FlowKey;
use spalla_shared::id::InstanceId;

/// Pages of a trace that a picture looks through: with more, it shows how far it came then.
const PAGES_MAX: usize = 10;

/// A deployed flow.
#[utoipa::path(get, path = "/api/v1/flows/{namespace}/{name}/{version}/picture",
    params(("namespace" = String, Path), ("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, description = "SVG", body = String, content_type = "image/svg+xml"), (status = 404, description = "No such flow")))]
pub async fn flow(State(app): State<App>, Path((namespace, name, version)): Path<(String, String, String)>) -> Result<Response, ApiError> {
    let key = FlowKey { namespace: namespace.into(), name: name.into(), version: version.into() };
    draw(&app, &key, None).await
}

/// The flow of an instance, with what is done and what it waits for.
#[utoipa::path(get, path = "/api/v1/instances/{id}/picture", params(("id" = String, Path)),
    responses((status = 200, description = "SVG", body = String, content_type = "image/svg+xml"), (status = 404, description = "Unknown")))]
pub async fn instance(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = InstanceId::new(&id);
    let internal = |error: crate::history::HistoryError| ApiError::internal(error.to_string());
    let groups = app.groups();
    let running = groups.iter().find_map(|group| Some((group.id(), group.state().read().instances.get(&id).cloned()?)));
    let (key, mut shown) = match running {
        Some((group, instance)) => (instance.flow.clone(), running_row(group, &instance)),
        None => {
            let stored = app.history.instance(id.clone()).await.map_err(internal)?;
            let stored =
                stored.ok_or_else(|| ApiError::not_found(format!("no instance `{id}`; `spalla instance list --status all` shows them")))?;
            let row = finished_row(&stored);
            (FlowKey { namespace: stored.namespace.into(), name: stored.name.into(), version: stored.version.into() }, row)
        }
    };
    let mut lines = Vec::new();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = app.history.trace(id.clone(), after, crate::history::PAGE_LEN_MAX).await.map_err(internal)?;
        lines.extend(page.rows.iter().map(as_json));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    shown["trace"] = lines.into();
    draw(&app, &key, Some(Progress::of(&shown))).await
}

async fn draw(app: &App, key: &FlowKey, progress: Option<Progress>) -> Result<Response, ApiError> {
    let plan = app.group.state().read().plans.get(key).cloned();
    let plan = plan.ok_or_else(|| {
        ApiError::not_found(format!("flow {key} is not deployed here (any more); `spalla flow list` shows those that are"))
    })?;
    // A large flow takes a moment: it must not hold other requests up.
    let drawn = tokio::task::spawn_blocking(move || picture::svg(&plan, progress.as_ref())).await;
    let drawn = drawn.map_err(|error| ApiError::internal(error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, drawn).into_response())
}
