//! Running and finished flows: show with its trace, start, and what an operator may do to one.

use super::groups::GroupQuery;
use super::trace::as_json as trace_line;
use super::{ApiError, App, actor, fresh_of, propose_to};
use crate::history::InstanceRow;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value as Json_, json};
use spalla_shared::engine::command::{FlowSelector, OperatorAction};
use spalla_shared::engine::instance::Instance;
use spalla_shared::engine::{Accepted, Command};
use spalla_shared::id::{GroupId, InstanceId};
use spalla_shared::value::Value;

/// Lines of a trace in one answer.
const TRACE_LEN_MAX: u32 = 1_000;

/// One instance: where it stands, its data, its trace.
#[utoipa::path(get, path = "/api/v1/instances/{id}", params(("id" = String, Path)),
    responses((status = 200, description = "The instance", body = serde_json::Value), (status = 404, description = "Unknown")))]
pub async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Json_>, ApiError> {
    let id = InstanceId::new(&id);
    let internal = |error: crate::history::HistoryError| ApiError::internal(error.to_string());
    let group = app.group_with(&GroupQuery::default(), |state| state.instances.contains_key(&id))?;
    let running = group.state().read().instances.get(&id).cloned();
    let stored = app.history.instance(id.clone()).await.map_err(internal)?;
    let mut data = match (running, &stored) {
        (Some(instance), _) => {
            let mut row = running_row(group.id(), &instance);
            row["input"] = json!(instance.input);
            row["context"] = json!(instance.context);
            row["started_by"] = json!(instance.started_by);
            row
        }
        (None, Some(stored)) => finished_row(stored),
        (None, None) => return Err(ApiError::not_found(format!("no instance `{id}`; `spalla instance list --status all` shows them"))),
    };
    let trace = app.history.trace(id, None, TRACE_LEN_MAX).await.map_err(internal)?;
    data["trace"] = trace.rows.iter().map(trace_line).collect();
    data["trace_cut"] = json!(trace.next.is_some());
    Ok(fresh_of(&group, data))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInstance {
    /// `namespace/name` (newest version) or `namespace/name:version`.
    flow: String,
    #[schema(value_type = Object)]
    #[serde(default)]
    input: Value,
    /// Dedupe key: an equal key gives the instance that the first call started.
    key: Option<String>,
}

/// Starts a flow; one that lives in buildings in this gateway's, unless `group` or `site` names another.
#[utoipa::path(post, path = "/api/v1/instances", request_body = NewInstance,
    params(("group" = Option<String>, Query, description = "mesh or site:<name>"), ("site" = Option<String>, Query, description = "A building, for its group")),
    responses((status = 200, description = "{instance, index}", body = serde_json::Value), (status = 404, description = "No such flow")))]
pub async fn start(
    State(app): State<App>,
    Query(query): Query<GroupQuery>,
    headers: HeaderMap,
    Json(new): Json<NewInstance>,
) -> Result<Json<Json_>, ApiError> {
    let by = actor(&headers)?;
    let flow = selector(&new.flow)?;
    let group = if query.is_empty() { app.home_of(&flow)? } else { app.group_of(&query)? };
    let key = new.key.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    let (receipt, accepted) = propose_to(&group, Command::Start { flow, input: new.input, key: key.into(), by }).await?;
    let instance = match accepted {
        Accepted::Started { instance } => Some(instance),
        _ => None,
    };
    Ok(Json(json!({ "data": { "instance": instance, "index": receipt.index, "group": group.id() } })))
}

#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// cancel: why.
    reason: Option<String>,
    /// skip: what the task would have given.
    #[schema(value_type = Object)]
    output: Option<Value>,
    /// set-context: the new context.
    #[schema(value_type = Object)]
    context: Option<Value>,
}

/// `cancel`, `suspend`, `resume`, `retry`, `skip` or `set-context`.
#[utoipa::path(post, path = "/api/v1/instances/{id}/{action}", params(("id" = String, Path), ("action" = String, Path)), request_body = Option<Operation>,
    responses((status = 200, description = "Done", body = serde_json::Value), (status = 404, description = "No such running instance")))]
pub async fn operate(
    State(app): State<App>,
    Path((id, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Option<Json<Operation>>,
) -> Result<Json<Json_>, ApiError> {
    let by = actor(&headers)?;
    let Operation { reason, output, context } = body.map(|Json(body)| body).unwrap_or_default();
    let action = match action.as_str() {
        "cancel" => OperatorAction::Cancel { reason: reason.unwrap_or_else(|| "cancelled by an operator".into()).into() },
        "suspend" => OperatorAction::Suspend,
        "resume" => OperatorAction::Resume,
        "retry" => OperatorAction::Retry,
        "skip" => OperatorAction::Skip { output: output.unwrap_or_default() },
        "set-context" => OperatorAction::SetContext { context: context.ok_or_else(|| ApiError::invalid("set-context needs `context`"))? },
        other => return Err(ApiError::not_found(format!("no action `{other}`: cancel, suspend, resume, retry, skip, set-context"))),
    };
    let instance = InstanceId::new(&id);
    let group = app.group_with(&GroupQuery::default(), |state| state.instances.contains_key(&instance))?;
    let (receipt, _) = propose_to(&group, Command::Operator { instance, action, by }).await?;
    Ok(Json(json!({ "data": { "index": receipt.index } })))
}

pub fn running_row(group: &GroupId, instance: &Instance) -> Json_ {
    json!({
        "id": instance.id, "group": group, "flow": instance.flow.to_string(), "status": instance.status, "started_at": instance.started_at.to_rfc3339(),
        "business_key": instance.business_key, "positions": instance.positions(), "incident": instance.incident,
        "parent": instance.parent.as_ref().and_then(|parent| parent.instance()),
    })
}

pub fn finished_row(row: &InstanceRow) -> Json_ {
    json!({
        "id": row.id, "group": row.group, "flow": format!("{}/{}:{}", row.namespace, row.name, row.version), "status": row.status, "started_at": row.started_at.to_rfc3339(),
        "ended_at": row.ended_at.map(|at| at.to_rfc3339()), "business_key": row.business_key, "started_by": row.started_by,
        "input": row.input, "output": row.output, "problem": row.problem, "positions": [], "incident": null,
    })
}

/// Reads `namespace/name[:version]`.
fn selector(text: &str) -> Result<FlowSelector, ApiError> {
    let (path, version) = match text.split_once(':') {
        Some((path, version)) => (path, Some(version.into())),
        None => (text, None),
    };
    match path.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(FlowSelector { namespace: namespace.into(), name: name.into(), version })
        }
        _ => Err(ApiError::invalid(format!("flow `{text}`: write NAMESPACE/NAME or NAMESPACE/NAME:VERSION, e.g. `spalla/visitor`"))),
    }
}
