//! Flow definitions: what is deployed, and a check without deploying.

use super::{ApiError, App, actor, fresh, propose};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use spalla_shared::engine::command::FlowAction;
use spalla_shared::engine::{Accepted, Command};
use spalla_shared::flow;
use spalla_shared::flow::plan::FlowKey;
use std::collections::BTreeMap;

/// Deployed flows, every version. `current`: the one that is started by name and by schedule, the newest enabled one.
#[utoipa::path(get, path = "/api/v1/flows", responses((status = 200, description = "Flows with versions, hashes and running instances", body = serde_json::Value)))]
pub async fn list(State(app): State<App>) -> Json<Value> {
    let data = {
        let state = app.group.state().read();
        // Once over all instances, not once for each flow: the lock holds `apply` up.
        let mut running: BTreeMap<&FlowKey, usize> = BTreeMap::new();
        for instance in state.instances.values() {
            *running.entry(&instance.flow).or_default() += 1;
        }
        state
            .flows
            .iter()
            .map(|(key, flow)| {
                let running = running.get(key).copied().unwrap_or(0);
                json!({
                    "flow": key.to_string(), "namespace": key.namespace, "name": key.name, "version": key.version,
                    "title": state.plans.get(key).map(|plan| plan.title.to_string()),
                    "scope": state.plans.get(key).map(|plan| plan.scope), "sites": state.plans.get(key).map(|plan| plan.sites.clone()),
                    "hash": flow.hash, "enabled": flow.enabled, "current": state.current.contains(key), "deployed_at": flow.deployed_at.to_rfc3339(), "running": running,
                })
            })
            .collect::<Vec<_>>()
    };
    fresh(&app, json!(data))
}

/// Checks a flow document and says all that is wrong with it.
#[utoipa::path(post, path = "/api/v1/flows/check", request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, description = "{ok, diagnostics}", body = serde_json::Value)))]
pub async fn check(text: String) -> Json<Value> {
    Json(match flow::check(&text) {
        Ok(checked) => json!({ "data": { "ok": true, "hash": checked.hash, "diagnostics": checked.warnings } }),
        Err(diagnostics) => json!({ "data": { "ok": false, "diagnostics": diagnostics } }),
    })
}

/// `enable` or `disable`: which versions may be started. Instances go on with the version that they began with.
#[utoipa::path(post, path = "/api/v1/flows/{namespace}/{name}/{version}/{action}",
    params(("namespace" = String, Path), ("name" = String, Path), ("version" = String, Path), ("action" = String, Path, description = "enable or disable")),
    responses((status = 200, description = "{flow, changed, index}", body = serde_json::Value), (status = 404, description = "No such flow")))]
pub async fn switch(
    State(app): State<App>,
    Path((namespace, name, version, action)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let action = match action.as_str() {
        "enable" => FlowAction::Enable,
        "disable" => FlowAction::Disable,
        other => return Err(ApiError::not_found(format!("no action `{other}`: enable, disable"))),
    };
    act(&app, (namespace, name, version), action, &headers).await
}

/// Forgets a version; refused while instances run on it.
#[utoipa::path(delete, path = "/api/v1/flows/{namespace}/{name}/{version}",
    params(("namespace" = String, Path), ("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, description = "{flow, changed, index}", body = serde_json::Value), (status = 409, description = "Instances run on it")))]
pub async fn remove(
    State(app): State<App>,
    Path((namespace, name, version)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    act(&app, (namespace, name, version), FlowAction::Remove, &headers).await
}

async fn act(
    app: &App,
    (namespace, name, version): (String, String, String),
    action: FlowAction,
    headers: &HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let by = actor(headers)?;
    let flow = FlowKey { namespace: namespace.into(), name: name.into(), version: version.into() };
    let (receipt, accepted) = propose(app, Command::Flow { flow: flow.clone(), action, by }).await?;
    Ok(Json(json!({ "data": { "flow": flow.to_string(), "changed": accepted != Accepted::Duplicate, "index": receipt.index } })))
}
