//! Lists of instances: those that live from the applied state, those that have ended from history.

use super::groups::GroupQuery;
use super::instances::{finished_row, running_row};
use super::{ApiError, App, fresh};
use crate::history::InstanceFilter;
use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::engine::instance::Instance;
use spalla_shared::engine::record::InstanceStatus;
use spalla_shared::id::{GroupId, InstanceId};
use spalla_shared::time::Timestamp;
use std::sync::Arc;

const STATUSES: [&str; 8] = ["running", "suspended", "incident", "finished", "completed", "faulted", "cancelled", "all"];

#[derive(Deserialize)]
pub struct ListQuery {
    status: Option<String>,
    /// At most this many, default 100.
    limit: Option<usize>,
    /// `namespace/name:version`, or a part of it.
    flow: Option<String>,
    /// Business key, whole.
    key: Option<String>,
    /// RFC 3339.
    started_before: Option<String>,
    /// The answer's `next`.
    before: Option<String>,
    /// Of all groups that are here, where neither is given.
    group: Option<String>,
    site: Option<String>,
}

/// Instances, newest first. `running` (default): all that live; `suspended` and `incident` are some of them; `finished`: all that
/// have ended; `completed`, `faulted`, `cancelled` are some of those. `next` goes into `before` for the next page (not with `all`).
#[utoipa::path(get, path = "/api/v1/instances",
    params(("status" = Option<String>, Query, description = "running, suspended, incident, finished, completed, faulted, cancelled or all"),
        ("limit" = Option<usize>, Query), ("flow" = Option<String>, Query, description = "namespace/name:version or a part of it"),
        ("key" = Option<String>, Query, description = "Business key"), ("started_before" = Option<String>, Query, description = "RFC 3339"),
        ("before" = Option<String>, Query, description = "The last answer's `next`"),
        ("group" = Option<String>, Query, description = "mesh or site:<name>; default: all that this gateway has a copy of"),
        ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "Instances, newest first", body = serde_json::Value)))]
pub async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> Result<Json<Value>, ApiError> {
    let limit = query.limit.unwrap_or(100).min(super::PAGE_LEN_MAX);
    let wanted = query.status.as_deref().unwrap_or("running");
    if !STATUSES.contains(&wanted) {
        return Err(ApiError::invalid(format!("`status` is one of {}, not `{wanted}`", STATUSES.join(", "))));
    }
    let started_before = query.started_before.as_deref().map(instant).transpose()?;
    let before = query.before.as_deref().map(cursor).transpose()?;
    let asked = GroupQuery { group: query.group.clone(), site: query.site.clone() };
    let groups = app.groups_of(&asked)?;
    let living = matches!(wanted, "running" | "suspended" | "incident" | "all");
    let ended = !matches!(wanted, "running" | "suspended" | "incident");
    let (mut rows, mut next) = (Vec::new(), None);
    if living {
        let takes = |instance: &Instance| {
            let status = match wanted {
                "suspended" => instance.status == InstanceStatus::Suspended,
                "incident" => instance.incident.is_some(),
                _ => true,
            };
            status
                && query.key.as_deref().is_none_or(|key| instance.business_key.as_deref() == Some(key))
                && started_before.is_none_or(|before| instance.started_at < before)
                && before.as_ref().is_none_or(|(at, id)| (instance.started_at, &instance.id) < (*at, id))
                && query.flow.as_deref().is_none_or(|part| instance.flow.to_string().contains(part))
        };
        let mut found: Vec<(&GroupId, Arc<Instance>)> = Vec::new();
        for group in &groups {
            let state = group.state().read();
            let mut of_it: Vec<&Arc<Instance>> = state.instances.values().filter(|instance| takes(instance)).collect();
            of_it.sort_by_key(|instance| std::cmp::Reverse((instance.started_at, instance.id.clone())));
            // One more than are shown, so that it is known that there are more.
            found.extend(of_it.into_iter().take(limit.saturating_add(1)).map(|instance| (group.id(), instance.clone())));
        }
        found.sort_by_key(|(_, instance)| std::cmp::Reverse((instance.started_at, instance.id.clone())));
        if found.len() > limit {
            found.truncate(limit);
            next = found.last().map(|(_, instance)| (instance.started_at, instance.id.clone()));
        }
        rows.extend(found.iter().map(|(group, instance)| running_row(group, instance)));
    }
    if ended {
        let status = (!matches!(wanted, "finished" | "all")).then(|| wanted.to_owned());
        let (flow_part, business_key) = (query.flow.clone(), query.key.clone());
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let group = asked.id()?;
        let filter = InstanceFilter {
            group,
            ended: true,
            status,
            flow_part,
            business_key,
            started_before,
            before,
            limit,
            ..InstanceFilter::default()
        };
        let stored = app.history.instances(filter).await.map_err(|error| ApiError::internal(error.to_string()))?;
        rows.extend(stored.rows.iter().map(finished_row));
        next = stored.next;
    }
    rows.truncate(limit);
    let Json(mut body) = fresh(&app, json!(rows));
    if wanted != "all" {
        body["next"] = json!(next.map(|(at, id)| format!("{},{id}", at.millis())));
    }
    Ok(Json(body))
}

fn instant(text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| ApiError::invalid(format!("`started_before` is an instant like 2026-11-23T09:00:00Z, not `{text}`")))
}

fn cursor(text: &str) -> Result<(Timestamp, InstanceId), ApiError> {
    let parsed = text.split_once(',').and_then(|(at, id)| Some((Timestamp(at.parse().ok()?), InstanceId::new(id))));
    parsed.ok_or_else(|| ApiError::invalid(format!("`before` is the `next` of an answer, not `{text}`")))
}
