//! Flow definitions: what is deployed, and a check without deploying.

use super::{App, fresh};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use spalla_shared::flow;
use spalla_shared::flow::plan::FlowKey;
use std::collections::BTreeMap;

/// Deployed flows, every version.
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
                    "hash": flow.hash, "enabled": flow.enabled, "deployed_at": flow.deployed_at.to_rfc3339(), "running": running,
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
