//! The public HTTP API, `/api/v1`. Reads answer from the applied state of this gateway and say how fresh it is; writes
//! become commands, which find the leader by themselves. The command line has no other door.
//!
//! ```text
//! request -> auth (bearer token) -> handler -> Group::propose | Group::state | history
//! ```

mod areas;
mod audit;
mod auth;
mod backup;
mod clients;
mod device_logins;
mod device_proposals;
mod device_watch;
mod devices;
pub mod elsewhere;
mod error;
mod flows;
mod groups;
mod instance_list;
mod instances;
mod listen;
mod listeners;
mod members;
mod mesh;
mod openapi;
mod passwords;
mod pictures;
mod resources;
mod status;
mod tasks;
mod trace;

pub use error::ApiError;
pub use listen::{Server, StartError, serve};

use crate::config::Config;
use crate::consensus::{Freshness, GroupRef, Receipt};
use crate::history::{History, Reader};
use crate::ingress::{Proposals, Watch};
use crate::listeners::Listeners;
use crate::members::Members;
use crate::telemetry::Telemetry;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value as Json_, json};
use spalla_shared::engine::{Accepted, Command};
use spalla_shared::id::Actor;
use std::sync::Arc;
use std::time::Instant;

/// Largest request body, bytes: an `apply` file with a few hundred resources.
pub const BODY_SIZE_MAX: usize = 4 * 1024 * 1024;
/// Rows of one page of any list.
pub const PAGE_LEN_MAX: usize = 1_000;

/// What the handlers work on.
#[derive(Clone)]
pub struct App {
    pub config: Arc<Config>,
    /// The mesh's.
    pub group: GroupRef,
    pub history: Reader,
    /// For backups.
    pub history_file: History,
    /// One backup at a time.
    pub backups: Arc<tokio::sync::Semaphore>,
    pub devices: Devices,
    /// The other gateways, which know of theirs.
    pub elsewhere: Arc<elsewhere::Elsewhere>,
    /// Counters of the rooms that have no state in the log, for `status` and `/metrics`.
    pub gauges: Arc<dyn Gauges>,
    pub listeners: Arc<Listeners>,
    pub members: Members,
    pub token: Arc<str>,
    pub started: Instant,
}

/// What this gateway alone knows of its devices.
#[derive(Clone)]
pub struct Devices {
    pub telemetry: Arc<Telemetry>,
    pub watch: Arc<Watch>,
    pub proposals: Arc<Proposals>,
}

/// Numbers of this gateway alone (broker, ingress, uplink), by name.
pub trait Gauges: Send + Sync + 'static {
    fn read(&self) -> Vec<(&'static str, u64)>;
}

pub fn router(app: App) -> Router {
    let guarded = Router::new()
        .route("/status", get(status::status))
        .route("/apply", post(resources::apply))
        .route("/resources", get(resources::list))
        .route("/flows", get(flows::list))
        .route("/flows/check", post(flows::check))
        .route("/flows/{namespace}/{name}/{version}", delete(flows::remove))
        .route("/flows/{namespace}/{name}/{version}/picture", get(pictures::flow))
        .route("/flows/{namespace}/{name}/{version}/{action}", post(flows::switch))
        .route("/instances", get(instance_list::list).post(instances::start))
        .route("/instances/{id}", get(instances::show))
        .route("/instances/{id}/picture", get(pictures::instance))
        .route("/instances/{id}/trace", get(trace::page))
        .route("/instances/{id}/trace/stream", get(trace::stream))
        .route("/instances/{id}/{action}", post(instances::operate))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}/complete", post(tasks::complete))
        .route("/devices", get(devices::list).post(devices::add))
        .route("/devices/watch", get(device_watch::watch))
        .route("/devices/proposals", get(device_proposals::list))
        .route("/devices/proposals/{site}/{name}/admit", post(device_proposals::admit))
        .route("/devices/{site}/{name}", get(device_logins::show))
        .route("/devices/{site}/{name}/{action}", post(device_logins::operate))
        .route("/clients", get(clients::list).post(clients::add))
        .route("/clients/{name}", get(clients::show))
        .route("/clients/{name}/{action}", post(clients::operate))
        .route("/areas", get(areas::list))
        .route("/areas/{name}", get(areas::show))
        .route("/areas/{name}/forgive", post(areas::forgive))
        .route("/listeners/reload", post(listeners::reload))
        .route("/audit", get(audit::tail))
        .route("/audit/verify", get(audit::verify))
        .route("/mesh", get(mesh::show))
        .route("/mesh/status", get(members::status))
        .route("/mesh/invitations", post(members::invite))
        .route("/mesh/members/{node}", delete(members::remove))
        .route("/mesh/transfer", post(members::transfer))
        .route("/backup", get(backup::take))
        .route("/state/digest", get(mesh::digest))
        .layer(middleware::from_fn_with_state(app.clone(), auth::require_token))
        .with_state(app.clone());
    Router::new()
        .nest("/api/v1", guarded)
        .route("/api/v1/openapi.json", get(openapi::document))
        // The invitation is the bearer token here.
        .route("/api/v1/mesh/join", post(members::join))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .fallback(error::no_such_path)
        .layer(DefaultBodyLimit::max(BODY_SIZE_MAX))
        .layer(middleware::from_fn(error::too_large))
        .layer(middleware::map_response(error::in_shape))
        .with_state(app)
}

/// `{data, freshness}`: every read says how old it may be.
fn fresh(app: &App, data: Json_) -> Json<Json_> {
    fresh_of(&app.group, data)
}

/// The same of another group than the mesh's.
fn fresh_of(group: &GroupRef, data: Json_) -> Json<Json_> {
    let freshness: Freshness = group.freshness();
    Json(json!({ "data": data, "freshness": freshness }))
}

/// Proposes to the mesh's group, and turns what `apply` refused into an error that names it.
async fn propose(app: &App, command: Command) -> Result<(Receipt, Accepted), ApiError> {
    propose_to(&app.group, command).await
}

async fn propose_to(group: &GroupRef, command: Command) -> Result<(Receipt, Accepted), ApiError> {
    let receipt = group.propose(command).await?;
    match receipt.reply.clone() {
        Ok(accepted) => Ok((receipt, accepted)),
        Err(rejection) => Err(rejection.into()),
    }
}

/// Who calls. The one token of `init` speaks for whom it names in `X-Spalla-Actor` (roles come later); else for the operator.
fn actor(headers: &HeaderMap) -> Result<Actor, ApiError> {
    let Some(value) = headers.get("x-spalla-actor") else { return Ok(Actor::new("user:operator")) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
        return Err(ApiError::invalid("header X-Spalla-Actor must be 1 to 200 printable characters, e.g. `anna@example.com`"));
    }
    Ok(Actor::new(if text.contains(':') { text.to_owned() } else { format!("user:{text}") }))
}
