//! What devices say, as it comes in at all gateways: raw, and as it was understood. A stream of server-sent events.

use super::{ApiError, App};
use crate::ingress::Page;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::json;
use spalla_shared::id::NodeId;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;

/// Events between the gateways and this reader; beyond them the gateways keep what they can and count the rest.
const WAITING_MAX: usize = 64;
/// A look at this gateway without news, so that a reader that is gone is noticed.
const WAIT: Duration = Duration::from_secs(2);
/// Before a gateway that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Only messages of this device, or of the bridge that speaks for it.
    device: Option<String>,
}

/// `event: message` for each, with the `node` that heard it; `event: lost` with a count where this reader was too slow;
/// `event: unreachable` and `event: reachable` for a gateway that does not answer, and one that does again.
#[utoipa::path(get, path = "/api/v1/devices/watch", params(Watched),
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String)))]
pub async fn watch(
    State(app): State<App>,
    Query(watched): Query<Watched>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Some(watcher) = app.devices.watch.begin() else {
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "limit", "too many watch already; end one of the others"));
    };
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    // Known before the answer begins: what a device says from now on is shown.
    let here = app.devices.watch.page(None, None, Duration::ZERO).await.next;
    let nodes = app.elsewhere.nodes();
    let begun = join_all(nodes.iter().map(|node| app.elsewhere.heard(*node, None, None))).await;
    for (node, first) in nodes.iter().zip(begun) {
        tokio::spawn(follow(app.clone(), *node, first.ok().map(|page| page.next), watched.device.clone(), sender.clone()));
    }
    tokio::spawn(async move {
        let mut from = here;
        while !sender.is_closed() {
            let page = app.devices.watch.page(Some(from), watched.device.as_deref(), WAIT).await;
            from = page.next;
            if !tell(&sender, app.config.node, page).await {
                break;
            }
        }
        drop(watcher);
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async move { Some((Ok(receiver.recv().await?), receiver)) });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Passes on what another gateway hears, until the reader is gone.
async fn follow(app: App, node: NodeId, mut from: Option<u64>, device: Option<String>, sender: mpsc::Sender<Event>) {
    let mut reachable = true;
    while !sender.is_closed() {
        let heard = app.elsewhere.heard(node, from, device.as_deref()).await;
        if heard.is_ok() != reachable {
            reachable = heard.is_ok();
            let kind = if reachable { "reachable" } else { "unreachable" };
            if !send(&sender, kind, &json!({ "node": node })).await {
                return;
            }
        }
        match heard {
            Ok(page) => {
                from = Some(page.next);
                if !tell(&sender, node, page).await {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

/// `false`: the reader is gone.
async fn tell(sender: &mpsc::Sender<Event>, node: NodeId, page: Page) -> bool {
    if page.lost > 0 && !send(sender, "lost", &json!({ "count": page.lost, "node": node })).await {
        return false;
    }
    for message in page.messages {
        let mut message = json!(*message);
        message["node"] = json!(node);
        if !send(sender, "message", &message).await {
            return false;
        }
    }
    true
}

async fn send(sender: &mpsc::Sender<Event>, kind: &str, data: &serde_json::Value) -> bool {
    // What was built here is JSON.
    let Ok(event) = Event::default().event(kind).json_data(data) else { return true };
    sender.send(event).await.is_ok()
}
