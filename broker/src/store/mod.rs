//! What outlives the process: retained messages, sessions with their subscriptions, what waits for them or is not
//! acknowledged yet, and the wills of those who are connected.
//!
//! A store is told of changes and never blocks; it makes them durable in groups, in their order. Whoever must not speak
//! before that (an acknowledgement) takes a ticket and waits for it. Device commands never come here.

mod batch;
mod row;
pub(crate) mod sqlite;

use crate::hooks::Principal;
use crate::message::{Message, Qos};
use crate::session::packet::{SubOptions, Will};
use spalla_shared::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Grows with every group of changes; a ticket is settled once its group is durable.
pub(crate) type Ticket = u64;
/// Runs when everything put before it is durable.
pub(crate) type Then = Box<dyn FnOnce() + Send>;

/// Why a store cannot be used. The broker then does not start: it would forget what it has acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("the broker's store {path}: {reason}. {mend}")]
pub struct StoreError {
    pub path: PathBuf,
    pub reason: String,
    pub mend: &'static str,
}

pub(crate) trait Store: Send + Sync + 'static {
    /// Notes a change; a later one of the same thing takes its place, so that what waits is never larger than the state itself.
    fn put(&self, change: Change);
    /// `then` runs on the store's thread when everything put so far is durable.
    fn after(&self, then: Then);
    /// Settled when everything put so far is durable.
    fn ticket(&self) -> Ticket;
    /// The newest settled ticket.
    fn settled(&self) -> watch::Receiver<Ticket>;
    /// Why nothing becomes durable at the moment; the store tries again by itself.
    fn fault(&self) -> Option<String>;
    /// Makes durable what is noted, and ends. Blocks.
    fn close(&self);
}

/// One change of what is kept.
pub(crate) enum Change {
    Retain(Arc<Message>),
    Unretain(String),
    Session(Box<SessionRow>),
    /// A session is over, with everything that belongs to it except its will.
    Forget(u64),
    Queue(Box<QueueRow>),
    State {
        session: u64,
        order: u64,
        state: RowState,
    },
    Unqueue {
        session: u64,
        order: u64,
    },
    /// A QoS 2 message of the client was taken; its packet id is in use until PUBREL.
    Received {
        session: u64,
        packet_id: u16,
    },
    Released {
        session: u64,
        packet_id: u16,
    },
    Will(Box<WillRow>),
    Unwill(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub session: u64,
    pub who: Principal,
    pub expiry_s: u32,
    /// `None` while it is connected.
    pub left_at: Option<Timestamp>,
    pub subscriptions: Vec<(String, SubOptions)>,
}

/// A QoS 1 or 2 message on its way to a session.
#[derive(Clone, Debug)]
pub(crate) struct QueueRow {
    pub session: u64,
    pub order: u64,
    pub packet_id: Option<u16>,
    pub state: RowState,
    pub qos: Qos,
    pub retain: bool,
    pub subscription_ids: Arc<[u32]>,
    /// The shared subscription that it came by.
    pub share: Option<Arc<str>>,
    pub message: Arc<Message>,
}

#[cfg(test)]
impl QueueRow {
    /// An empty QoS 1 message of session 1 that waits.
    fn waiting(order: u64) -> Self {
        Self {
            session: 1,
            order,
            packet_id: None,
            state: RowState::Waiting,
            qos: Qos::AtLeastOnce,
            retain: false,
            subscription_ids: Arc::new([]),
            share: None,
            message: Arc::new(Message::default()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowState {
    Waiting = 0,
    /// It may have reached the client.
    Sent = 1,
    /// QoS 2: the client has it.
    Released = 2,
}

/// The will of a client that is connected, or whose delay runs.
#[derive(Clone, Debug)]
pub(crate) struct WillRow {
    pub session: u64,
    pub who: Principal,
    pub will: Will,
}

/// What a store held when it was opened.
#[derive(Default)]
pub(crate) struct Image {
    pub retained: Vec<Message>,
    pub sessions: Vec<SessionRow>,
    /// In order, by session.
    pub queued: Vec<QueueRow>,
    pub received: Vec<(u64, u16)>,
    pub wills: Vec<WillRow>,
}

/// Waits until a ticket is settled; false where the store has ended before.
pub(crate) async fn settle(settled: &mut watch::Receiver<Ticket>, ticket: Ticket) -> bool {
    settled.wait_for(|newest| *newest >= ticket).await.is_ok()
}
