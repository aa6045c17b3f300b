//! The members of the mesh, and the digest of the applied state.

use super::groups::GroupQuery;
use super::{ApiError, App, fresh_of};
use crate::members::as_of;
use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

/// Who is in a group, who leads, who lags. The mesh's group, where none is asked for. `groups`: all that this gateway has a copy of.
/// Where it hears of no leader, it names none: `last_leader` led before, and `as_of` says in words how old this is.
#[utoipa::path(get, path = "/api/v1/mesh",
    params(("group" = Option<String>, Query, description = "mesh or site:<name>"), ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "Members of the group", body = serde_json::Value)))]
pub async fn show(State(app): State<App>, Query(query): Query<GroupQuery>) -> Result<Json<Value>, ApiError> {
    let group = app.group_of(&query)?;
    let (term, freshness) = (group.leadership().borrow().term, group.freshness());
    let leader = freshness.leads();
    let sites: std::collections::BTreeMap<_, _> =
        app.config.peers.gateways.iter().map(|gateway| (gateway.node, gateway.site.clone())).collect();
    let members: Vec<Value> = group
        .members()
        .into_iter()
        .map(|member| {
            json!({
                "node": member.node, "site": sites.get(&member.node), "voter": member.voter, "address": member.address, "lag": member.lag,
                "leader": leader == Some(member.node), "self": member.node == app.config.node,
            })
        })
        .collect();
    let data = json!({
        "group": group.id(), "leader": leader, "last_leader": freshness.led(), "as_of": as_of(&freshness), "term": term,
        "members": members, "groups": app.group_lines(),
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
