//! What the devices of this gateway say, as it comes in: raw, and as it was understood. A stream of server-sent events.

use super::{ApiError, App};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use tokio::sync::broadcast::error::RecvError;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Only messages of this device, or of the bridge that speaks for it.
    device: Option<String>,
}

/// `event: message` for each; `event: lost` with a count where this reader was too slow.
#[utoipa::path(get, path = "/api/v1/devices/watch", params(Watched),
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String)))]
pub async fn watch(
    State(app): State<App>,
    Query(watched): Query<Watched>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Some(heard) = app.devices.watch.watch() else {
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "limit", "too many watch already; end one of the others"));
    };
    let stream = futures::stream::unfold((heard, watched.device), |(mut heard, device)| async move {
        loop {
            let event = match heard.recv().await {
                Ok(message) if device.as_deref().is_none_or(|device| message.concerns(device)) => {
                    Event::default().event("message").json_data(&*message)
                }
                Ok(_) => continue,
                Err(RecvError::Lagged(count)) => Event::default().event("lost").json_data(json!({ "count": count })),
                Err(RecvError::Closed) => return None,
            };
            // What was built here is JSON.
            let Ok(event) = event else { continue };
            return Some((Ok(event), (heard, device)));
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
