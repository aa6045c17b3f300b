//! The members of the mesh, and the digest of the applied state.

use super::groups::GroupQuery;
use super::{ApiError, App, fresh_of};
use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

/// Who is in a group, who leads, who lags. The mesh's group, where none is asked for. `groups`: all that this gateway has a copy of.
#[utoipa::path(get, path = "/api/v1/mesh",
    params(("group" = Option<String>, Query, description = "mesh or site:<name>"), ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "Members of the group", body = serde_json::Value)))]
pub async fn show(State(app): State<App>, Query(query): Query<GroupQuery>) -> Result<Json<Value>, ApiError> {
    let group = app.group_of(&query)?;
    let leadership = group.leadership().borrow().clone();
    let sites: std::collections::BTreeMap<_, _> =
        app.config.peers.gateways.iter().map(|gateway| (gateway.node, gateway.site.clone())).collect();
    let members: Vec<Value> = group
        .members()
        .into_iter()
        .map(|member| {
            json!({
                "node": member.node, "site": sites.get(&member.node), "voter": member.voter, "address": member.address, "lag": member.lag,
                "leader": leadership.leader == Some(member.node), "self": member.node == app.config.node,
            })
        })
        .collect();
    let data = json!({
        "group": group.id(), "leader": leadership.leader, "term": leadership.term, "members": members, "groups": app.group_lines(),
    });
    Ok(fresh_of(&group, data))
}

/// Index and SHA-256 of the applied state: equal on gateways that have applied the same entries.
#[utoipa::path(get, path = "/api/v1/state/digest",
    params(("group" = Option<String>, Query, description = "mesh or site:<name>"), ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "{applied, digest}", body = serde_json::Value)))]
pub async fn digest(State(app): State<App>, Query(query): Query<GroupQuery>) -> Result<Json<Value>, ApiError> {
    // A copy shares everything large, so the lock is not held while hashing; and hashing a large state holds no other request up.
    let group = app.group_of(&query)?;
    let asked = group.clone();
    let hashed = tokio::task::spawn_blocking(move || {
        let copy = asked.state().read().clone();
        json!({ "applied": copy.applied, "digest": copy.digest(), "audit_seq": copy.audit.seq, "audit_head": copy.audit.head })
    });
    let data = hashed.await.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(fresh_of(&group, data))
}
