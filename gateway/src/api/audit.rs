//! The audit trail of this gateway's copy, and its verification.

use super::groups::GroupQuery;
use super::{ApiError, App, fresh_of};
use crate::history::AuditFilter;
use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub struct TailQuery {
    /// At most this many, default 50.
    limit: Option<u32>,
    /// Only links behind this sequence.
    after: Option<u64>,
    /// E.g. `access.granted`, or `access` for all that begin so.
    action: Option<String>,
    subject: Option<String>,
    actor: Option<String>,
    /// The mesh's, where neither is given.
    group: Option<String>,
    site: Option<String>,
}

/// The newest links of the audit chain, or those behind a sequence; oldest first.
#[utoipa::path(get, path = "/api/v1/audit",
    params(("limit" = Option<u32>, Query), ("after" = Option<u64>, Query), ("action" = Option<String>, Query), ("subject" = Option<String>, Query), ("actor" = Option<String>, Query),
        ("group" = Option<String>, Query, description = "mesh or site:<name>"), ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "Audit links in order", body = serde_json::Value)))]
pub async fn tail(State(app): State<App>, Query(query): Query<TailQuery>) -> Result<Json<Value>, ApiError> {
    let group = app.group_of(&GroupQuery { group: query.group, site: query.site })?;
    let filter = AuditFilter {
        group: Some(group.id().clone()),
        limit: query.limit.unwrap_or(50),
        after_seq: query.after,
        action: query.action,
        subject: query.subject,
        actor: query.actor,
        ..AuditFilter::default()
    };
    let newest_first = filter.after_seq.is_none();
    let mut page = app.history.audit(filter).await.map_err(|error| ApiError::internal(error.to_string()))?;
    if newest_first {
        page.rows.reverse();
    }
    Ok(fresh_of(&group, json!(page.rows)))
}

/// Recomputes every hash of the chain on this gateway's disk.
#[utoipa::path(get, path = "/api/v1/audit/verify",
    params(("group" = Option<String>, Query, description = "mesh or site:<name>"), ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "{result: verified, count, head} or {result: broken, seq, why}", body = serde_json::Value)))]
pub async fn verify(State(app): State<App>, Query(query): Query<GroupQuery>) -> Result<Json<Value>, ApiError> {
    let group = app.group_of(&query)?;
    let verified = app.history.verify(group.id().clone()).await.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(fresh_of(&group, json!(verified)))
}
