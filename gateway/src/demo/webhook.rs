//! Where the demo's notifications go: a small HTTP server in place of an SMS service. Equal keys are one notification.

use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Notifications waiting to be read by the visitors.
const QUEUE_LEN_MAX: usize = 10_000;

#[derive(Clone, Debug, Deserialize)]
pub struct Notification {
    #[serde(default)]
    pub data: serde_json::Value,
    pub key: String,
}

/// Listens on a free loopback port and hands each new notification out once.
pub async fn open() -> std::io::Result<(SocketAddr, mpsc::Receiver<Notification>)> {
    let (give, take) = mpsc::channel(QUEUE_LEN_MAX);
    let seen: Arc<Mutex<HashSet<String>>> = Arc::default();
    let routes = Router::new().route(
        "/notify",
        post(move |Json(notification): Json<Notification>| {
            let new = seen.lock().is_ok_and(|mut seen| seen.insert(notification.key.clone()));
            let give = give.clone();
            async move {
                if new {
                    let _ = give.send(notification).await;
                }
                Json(serde_json::json!({ "delivered": true }))
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let _ = axum::serve(listener, routes).await;
    });
    Ok((address, take))
}
