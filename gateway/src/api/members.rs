//! Gateways that come and go: how they are, invitations, joining, removing, leadership.

use super::auth::{bearer, denied};
use super::{ApiError, App, actor, fresh};
use crate::members::{JoinRequest, RemoveRequest};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::engine::roster::Duty;
use spalla_shared::id::{NodeId, SiteId};
use std::time::Duration;

/// Who leads what; each gateway with role, lag, last contact, disk, clock and version. Asks all gateways: takes up to three seconds.
#[utoipa::path(get, path = "/api/v1/mesh/status", responses((status = 200, description = "The mesh and its gateways, also in words", body = serde_json::Value)))]
pub async fn status(State(app): State<App>) -> Json<Value> {
    let look = app.members.look().await;
    fresh(&app, json!(look))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// Where the gateway must be; anywhere where it is absent.
    site: Option<String>,
    /// `auto` (one gateway of each site votes, for up to five sites), `voter` or `learner`.
    duty: Option<String>,
    /// Seconds; an hour where it is absent, at most seven days.
    valid_s: Option<u64>,
}

/// Makes an invitation: one gateway may join with it, once, in its time. The token is shown this once.
#[utoipa::path(post, path = "/api/v1/mesh/invitations", request_body = NewInvitation,
    responses((status = 200, description = "{token, until}", body = serde_json::Value)))]
pub async fn invite(State(app): State<App>, headers: HeaderMap, Json(new): Json<NewInvitation>) -> Result<Json<Value>, ApiError> {
    let by = actor(&headers)?;
    let duty = match new.duty.as_deref() {
        None | Some("auto") => Duty::Auto,
        Some("voter") => Duty::Voter,
        Some("learner") => Duty::Learner,
        Some(other) => return Err(ApiError::invalid(format!("`duty` is auto, voter or learner, not `{other}`"))),
    };
    let site = new.site.map(SiteId::new);
    let invited = app.members.invite(site, duty, new.valid_s.map(Duration::from_secs), by).await?;
    Ok(fresh(&app, json!({ "token": invited.token, "until": invited.until.to_rfc3339() })))
}

/// Uses an invitation up: gives the new gateway's id and what its folder needs. The bearer token is the invitation.
#[utoipa::path(post, path = "/api/v1/mesh/join", request_body = JoinRequest,
    responses((status = 200, description = "Id, names, gateways, shared secrets", body = serde_json::Value), (status = 403, description = "No such invitation")))]
pub async fn join(
    State(app): State<App>,
    headers: HeaderMap,
    request: Result<Json<JoinRequest>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let token = bearer(&headers).ok_or_else(|| denied("send `Authorization: Bearer INVITATION`; `spalla mesh invite` makes one"))?;
    let Json(request) = request.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
    let joined = app.members.join(token, &request).await?;
    Ok(fresh(&app, json!(joined)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HowToRemove {
    #[serde(default)]
    force: bool,
}

/// Takes a gateway out for good; its id never comes back. Refused where those who are left could decide nothing, or would lack history.
#[utoipa::path(delete, path = "/api/v1/mesh/members/{node}",
    params(("node" = u64, Path), ("force" = Option<bool>, Query, description = "also where too few are left, or history is lost")),
    responses((status = 200, description = "Who votes now", body = serde_json::Value), (status = 409, description = "Too few would be left, or none with all of the history")))]
pub async fn remove(
    State(app): State<App>,
    headers: HeaderMap,
    Path(node): Path<u64>,
    Query(how): Query<HowToRemove>,
) -> Result<Json<Value>, ApiError> {
    let request = RemoveRequest { node: NodeId(node), force: how.force, by: actor(&headers)? };
    let removed = app.members.remove(&request).await?;
    Ok(fresh(&app, json!(removed)))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandOver {
    /// The fittest where it is absent.
    to: Option<u64>,
}

/// Hands leadership over.
#[utoipa::path(post, path = "/api/v1/mesh/transfer", request_body = HandOver,
    responses((status = 200, description = "{from, to, took_ms}", body = serde_json::Value)))]
pub async fn transfer(State(app): State<App>, Json(wish): Json<HandOver>) -> Result<Json<Value>, ApiError> {
    let done = app.members.transfer(wish.to.map(NodeId)).await?;
    Ok(fresh(&app, json!(done)))
}
