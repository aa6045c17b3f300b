//! The task that polls rumqttc: the only one that does, and it never publishes.

use crate::client::ClientEvent;
use crate::client::driver::{Driver, Notice};
use crate::client::shared::Shared;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How long a full event queue may hold up the connection before a message is given up.
const EVENT_WAIT: Duration = Duration::from_secs(3);
const GOODBYE_WAIT: Duration = Duration::from_millis(500);

pub(super) async fn run(
    shared: Arc<Shared>,
    mut driver: Driver,
    events: mpsc::Sender<ClientEvent>,
    mut closing: watch::Receiver<bool>,
    pause_max: Duration,
) {
    let over = Over(shared.clone());
    let mut pause = PAUSE_MIN;
    let mut farewell = None;
    loop {
        let polled = tokio::select! {
            polled = driver.poll() => polled,
            () = shared.cut.notified() => Err("cut".to_owned()),
            () = is_true(&mut closing) => break,
        };
        match polled {
            Ok(Notice::Connected { session_present }) => {
                pause = PAUSE_MIN;
                shared.connected(session_present);
                tell(&shared, &events, ClientEvent::Connected { session_present }).await;
            }
            Ok(Notice::Published(packet_id)) => shared.published(packet_id),
            Ok(Notice::Subscribed(packet_id)) => shared.asked(packet_id),
            Ok(Notice::Acknowledged { packet_id, refused }) => shared.acknowledged(packet_id, refused),
            Ok(Notice::SubAck { packet_id, refused }) => shared.suback(packet_id, refused),
            Ok(Notice::Message(message)) => tell(&shared, &events, ClientEvent::Message(message)).await,
            Ok(Notice::Farewell(reason)) => farewell = Some(reason),
            Ok(Notice::Other) => {}
            Err(error) => {
                shared.disconnected(&mut driver);
                let reason = farewell.take().unwrap_or(error);
                tracing::debug!(%reason, "client disconnected");
                // One who does not fetch events does not need to hear of every attempt.
                events.try_send(ClientEvent::Disconnected { reason }).ok();
                tokio::select! {
                    () = tokio::time::sleep(jittered(pause)) => {}
                    () = is_true(&mut closing) => break,
                }
                pause = (pause * 2).min(pause_max.max(PAUSE_MIN));
            }
        }
    }
    if shared.is_connected() {
        shared.say_goodbye();
        let goodbye = async { while driver.poll().await.is_ok() {} };
        tokio::time::timeout(GOODBYE_WAIT, goodbye).await.ok();
    }
    drop(over);
}

/// Ends all waiting however the task ends, a panic inside rumqttc included.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over();
    }
}

async fn is_true(flag: &mut watch::Receiver<bool>) {
    flag.wait_for(|set| *set).await.ok();
}

async fn tell(shared: &Shared, events: &mpsc::Sender<ClientEvent>, event: ClientEvent) {
    match tokio::time::timeout(EVENT_WAIT, events.send(event)).await {
        Ok(_) => {}
        Err(_) => {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("a client's events are not fetched; one was lost");
        }
    }
}

/// Between half and all of `pause`, so that a thousand clients do not come back in one instant.
fn jittered(pause: Duration) -> Duration {
    let dice = RandomState::new().build_hasher().finish();
    let half = pause / 2;
    half + half.mul_f64((dice % 1024) as f64 / 1024.0)
}
