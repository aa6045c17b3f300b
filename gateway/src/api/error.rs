//! What the API says when it cannot do what it was asked: `{error: {code, message, details?}}` and the HTTP status that fits.

use crate::consensus::ProposeError;
use axum::Json;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::json;
use spalla_shared::engine::Rejection;
use std::time::Duration;

#[derive(Debug)]
pub struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: String,
    message: String,
    details: serde_json::Value,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), details: serde_json::Value::Null }
    }
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
    pub fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = details;
        self
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        let (status, code) = match &error {
            ProposeError::NoQuorum(_) => (StatusCode::SERVICE_UNAVAILABLE, "no-quorum"),
            ProposeError::Unknown => (StatusCode::GATEWAY_TIMEOUT, "unknown-outcome"),
            ProposeError::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            ProposeError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            ProposeError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let status = match &*rejection.code {
            "not-found" => StatusCode::NOT_FOUND,
            "conflict" => StatusCode::CONFLICT,
            "forbidden" => StatusCode::FORBIDDEN,
            "limit" => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, &rejection.code, &*rejection.message)
    }
}

impl From<crate::members::Refusal> for ApiError {
    fn from(refusal: crate::members::Refusal) -> Self {
        let status = match refusal.code.as_str() {
            "not-found" => StatusCode::NOT_FOUND,
            "conflict" => StatusCode::CONFLICT,
            "forbidden" => StatusCode::FORBIDDEN,
            "limit" | "busy" => StatusCode::TOO_MANY_REQUESTS,
            "invalid" => StatusCode::BAD_REQUEST,
            "unknown-outcome" => StatusCode::GATEWAY_TIMEOUT,
            "no-quorum" | "stopping" | "not-leader" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, &refusal.code, refusal.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message });
        if !self.details.is_null() {
            error["details"] = self.details;
        }
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

/// Text of a refusal by the framework that is passed on.
const REFUSAL_LEN_MAX: usize = 16 * 1024;

/// What the framework refuses by itself (a body that is no JSON, too large, a wrong method) comes as bare text: it gets the
/// shape of every other error.
pub async fn in_shape(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, REFUSAL_LEN_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let (status, code, message) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            (status, "too-large", format!("the body is too large: at most {} bytes; split it", super::BODY_SIZE_MAX))
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            (status, "method-not-allowed", "this path does not take that method; /api/v1/openapi.json says which".into())
        }
        // Here a wrong field is a mistake like any other.
        StatusCode::UNPROCESSABLE_ENTITY => (StatusCode::BAD_REQUEST, "invalid", text.into_owned()),
        _ if status.is_client_error() => (status, "invalid", text.into_owned()),
        _ => (status, "internal", text.into_owned()),
    };
    let mut shaped = ApiError::new(status, code, message).into_response();
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        shaped.headers_mut().insert(header::ALLOW, allow.clone());
    }
    shaped
}

/// Of a body that is too large anyway, so much is still taken in, for so long: a caller that is cut off while it sends never
/// reads the answer.
const DISCARDED_LEN_MAX: usize = 16 * super::BODY_SIZE_MAX;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(10);

/// Refuses what says of itself that it is too large.
pub async fn too_large(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|length| length <= super::BODY_SIZE_MAX) {
        return next.run(request).await;
    }
    let mut body = request.into_body().into_data_stream();
    let discard = async {
        let mut taken = 0;
        while let Some(Ok(part)) = body.next().await {
            taken += part.len();
            if taken > DISCARDED_LEN_MAX {
                break;
            }
        }
    };
    // Whether all of it came makes no difference to the answer.
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, discard).await;
    StatusCode::PAYLOAD_TOO_LARGE.into_response()
}

pub async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!("no such path: {}; /api/v1/openapi.json lists them", uri.path()))
}
