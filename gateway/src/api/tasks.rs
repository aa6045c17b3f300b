//! Work items: what people must do. (The command line says `task`; the flow language means something else by that word.)

use super::groups::GroupQuery;
use super::{ApiError, App, actor, fresh, propose_to};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value as Json_, json};
use spalla_shared::engine::command::WorkItemAction;
use spalla_shared::engine::work_item::WorkItemKind;
use spalla_shared::engine::{Accepted, Command};
use spalla_shared::id::WorkItemId;
use spalla_shared::value::Value;
use std::sync::Arc;

#[derive(Deserialize)]
pub struct ListQuery {
    /// `user:…` or `role:…`.
    to: Option<String>,
    /// Of all groups that are here, where neither is given.
    group: Option<String>,
    site: Option<String>,
}

/// Open work items, oldest first.
#[utoipa::path(get, path = "/api/v1/tasks", params(("to" = Option<String>, Query, description = "user:… or role:…"),
        ("group" = Option<String>, Query, description = "mesh or site:<name>; default: all that this gateway has a copy of"),
        ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "Open work items", body = serde_json::Value)))]
pub async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> Result<Json<Json_>, ApiError> {
    let asked = GroupQuery { group: query.group.clone(), site: query.site.clone() };
    let mut items: Vec<(i64, Json_)> = Vec::new();
    for group in app.groups_of(&asked)? {
        let state = group.state().read();
        let of_it = state
            .work_items
            .values()
            .filter(|item| query.to.as_deref().is_none_or(|to| &*item.to == to))
            .map(|item| {
                let mut row = json!({
                    "id": item.id, "group": group.id(), "to": item.to, "created_at": item.created_at.to_rfc3339(), "instance": item.owner.instance(),
                    "data": item.data, "claimed_by": item.claimed_by, "votes": item.votes,
                });
                match &item.kind {
                    WorkItemKind::Approval { question, choices, quorum } => {
                        row["kind"] = json!("approval");
                        row["title"] = json!(question);
                        row["choices"] = json!(choices);
                        row["quorum"] = json!(quorum);
                    }
                    WorkItemKind::Task { title, checklist, form } => {
                        row["kind"] = json!("task");
                        row["title"] = json!(title);
                        row["checklist"] = json!(checklist);
                        row["form"] = json!(form);
                    }
                }
                (item.created_at.millis(), row)
            });
        items.extend(of_it);
    }
    items.sort_by_key(|(at, _)| *at);
    Ok(fresh(&app, json!(items.into_iter().take(super::PAGE_LEN_MAX).map(|(_, row)| row).collect::<Vec<_>>())))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// For an approval: one of its choices.
    choice: Option<String>,
    /// For a task: the answers of its form.
    #[schema(value_type = Object)]
    answers: Option<Value>,
    comment: Option<String>,
    /// Dedupe key; an equal key changes nothing the second time.
    key: Option<String>,
}

/// Completes a work item, or votes on an approval.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/complete", params(("id" = String, Path)), request_body = Completion,
    responses((status = 200, description = "Taken", body = serde_json::Value), (status = 404, description = "No such open work item")))]
pub async fn complete(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(completion): Json<Completion>,
) -> Result<Json<Json_>, ApiError> {
    let by = actor(&headers)?;
    let comment: Option<Arc<str>> = completion.comment.map(Arc::from);
    let action = match (completion.choice, completion.answers) {
        (Some(choice), None) => WorkItemAction::Choose { choice: choice.into(), comment },
        (None, answers) => WorkItemAction::Complete { answers: answers.unwrap_or_else(Value::empty_object), comment },
        (Some(_), Some(_)) => return Err(ApiError::invalid("give `choice` (an approval) or `answers` (a task), not both")),
    };
    let key = completion.key.unwrap_or_else(|| format!("{id}/{by}"));
    let id = WorkItemId::new(id);
    let group = app.group_with(&GroupQuery::default(), |state| state.work_items.contains_key(&id))?;
    let (receipt, accepted) = propose_to(&group, Command::WorkItem { id, action, by, key: key.into() }).await?;
    Ok(Json(json!({ "data": { "index": receipt.index, "duplicate": accepted == Accepted::Duplicate } })))
}
