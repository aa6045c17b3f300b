//! Devices that bridges of this gateway know of and nobody declared: listed, and admitted by a person.

use super::devices::checked_id;
use super::{ApiError, App, actor, fresh, propose};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::engine::Command;
use spalla_shared::resource::{Device, Resource};

/// What could be declared. Of this gateway's own bridges only.
#[utoipa::path(get, path = "/api/v1/devices/proposals", responses((status = 200, description = "Proposals", body = serde_json::Value)))]
pub async fn list(State(app): State<App>) -> Json<Value> {
    let known: Vec<_> = {
        let state = app.group.state().read();
        state.devices.values().map(|known| (known.device.bridge.clone(), known.device.parameters.clone())).collect()
    };
    let all = app.devices.proposals.all().into_iter();
    let open = all.filter(|proposed| !known.contains(&(Some(proposed.bridge.clone()), proposed.parameters.clone())));
    let data: Vec<Value> = open
        .map(|proposed| {
            json!({ "id": proposed.id, "bridge": proposed.bridge, "profile": proposed.profile, "title": proposed.title,
                "parameters": proposed.parameters, "last_seen": proposed.last_seen.to_rfc3339() })
        })
        .collect();
    fresh(&app, json!(data))
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
    let Some(proposed) = app.devices.proposals.get(&proposed_id) else {
        return Err(ApiError::not_found(format!(
            "no bridge of this gateway proposes `{proposed_id}`; `spalla device proposals` lists them"
        )));
    };
    let id = wanted.id.as_deref().map(checked_id).transpose()?.unwrap_or(proposed.id);
    if app.group.state().read().devices.contains_key(&id) {
        return Err(ApiError::new(
            axum::http::StatusCode::CONFLICT,
            "conflict",
            format!("there is a device `{id}` already; give another id"),
        ));
    }
    let device = Device {
        profile: wanted.profile.map_or(proposed.profile, Into::into),
        title: wanted.title.map_or(proposed.title, Into::into),
        groups: wanted.groups.unwrap_or_default().into_iter().map(Into::into).collect(),
        zone: wanted.zone.map(Into::into),
        opens: wanted.opens.as_deref().map(checked_id).transpose()?,
        parameters: proposed.parameters,
        bridge: Some(proposed.bridge),
        ..Device::new(id.clone())
    };
    let body = json!({ "id": id, "profile": device.profile, "bridge": device.bridge, "parameters": device.parameters });
    propose(&app, Command::Deploy { resources: vec![Resource::Device(device)], by }).await?;
    app.devices.proposals.forget(&proposed_id);
    Ok(Json(json!({ "data": body })))
}
