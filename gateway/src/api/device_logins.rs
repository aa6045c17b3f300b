//! One device with all that is known of it, and its login: shown as topics, changed, or taken back. Never shows a password
//! that is there already.

use super::devices::{checked_id, speaks};
use super::{ApiError, App, actor, fresh, passwords, propose};
use crate::effects::clock::wall_now;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use spalla_shared::engine::Command;
use spalla_shared::id::DeviceId;
use spalla_shared::resource::{Device, Resource};

/// One device: its declaration, its login, its topics, and what the gateway that it is connected to hears from it.
#[utoipa::path(get, path = "/api/v1/devices/{site}/{name}", params(("site" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "The device", body = serde_json::Value)))]
pub async fn show(State(app): State<App>, Path((site, name)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    let id = checked_id(&format!("{site}/{name}"))?;
    let (device, attached) = {
        let state = app.group.state().read();
        let known = state.devices.get(&id).ok_or_else(|| ApiError::not_found(format!("there is no device `{id}`")))?;
        (known.device.clone(), known.attached.clone())
    };
    let (publishes, subscribes) = speaks(&app, &device);
    let login = match &device.bridge {
        _ if device.has_password() => "password",
        _ if device.is_revoked() => "revoked",
        Some(_) => "by its bridge",
        None => "none",
    };
    // Known where it is connected; one that is away was here last, or is unknown.
    let at = attached.as_ref().map(|at| at.node).filter(|node| app.elsewhere.nodes().contains(node));
    let (here, told_by) = match at {
        Some(node) => match app.elsewhere.readings(node, &id).await {
            Ok(readings) => (readings, Some(node)),
            Err(_) => (app.devices.telemetry.device(&id, wall_now()), None),
        },
        None => (app.devices.telemetry.device(&id, wall_now()), Some(app.config.node)),
    };
    let online = attached.as_ref().map(|at| json!({ "node": at.node, "session": at.session, "since": at.since.to_rfc3339() }));
    let data = json!({
        "id": device.id, "profile": device.profile, "title": device.title, "zone": device.zone, "groups": device.groups,
        "opens": device.opens, "bridge": device.bridge, "parameters": device.parameters, "login": login,
        "online": attached.is_some(), "attached": online, "publishes": publishes, "subscribes": subscribes, "here": here, "told_by": told_by,
    });
    Ok(fresh(&app, data))
}

/// `rotate`: a new password, shown once. `revoke`: no password any more. Either ends the sessions of the old one within a second.
#[utoipa::path(post, path = "/api/v1/devices/{site}/{name}/{action}",
    params(("site" = String, Path), ("name" = String, Path), ("action" = String, Path, description = "rotate or revoke")),
    responses((status = 200, description = "What was done; for rotate with the new password", body = serde_json::Value)))]
pub async fn operate(
    State(app): State<App>,
    headers: HeaderMap,
    Path((site, name, action)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let by = actor(&headers)?;
    let id = checked_id(&format!("{site}/{name}"))?;
    let device = known(&app, &id)?;
    if let Some(bridge) = &device.bridge {
        return Err(ApiError::invalid(format!("`{id}` has no login of its own: `{bridge}` speaks for it; change that one's")));
    }
    let (password, hash) = passwords::changed(&action, "a device").await?;
    let device = Device { password_hash: Some(hash), ..device };
    let (receipt, _) = propose(&app, Command::Deploy { resources: vec![Resource::Device(device)], by }).await?;
    let mut data = json!({ "id": id, "login": if password.is_some() { "password" } else { "revoked" }, "index": receipt.index });
    if let Some(password) = password {
        data["username"] = json!(id);
        data["password"] = json!(password);
    }
    Ok(Json(json!({ "data": data })))
}

fn known(app: &App, id: &DeviceId) -> Result<Device, ApiError> {
    let state = app.group.state().read();
    state.devices.get(id).map(|known| known.device.clone()).ok_or_else(|| ApiError::not_found(format!("there is no device `{id}`")))
}
