//! Rows as bytes: CBOR beside a checksum, so that a page that rotted is an error and not another message.

use crate::hooks::Principal;
use crate::message::{Message, Qos};
use crate::router::envelope::{self, Content};
use crate::session::packet::{SubOptions, Will};
use crate::store::{QueueRow, RowState, SessionRow, WillRow};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spalla_shared::time::Timestamp;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
struct Session {
    principal: String,
    client_id: String,
    expiry_s: u32,
    left_at: Option<Timestamp>,
    subscriptions: Vec<(String, SubOptions)>,
}

#[derive(Serialize, Deserialize)]
struct QueueHead {
    qos: Qos,
    retain: bool,
    subscription_ids: Vec<u32>,
    share: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WillHead {
    principal: String,
    client_id: String,
    expiry_s: Option<u32>,
    delay_s: u32,
}

/// A row's text, its message where it has one, and the checksum of both.
pub(super) struct Row {
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    pub sum: u32,
}

impl Row {
    fn new(head: &impl Serialize, message: Option<&Message>) -> Option<Self> {
        let mut bytes = Vec::new();
        ciborium::into_writer(head, &mut bytes).ok()?;
        let body = match message {
            Some(message) => envelope::seal_message(0, 0, message)?.to_vec(),
            None => Vec::new(),
        };
        let sum = sum(&bytes, &body);
        Some(Self { head: bytes, body, sum })
    }

    fn head<T: DeserializeOwned>(&self) -> Option<T> {
        if sum(&self.head, &self.body) != self.sum {
            return None;
        }
        ciborium::from_reader(&self.head[..]).ok()
    }

    fn message(&self) -> Option<Message> {
        match envelope::open(&Bytes::copy_from_slice(&self.body))? {
            (_, Content::Message { message, .. }) => Some(message),
            (_, Content::Probe) => None,
        }
    }
}

fn sum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

pub(super) fn retained(message: &Message) -> Option<Row> {
    Row::new(&(), Some(message))
}

pub(super) fn read_retained(row: &Row) -> Option<Message> {
    row.head::<()>()?;
    row.message()
}

pub(super) fn session(row: &SessionRow) -> Option<Row> {
    let head = Session {
        principal: row.who.name.to_string(),
        client_id: row.who.client_id.to_string(),
        expiry_s: row.expiry_s,
        left_at: row.left_at,
        subscriptions: row.subscriptions.clone(),
    };
    Row::new(&head, None)
}

pub(super) fn read_session(session: u64, row: &Row) -> Option<SessionRow> {
    let head: Session = row.head()?;
    Some(SessionRow {
        session,
        who: Principal { client_id: head.client_id.into(), name: head.principal.into() },
        expiry_s: head.expiry_s,
        left_at: head.left_at,
        subscriptions: head.subscriptions,
    })
}

pub(super) fn queued(row: &QueueRow) -> Option<Row> {
    let head = QueueHead {
        qos: row.qos,
        retain: row.retain,
        subscription_ids: row.subscription_ids.to_vec(),
        share: row.share.as_deref().map(str::to_owned),
    };
    Row::new(&head, Some(&row.message))
}

pub(super) fn read_queued(session: u64, order: u64, packet_id: Option<u16>, state: u8, row: &Row) -> Option<QueueRow> {
    let head: QueueHead = row.head()?;
    let state = match state {
        0 => RowState::Waiting,
        1 => RowState::Sent,
        2 => RowState::Released,
        _ => return None,
    };
    Some(QueueRow {
        session,
        order,
        packet_id,
        state,
        qos: head.qos,
        retain: head.retain,
        subscription_ids: head.subscription_ids.into(),
        share: head.share.map(Into::into),
        message: Arc::new(row.message()?),
    })
}

pub(super) fn will(row: &WillRow) -> Option<Row> {
    let head = WillHead {
        principal: row.who.name.to_string(),
        client_id: row.who.client_id.to_string(),
        expiry_s: row.will.expiry_s,
        delay_s: row.will.delay_s,
    };
    Row::new(&head, Some(&row.will.message))
}

pub(super) fn read_will(session: u64, row: &Row) -> Option<WillRow> {
    let head: WillHead = row.head()?;
    Some(WillRow {
        session,
        who: Principal { client_id: head.client_id.into(), name: head.principal.into() },
        will: Will { message: row.message()?, expiry_s: head.expiry_s, delay_s: head.delay_s },
    })
}
