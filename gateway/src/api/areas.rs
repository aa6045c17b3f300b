//! Areas: their doors, and with anti-passback who is inside, and how somebody is forgiven.

use super::{ApiError, App, PAGE_LEN_MAX, actor, fresh, propose};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::engine::{Accepted, Command, PassbackCommand, State as Log};
use spalla_shared::id::{DeviceId, SiteId};
use spalla_shared::resource::Area;
use std::collections::BTreeSet;

/// All areas. With anti-passback: how many are inside, and which of its buildings the mesh cannot hear.
#[utoipa::path(get, path = "/api/v1/areas", responses((status = 200, description = "Areas", body = serde_json::Value)))]
pub async fn list(State(app): State<App>) -> Json<Value> {
    let data: Vec<Value> = {
        let state = app.group.state().read();
        state.areas.values().map(|area| shown(&app, &state, area)).collect()
    };
    fresh(&app, json!(data))
}

/// One area, and by name the people inside as far as anti-passback knows: the first thousand.
#[utoipa::path(get, path = "/api/v1/areas/{name}", params(("name" = String, Path)),
    responses((status = 200, description = "The area", body = serde_json::Value)))]
pub async fn show(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let data = {
        let state = app.group.state().read();
        let area = state.areas.get(&*name).ok_or_else(|| ApiError::not_found(format!("there is no area `{name}`")))?;
        let mut data = shown(&app, &state, area);
        let inside = state.passback.inside(&area.name).take(PAGE_LEN_MAX);
        data["people"] = inside.map(|(person, passage)| json!({ "person": person, "since": passage.at.to_rfc3339() })).collect();
        data
    };
    Ok(fresh(&app, data))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Forgive {
    /// The holder of the credential.
    person: Option<String>,
    /// In the place of `person`.
    #[serde(default)]
    everybody: bool,
}

/// Forgets on which side of the area somebody is: the next passage is free. The audit trail says who did it.
#[utoipa::path(post, path = "/api/v1/areas/{name}/forgive", params(("name" = String, Path)), request_body = Forgive,
    responses((status = 200, description = "How many were known", body = serde_json::Value)))]
pub async fn forgive(
    State(app): State<App>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Json(wish): Json<Forgive>,
) -> Result<Json<Value>, ApiError> {
    let by = actor(&headers)?;
    if wish.person.is_some() == wish.everybody {
        return Err(ApiError::invalid("say whom to forgive: either `person` or `everybody: true`"));
    }
    let command = PassbackCommand::Forgive { area: name.into(), person: wish.person.map(Into::into), by };
    let (receipt, accepted) = propose(&app, Command::Passback(command)).await?;
    let forgiven = if let Accepted::Forgiven { people } = accepted { people } else { 0 };
    Ok(Json(json!({ "data": { "forgiven": forgiven, "index": receipt.index } })))
}

fn shown(app: &App, state: &Log, area: &Area) -> Value {
    let mut data = json!(area);
    if area.anti_passback.is_some() {
        data["inside"] = json!(state.passback.inside(&area.name).count());
        // A building that is alone reaches none of the others.
        let alone = app.group.freshness().stale;
        let sites: BTreeSet<SiteId> = area.doors.iter().map(DeviceId::site).collect();
        let lost = |site: &&SiteId| state.passback.split.contains(*site) || alone && **site != app.config.site;
        data["out_of_reach"] = json!(sites.iter().filter(lost).collect::<Vec<_>>());
    }
    data
}
