//! Declaring resources: `apply` takes YAML, checks all of it, and proposes it as one command.

use super::{ApiError, App, actor, fresh, propose};
use crate::templates;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::engine::{Accepted, Command};
use spalla_shared::resource;

#[derive(Deserialize)]
pub struct ApplyQuery {
    /// Check only.
    #[serde(default)]
    dry_run: bool,
}

/// Declares flows, profiles, devices, pools, areas and people from YAML documents; all of them or none.
#[utoipa::path(post, path = "/api/v1/apply", request_body(content = String, content_type = "application/yaml"),
    params(("dry_run" = Option<bool>, Query, description = "Check only")),
    responses((status = 200, description = "What was declared and what changed", body = serde_json::Value), (status = 400, description = "All problems, with line and column")))]
pub async fn apply(
    State(app): State<App>,
    Query(query): Query<ApplyQuery>,
    headers: HeaderMap,
    text: String,
) -> Result<Json<Value>, ApiError> {
    let by = actor(&headers)?;
    let resources = resource::read(&text).map_err(|diagnostics| {
        let first = diagnostics.first().map(|diagnostic| diagnostic.to_string()).unwrap_or_default();
        let more = diagnostics.len().saturating_sub(1);
        let message = if more == 0 { first } else { format!("{first} (and {more} more)") };
        ApiError::invalid(message).with_details(json!(diagnostics))
    })?;
    for resource in &resources {
        if let resource::Resource::Profile(profile) = resource {
            templates::check_profile(profile).map_err(ApiError::invalid)?;
        }
    }
    let declared: Vec<String> = resources
        .iter()
        .map(|resource| {
            let (kind, name) = resource.title();
            format!("{kind} {name}")
        })
        .collect();
    if query.dry_run {
        return Ok(Json(json!({ "data": { "declared": declared, "changed": [], "dry_run": true } })));
    }
    let (receipt, accepted) = propose(&app, Command::Deploy { resources, by }).await.map_err(|error| {
        if error.code != "unknown-outcome" {
            return error;
        }
        let message = "it is not known whether this was declared; apply the same again: what is there already stays as it is";
        ApiError::new(error.status, &error.code, message)
    })?;
    let changed = match accepted {
        Accepted::Deployed { changed } => changed.iter().map(|name| name.to_string()).collect(),
        _ => Vec::new(),
    };
    Ok(Json(json!({ "data": { "declared": declared, "changed": changed, "index": receipt.index } })))
}

/// Pools with their leases, areas, people, profiles.
#[utoipa::path(get, path = "/api/v1/resources", responses((status = 200, description = "Declared resources but flows and devices", body = serde_json::Value)))]
pub async fn list(State(app): State<App>) -> Json<Value> {
    let data = {
        let state = app.group.state().read();
        json!({
            "profiles": state.profiles.values().map(|profile| json!({ "name": profile.name, "version": profile.version, "title": profile.title })).collect::<Vec<_>>(),
            "pools": state.pools.values().map(|pool| json!({
                "name": pool.pool.name,
                "units": pool.pool.units.len(),
                "leased": pool.leases.iter().map(|(unit, lease)| json!({ "unit": unit, "holder": lease.holder, "since": lease.since.to_rfc3339() })).collect::<Vec<_>>(),
                "waiting": pool.queue.len(),
            })).collect::<Vec<_>>(),
            "areas": state.areas.values().collect::<Vec<_>>(),
            "people": state.people.values().collect::<Vec<_>>(),
        })
    };
    fresh(&app, data)
}
