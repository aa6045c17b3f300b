//! Devices that bridges of the mesh know of and nobody declared: listed, and admitted by a person.

use super::devices::checked_id;
use super::{ApiError, App, actor, fresh, passwords, propose};
use crate::ingress::admission::{NotAdmitted, Wanted, resources};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::device::FailMode;
use spalla_shared::engine::Command;

/// What could be declared, at all gateways. `unreachable`: gateways that did not answer.
#[utoipa::path(get, path = "/api/v1/devices/proposals", responses((status = 200, description = "Proposals", body = serde_json::Value)))]
pub async fn list(State(app): State<App>) -> Json<Value> {
    let (elsewhere, unreachable) = app.elsewhere.proposals().await;
    let mut all = {
        let state = app.group.state().read();
        let mut all = app.devices.proposals.open(&state);
        // Another gateway may not have applied the newest declaration yet.
        all.extend(elsewhere.into_iter().filter(|proposed| !proposed.is_known(&state)));
        all
    };
    all.sort_by(|left, right| left.id.cmp(&right.id).then(right.last_seen.cmp(&left.last_seen)));
    all.dedup_by(|later, first| later.id == first.id);
    let data: Vec<Value> = all
        .iter()
        .map(|proposed| {
            json!({ "id": proposed.id, "bridge": proposed.bridge, "own_login": proposed.own_login, "profile": proposed.profile,
                "title": proposed.title, "parameters": proposed.parameters, "last_seen": proposed.last_seen.to_rfc3339() })
        })
        .collect();
    let Json(mut body) = fresh(&app, json!(data));
    body["unreachable"] = json!(unreachable);
    Json(body)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// Another id than the proposed one, `site/name`.
    id: Option<String>,
    /// Another profile than the proposed one.
    profile: Option<String>,
    title: Option<String>,
    groups: Option<Vec<String>>,
    zone: Option<String>,
    opens: Option<String>,
    /// For a lock or a barrier that announced itself: `safe` (opens without power) or `secure`.
    fail_mode: Option<String>,
}

/// Declares a proposed device, with what the caller wants otherwise.
#[utoipa::path(post, path = "/api/v1/devices/proposals/{site}/{name}/admit", request_body = Admission,
    params(("site" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "The device as declared", body = serde_json::Value)))]
pub async fn admit(
    State(app): State<App>,
    headers: HeaderMap,
    Path((site, name)): Path<(String, String)>,
    Json(wanted): Json<Admission>,
) -> Result<Json<Value>, ApiError> {
    let by = actor(&headers)?;
    let proposed_id = checked_id(&format!("{site}/{name}"))?;
    let (at, proposed) = match app.devices.proposals.get(&proposed_id) {
        Some(proposed) => (None, proposed),
        None => match app.elsewhere.proposed(&proposed_id).await {
            Some((node, proposed)) => (Some(node), proposed),
            None => {
                let problem = format!("no bridge proposes `{proposed_id}`; `spalla device proposals` lists those that do");
                return Err(ApiError::not_found(problem));
            }
        },
    };
    let password = proposed.own_login.then(passwords::made);
    let password_hash = match &password {
        Some(password) => Some(passwords::hashed(password).await?.into()),
        None => None,
    };
    let wanted = Wanted {
        id: wanted.id.as_deref().map(checked_id).transpose()?,
        profile: wanted.profile.map(Into::into),
        title: wanted.title.map(Into::into),
        groups: wanted.groups.unwrap_or_default().into_iter().map(Into::into).collect(),
        zone: wanted.zone.map(Into::into),
        opens: wanted.opens.as_deref().map(checked_id).transpose()?,
        fail_mode: wanted.fail_mode.as_deref().map(fail_mode).transpose()?,
        password_hash,
    };
    let (resources, device) = resources(&app.group.state().read(), &proposed, wanted).map_err(|refused| match refused {
        NotAdmitted::Conflict(problem) => ApiError::new(StatusCode::CONFLICT, "conflict", problem),
        NotAdmitted::Invalid(problem) => ApiError::invalid(problem),
    })?;
    propose(&app, Command::Deploy { resources, by }).await?;
    match at {
        None => app.devices.proposals.forget(&proposed_id),
        Some(node) => app.elsewhere.forget(node, &proposed_id).await,
    }
    let username = password.as_ref().map(|_| &device.id);
    Ok(Json(json!({ "data": {
        "id": device.id, "profile": device.profile, "bridge": device.bridge, "parameters": device.parameters,
        "username": username, "password": password,
    } })))
}

fn fail_mode(word: &str) -> Result<FailMode, ApiError> {
    match word {
        "safe" => Ok(FailMode::Safe),
        "secure" => Ok(FailMode::Secure),
        other => Err(ApiError::invalid(format!("`fail_mode`: safe or secure, not `{other}`"))),
    }
}
