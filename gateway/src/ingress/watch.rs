//! What devices say and what it was understood as, side by side, for whoever puts a device in. Nobody watching: no cost.
//! A watcher that reads too slowly misses messages and is told how many; it never holds a device up.

use serde_json::{Value as Json, json};
use spalla_broker::message::Message;
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Messages kept for a watcher that is behind: a few seconds of a busy building.
const KEPT_MAX: usize = 512;
/// Watchers at one time.
const WATCHERS_MAX: usize = 16;
/// Shown of one payload, bytes.
const SHOWN_MAX: usize = 4 * 1024;

pub struct Watch {
    heard: broadcast::Sender<Arc<Heard>>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Heard {
    pub at: String,
    /// The login that it came by.
    pub login: DeviceId,
    pub topic: String,
    /// Text, or hexadecimal digits where it is none; cut at 4 KiB. A presented credential is not shown.
    pub payload: String,
    pub retained: bool,
    pub qos: u8,
    /// What it meant, with the device that it meant it for.
    pub understood: Vec<Json>,
    pub problems: Vec<String>,
    /// `taken`, `refused: …` or `not now: …`.
    pub verdict: String,
}

impl Default for Watch {
    fn default() -> Self {
        Self { heard: broadcast::Sender::new(KEPT_MAX) }
    }
}

impl Watch {
    pub fn is_watched(&self) -> bool {
        self.heard.receiver_count() > 0
    }

    /// `None`: as many watch already as may.
    pub fn watch(&self) -> Option<broadcast::Receiver<Arc<Heard>>> {
        (self.heard.receiver_count() < WATCHERS_MAX).then(|| self.heard.subscribe())
    }

    pub(super) fn tell(&self, heard: Heard) {
        // Nobody watches any more: nothing is lost.
        let _ = self.heard.send(Arc::new(heard));
    }
}

impl Heard {
    pub(super) fn new(login: &DeviceId, message: &Message, hidden: bool, now: Timestamp) -> Self {
        Self {
            at: now.to_rfc3339(),
            login: login.clone(),
            topic: message.topic.clone(),
            payload: if hidden { "(a credential; not shown)".into() } else { shown(&message.payload) },
            retained: message.retain,
            qos: message.qos as u8,
            understood: Vec::new(),
            problems: Vec::new(),
            verdict: String::new(),
        }
    }

    pub(super) fn note(&mut self, device: &DeviceId, what: &str, mut fields: Json) {
        fields["device"] = json!(device);
        fields["is"] = json!(what);
        self.understood.push(fields);
    }

    /// Whether it is about `device`: its login, or one that it was understood for.
    pub fn concerns(&self, device: &str) -> bool {
        self.login.as_str() == device || self.understood.iter().any(|what| what["device"] == device)
    }
}

fn shown(payload: &[u8]) -> String {
    let (part, cut) = if payload.len() > SHOWN_MAX { (&payload[..SHOWN_MAX], "…") } else { (payload, "") };
    match std::str::from_utf8(part) {
        Ok(text) => format!("{text}{cut}"),
        // Cut inside a character.
        Err(error) if error.error_len().is_none() => format!("{}{cut}", String::from_utf8_lossy(&part[..error.valid_up_to()])),
        Err(_) => format!("{}{cut}", hex::encode(part)),
    }
}
