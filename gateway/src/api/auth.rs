//! The bearer token that `spalla init` made.

use super::{ApiError, App};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

pub async fn require_token(State(app): State<App>, request: Request, next: Next) -> Result<Response, ApiError> {
    match bearer(request.headers()) {
        Some(token) if equal(token, &app.token) => Ok(next.run(request).await),
        Some(_) => Err(denied("the bearer token is not this gateway's; it is in the file that `api.token_file` names")),
        None => Err(denied("send `Authorization: Bearer TOKEN`; the token is in the file that `api.token_file` names")),
    }
}

/// What stands behind `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

pub fn denied(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

/// Compares digests, so that the time taken tells nothing about the token.
fn equal(shown: &str, wanted: &str) -> bool {
    Sha256::digest(shown.as_bytes()) == Sha256::digest(wanted.as_bytes())
}
