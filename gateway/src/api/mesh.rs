//! The members of the mesh, and the digest of the applied state.

use super::{ApiError, App, fresh};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// Who is in the mesh, who leads, who lags.
#[utoipa::path(get, path = "/api/v1/mesh", responses((status = 200, description = "Members of the mesh group", body = serde_json::Value)))]
pub async fn show(State(app): State<App>) -> Json<Value> {
    let leadership = app.group.leadership().borrow().clone();
    let sites: std::collections::BTreeMap<_, _> =
        app.config.peers.gateways.iter().map(|gateway| (gateway.node, gateway.site.clone())).collect();
    let members: Vec<Value> = app
        .group
        .members()
        .into_iter()
        .map(|member| {
            json!({
                "node": member.node, "site": sites.get(&member.node), "voter": member.voter, "address": member.address, "lag": member.lag,
                "leader": leadership.leader == Some(member.node), "self": member.node == app.config.node,
            })
        })
        .collect();
    fresh(&app, json!({ "group": app.group.id(), "leader": leadership.leader, "term": leadership.term, "members": members }))
}

/// Index and SHA-256 of the applied state: equal on gateways that have applied the same entries.
#[utoipa::path(get, path = "/api/v1/state/digest", responses((status = 200, description = "{applied, digest}", body = serde_json::Value)))]
pub async fn digest(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    // A copy shares everything large, so the lock is not held while hashing; and hashing a large state holds no other request up.
    let group = app.group.clone();
    let hashed = tokio::task::spawn_blocking(move || {
        let copy = group.state().read().clone();
        json!({ "applied": copy.applied, "digest": copy.digest(), "audit_seq": copy.audit.seq, "audit_head": copy.audit.head })
    });
    let data = hashed.await.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(fresh(&app, data))
}
