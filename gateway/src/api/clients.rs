//! Service clients: programs that speak MQTT here beside devices, with their rules and logins. Never shows a password that is
//! there already.

use super::{ApiError, App, actor, fresh, passwords, propose};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::engine::Command;
use spalla_shared::resource::{Client, Resource};
use std::sync::Arc;

/// All service clients with their rules.
#[utoipa::path(get, path = "/api/v1/clients", responses((status = 200, description = "Service clients", body = serde_json::Value)))]
pub async fn list(State(app): State<App>) -> Json<Value> {
    let data: Vec<Value> = app.group.state().read().clients.values().map(shown).collect();
    fresh(&app, json!(data))
}

#[utoipa::path(get, path = "/api/v1/clients/{name}", params(("name" = String, Path)),
    responses((status = 200, description = "The client", body = serde_json::Value)))]
pub async fn show(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let client = known(&app, &name)?;
    Ok(fresh(&app, shown(&client)))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClient {
    name: String,
    title: Option<String>,
    /// Filters, or `group:NAME`. An existing client keeps the rules that are absent here.
    subscribe: Option<Vec<String>>,
    publish: Option<Vec<String>>,
    /// Devices, or `group:NAME`; none that can open anything.
    commands: Option<Vec<String>>,
    speaks_for: Option<Vec<String>>,
    /// Chosen by the caller; made and shown once where absent.
    password: Option<String>,
}

/// Adds a service client, or gives an existing one a new password and the rules that are given.
#[utoipa::path(post, path = "/api/v1/clients", request_body = NewClient,
    responses((status = 200, description = "The client with its user name and password, shown this once", body = serde_json::Value)))]
pub async fn add(State(app): State<App>, headers: HeaderMap, Json(new): Json<NewClient>) -> Result<Json<Value>, ApiError> {
    let by = actor(&headers)?;
    let password = match new.password {
        Some(password) if password.len() < 8 || password.len() > 256 => {
            return Err(ApiError::invalid("`password`: 8 to 256 characters; leave it out to have one made"));
        }
        Some(password) => password,
        None => passwords::made(),
    };
    let there = app.group.state().read().clients.get(&*new.name).cloned();
    let mut client = there.unwrap_or_else(|| Client { name: new.name.as_str().into(), ..Client::default() });
    let rules = |new: Option<Vec<String>>, old: Vec<Arc<str>>| new.map_or(old, |new| new.into_iter().map(Into::into).collect());
    client.title = new.title.map_or(client.title, Into::into);
    client.subscribe = rules(new.subscribe, client.subscribe);
    client.publish = rules(new.publish, client.publish);
    client.commands = rules(new.commands, client.commands);
    client.speaks_for = rules(new.speaks_for, client.speaks_for);
    client.password_hash = Some(passwords::hashed(&password).await?.into());
    deploy(&app, client, by, Some(password)).await
}

/// `rotate`: a new password, shown once. `revoke`: no login any more. Either ends its sessions within a second.
#[utoipa::path(post, path = "/api/v1/clients/{name}/{action}",
    params(("name" = String, Path), ("action" = String, Path, description = "rotate or revoke")),
    responses((status = 200, description = "What was done; for rotate with the new password", body = serde_json::Value)))]
pub async fn operate(
    State(app): State<App>,
    headers: HeaderMap,
    Path((name, action)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let by = actor(&headers)?;
    let client = known(&app, &name)?;
    let (password, hash) = passwords::changed(&action, "a client").await?;
    deploy(&app, Client { password_hash: Some(hash), ..client }, by, password).await
}

async fn deploy(app: &App, client: Client, by: spalla_shared::id::Actor, password: Option<String>) -> Result<Json<Value>, ApiError> {
    let (receipt, _) = propose(app, Command::Deploy { resources: vec![Resource::Client(client.clone())], by }).await?;
    let mut data = shown(&client);
    data["index"] = json!(receipt.index);
    if let Some(password) = password {
        data["username"] = json!(format!("{}{}", Client::PREFIX, client.name));
        data["password"] = json!(password);
    }
    Ok(Json(json!({ "data": data })))
}

fn shown(client: &Client) -> Value {
    let login = match (client.has_password(), client.is_revoked()) {
        (true, _) => "password",
        (_, true) => "revoked",
        _ => "none",
    };
    json!({
        "name": client.name, "title": client.title, "subscribe": client.subscribe, "publish": client.publish,
        "commands": client.commands, "speaks_for": client.speaks_for, "login": login,
    })
}

fn known(app: &App, name: &str) -> Result<Client, ApiError> {
    let there = app.group.state().read().clients.get(name).cloned();
    there.ok_or_else(|| ApiError::not_found(format!("there is no service client `{name}`; `spalla client add` makes one")))
}
