//! The listeners for devices.

use super::{ApiError, App};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// Reads certificate, key, client CA and revocation lists of this gateway's TLS listeners for devices again, as SIGHUP does.
/// Sessions go on, except those whose certificate is refused from now on.
#[utoipa::path(post, path = "/api/v1/listeners/reload", responses((status = 200, description = "The addresses, and how many sessions were ended", body = serde_json::Value),
    (status = 409, description = "A file cannot be used; nothing was changed")))]
pub async fn reload(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let listeners = app.listeners.clone();
    let done = tokio::task::spawn_blocking(move || listeners.reload()).await.map_err(|error| ApiError::internal(error.to_string()))?;
    match done {
        Ok(done) => Ok(Json(json!({ "data": { "addresses": done.addresses, "disconnected": done.disconnected } }))),
        Err(why) => Err(ApiError::new(StatusCode::CONFLICT, "unusable", why)),
    }
}
