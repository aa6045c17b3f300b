//! Devices: what is known of each, and adding one with a password that is shown once.

use super::groups::GroupQuery;
use super::{ApiError, App, actor, fresh_of, passwords, propose};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::device::convention::{Compiled, Speaker};
use spalla_shared::engine::Command;
use spalla_shared::id::DeviceId;
use spalla_shared::resource::{Device, Resource};
use spalla_shared::topic::{DeviceTopic, device_publishes, is_level};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All devices with where they are connected.
#[utoipa::path(get, path = "/api/v1/devices",
    params(("group" = Option<String>, Query, description = "mesh or site:<name>"), ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "Devices", body = serde_json::Value)))]
pub async fn list(State(app): State<App>, Query(query): Query<GroupQuery>) -> Result<Json<Value>, ApiError> {
    let group = app.group_of(&query)?;
    let data = {
        let state = group.state().read();
        state
            .devices
            .values()
            .map(|known| {
                json!({
                    "id": known.device.id, "profile": known.device.profile, "title": known.device.title, "site": known.device.id.site(),
                    "groups": known.device.groups, "opens": known.device.opens, "online": known.attached.is_some(), "node": known.attached.as_ref().map(|at| at.node),
                    "since": known.changed_at.to_rfc3339(), "has_password": known.device.has_password(), "bridge": known.device.bridge,
                })
            })
            .collect::<Vec<_>>()
    };
    Ok(fresh_of(&group, json!(data)))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// `site/name`.
    id: String,
    /// Needed for a new device; an existing one keeps its profile, title, groups, zone and door where they are absent here.
    profile: Option<String>,
    title: Option<String>,
    groups: Option<Vec<String>>,
    zone: Option<String>,
    /// For a reader: the door that it asks for.
    opens: Option<String>,
    /// Chosen by the caller; made and shown once where absent.
    password: Option<String>,
    /// What the profile's convention asks of each device.
    parameters: Option<BTreeMap<String, String>>,
    /// The device whose login speaks for this one, which has none then.
    bridge: Option<String>,
}

/// Adds a device, or gives an existing one a new password.
#[utoipa::path(post, path = "/api/v1/devices", request_body = NewDevice,
    responses((status = 200, description = "The device with its user name and password, shown this once", body = serde_json::Value)))]
pub async fn add(State(app): State<App>, headers: HeaderMap, Json(new): Json<NewDevice>) -> Result<Json<Value>, ApiError> {
    let by = actor(&headers)?;
    let id = checked_id(&new.id)?;
    let opens = new.opens.as_deref().map(checked_id).transpose()?;
    let password = match new.password {
        Some(password) if password.len() < 8 || password.len() > 256 => {
            return Err(ApiError::invalid("`password`: 8 to 256 characters; leave it out to have one made"));
        }
        password => password,
    };
    let there = app.group.state().read().devices.get(&id).map(|known| known.device.clone());
    let bridge = new.bridge.as_deref().map(checked_id).transpose()?.or_else(|| there.as_ref().and_then(|there| there.bridge.clone()));
    let password = match (password, &bridge) {
        (Some(_), Some(bridge)) => {
            return Err(ApiError::invalid(format!("`password`: `{bridge}` speaks for `{id}`, which has no login then")));
        }
        (None, Some(_)) => None,
        (Some(password), None) => Some(password),
        (None, None) => Some(passwords::made()),
    };
    let hash = match &password {
        Some(password) => Some(passwords::hashed(password).await?),
        None => None,
    };
    let mut device = match (there, &new.profile) {
        (Some(there), _) => there,
        (None, Some(_)) => Device::new(id.clone()),
        (None, None) => {
            return Err(ApiError::invalid(format!("there is no device `{id}` yet; a new one needs `profile`, e.g. `turnstile`")));
        }
    };
    device.profile = new.profile.map_or(device.profile, Into::into);
    device.title = new.title.map_or(device.title, Into::into);
    device.groups = new.groups.map_or(device.groups, |groups| groups.into_iter().map(Into::into).collect());
    device.zone = new.zone.map(Into::into).or(device.zone);
    device.opens = opens.or(device.opens);
    device.bridge = bridge;
    device.parameters = match new.parameters {
        Some(parameters) => parameters.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        None => device.parameters,
    };
    device.password_hash = hash.map(Into::into).or(device.password_hash);
    let (receipt, _) = propose(&app, Command::Deploy { resources: vec![Resource::Device(device.clone())], by }).await?;
    let (publishes, subscribes) = speaks(&app, &device);
    let username = password.as_ref().map(|_| &id);
    Ok(Json(json!({ "data": {
        "id": id, "username": username, "password": password, "bridge": device.bridge, "index": receipt.index,
        "publishes": publishes, "subscribes": subscribes,
    } })))
}

/// Filters of what the device publishes, and what it subscribes to: for whoever sets it up.
pub(super) fn speaks(app: &App, device: &Device) -> (Vec<String>, Vec<String>) {
    let profile = app.group.state().read().profiles.get(&device.profile).cloned();
    let compiled = profile.and_then(|profile| Compiled::of(&profile).ok().flatten());
    match compiled.map(|compiled| Speaker::bind(Arc::new(compiled), device)) {
        Some(Ok(speaker)) => (speaker.publishes(), speaker.subscribes()),
        Some(Err(_)) => (Vec::new(), Vec::new()),
        None => (device_publishes(&device.id).to_vec(), vec![DeviceTopic::Command(device.id.clone()).to_string()]),
    }
}

pub(super) fn checked_id(text: &str) -> Result<DeviceId, ApiError> {
    match text.split_once('/') {
        Some((site, name)) if is_level(site) && is_level(name) => Ok(DeviceId::new(text)),
        _ => Err(ApiError::invalid(format!("device id `{text}`: write SITE/NAME, e.g. `hq/reader-1`, without + # $ and with one `/`"))),
    }
}
