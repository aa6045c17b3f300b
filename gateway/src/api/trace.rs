//! The trace of an instance: in pages, or as a stream that goes on until the instance ends.

use super::{ApiError, App, fresh};
use crate::history::TaskRow;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::id::InstanceId;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// Lines of one page, and that a stream reads at once.
const LINES_MAX: u32 = 1_000;
/// Streams of one gateway; each looks into history whenever something was written.
const STREAMS_MAX: usize = 64;
/// A stream looks at most so often, however much is written.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(100);

static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);

#[derive(Deserialize)]
pub struct PageQuery {
    /// The `seq` of the last line that is known.
    after: Option<String>,
    /// At most this many, default 1000.
    limit: Option<u32>,
}

pub fn as_json(row: &TaskRow) -> Value {
    json!({
        "seq": format!("{}.{}", row.index, row.ordinal), "at": row.at.to_rfc3339(), "reference": row.reference, "name": row.name,
        "what": row.what, "data": row.data,
    })
}

/// Lines of the trace, oldest first. `next`: there are more; it goes into `after`.
#[utoipa::path(get, path = "/api/v1/instances/{id}/trace",
    params(("id" = String, Path), ("after" = Option<String>, Query, description = "`seq` of the last line that is known"), ("limit" = Option<u32>, Query)),
    responses((status = 200, description = "Lines: seq, at, reference, name, what, data", body = serde_json::Value), (status = 404, description = "Unknown")))]
pub async fn page(State(app): State<App>, Path(id): Path<String>, Query(query): Query<PageQuery>) -> Result<Json<Value>, ApiError> {
    let id = known(&app, &id).await?;
    let after = query.after.as_deref().map(place).transpose()?;
    let limit = query.limit.unwrap_or(LINES_MAX).min(LINES_MAX);
    let page = app.history.trace(id, after, limit).await.map_err(internal)?;
    let Json(mut body) = fresh(&app, page.rows.iter().map(as_json).collect());
    body["next"] = json!(page.next.map(|(index, ordinal)| format!("{index}.{ordinal}")));
    Ok(Json(body))
}

/// Server-sent events: a `line` per line of the trace as it comes, then `end` with how the instance ended.
#[utoipa::path(get, path = "/api/v1/instances/{id}/trace/stream",
    params(("id" = String, Path), ("after" = Option<String>, Query, description = "`seq` of the last line that is known")),
    responses((status = 200, description = "text/event-stream: line, end", body = String), (status = 404, description = "Unknown"), (status = 429, description = "Too many streams")))]
pub async fn stream(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let id = known(&app, &id).await?;
    let after = query.after.as_deref().map(place).transpose()?;
    let permit = STREAMS.try_acquire().map_err(|_| {
        let message = format!("{STREAMS_MAX} traces are being followed at this gateway; try another, or later");
        ApiError::new(axum::http::StatusCode::TOO_MANY_REQUESTS, "limit", message)
    })?;
    let written = app.history.written();
    let follower = Follower { app, id, after, written, waiting: VecDeque::new(), over: false, _permit: permit };
    let events = futures::stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

struct Follower {
    app: App,
    id: InstanceId,
    after: Option<(u64, u32)>,
    written: watch::Receiver<u64>,
    waiting: VecDeque<Event>,
    over: bool,
    _permit: SemaphorePermit<'static>,
}

impl Follower {
    /// The next event; none when the instance has ended, or the gateway is about to.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            self.written.mark_unchanged();
            // Asked first: what is written before the end is there when the end is.
            let stored = self.app.history.instance(self.id.clone()).await.ok()?;
            let page = self.app.history.trace(self.id.clone(), self.after, LINES_MAX).await.ok()?;
            if let Some(last) = page.rows.last() {
                self.after = Some((last.index, last.ordinal));
            }
            self.waiting.extend(page.rows.iter().map(|row| event("line", &as_json(row)).id(format!("{}.{}", row.index, row.ordinal))));
            if page.next.is_some() {
                continue;
            }
            if let Some(ended) = stored.filter(|stored| stored.ended_at.is_some()) {
                let end = json!({ "status": ended.status, "output": ended.output, "problem": ended.problem });
                self.waiting.push_back(event("end", &end));
                self.over = true;
            }
            if self.waiting.is_empty() {
                tokio::time::sleep(LOOK_INTERVAL_MIN).await;
                self.written.changed().await.ok()?;
            }
        }
    }
}

fn event(kind: &str, data: &Value) -> Event {
    Event::default().event(kind).data(data.to_string())
}

/// The instance, running or in history.
async fn known(app: &App, id: &str) -> Result<InstanceId, ApiError> {
    let id = InstanceId::new(id);
    let running = app.groups().iter().any(|group| group.state().read().instances.contains_key(&id));
    if running || app.history.instance(id.clone()).await.map_err(internal)?.is_some() {
        return Ok(id);
    }
    Err(ApiError::not_found(format!("no instance `{id}`; `spalla instance list --status all` shows them")))
}

fn internal(error: crate::history::HistoryError) -> ApiError {
    ApiError::internal(error.to_string())
}

fn place(text: &str) -> Result<(u64, u32), ApiError> {
    let parsed = text.split_once('.').and_then(|(index, ordinal)| Some((index.parse().ok()?, ordinal.parse().ok()?)));
    parsed.ok_or_else(|| ApiError::invalid(format!("`after` is the `seq` of a line, like 17.3, not `{text}`")))
}
