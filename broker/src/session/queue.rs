//! What waits for one client and what it has not acknowledged: the part of a session that is only data.
//!
//! Packet ids are given when a QoS 1 or 2 message is queued, not when it leaves: so the id is durable together with the
//! message, and a client that was sent it before a crash recognises it after.

use crate::message::{Message, Qos};
use crate::session::close::Close;
use crate::session::link::Link;
use crate::session::packet::{Answer, SubOptions};
use crate::store::Ticket;
use spalla_shared::time::Timestamp;
use spalla_shared::topic::filter_matches;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Answers that may wait for one client before it counts as too slow: it sends and does not read.
const ANSWERS_MAX: usize = 4096;

#[derive(Default)]
pub(crate) struct Inner {
    pub link: Option<Link>,
    pub subscriptions: HashMap<String, SubOptions>,
    pub expiry_s: u32,
    /// When the connection ended; the session goes `expiry_s` later.
    pub left_at: Option<Timestamp>,
    pub(super) answers: VecDeque<Answer>,
    pub(super) express: VecDeque<Express>,
    pub(super) resend: VecDeque<u16>,
    pub(super) pending: VecDeque<Queued>,
    pub(super) pending_bytes: usize,
    /// Retained messages at the front part of `pending`: bounded by the retained store, not by the queue.
    pub(super) replay_len: usize,
    pub(super) in_flight: BTreeMap<u16, InFlight>,
    /// Packet ids of what waits and is in flight.
    ids: HashSet<u16>,
    last_id: u16,
    pub(super) next_order: u64,
    /// QoS 2 packet ids of the client that are not released yet; true once taken.
    pub received: HashMap<u16, bool>,
    /// QoS 1 messages of the client that are not acknowledged yet.
    pub unanswered: usize,
    /// Counts connections, so that a will that waits knows whether its client was back in between.
    pub attached: u64,
}

/// A message on its way to this client.
#[derive(Clone)]
pub(crate) struct Queued {
    pub message: Arc<Message>,
    pub qos: Qos,
    pub retain: bool,
    pub subscription_ids: Arc<[u32]>,
    /// Belongs to its moment: not kept for a client that is away.
    pub command: bool,
    pub replay: bool,
    /// The shared subscription it came by, as in `$share/group/filter`.
    pub share: Option<Arc<str>>,
    pub packet_id: Option<u16>,
    pub order: u64,
    /// It is in the store, and durable once this is settled.
    pub stored: Option<Ticket>,
}

impl Queued {
    pub fn new(message: Arc<Message>, qos: Qos) -> Self {
        Self {
            message,
            qos,
            retain: false,
            subscription_ids: Arc::new([]),
            command: false,
            replay: false,
            share: None,
            packet_id: None,
            order: 0,
            stored: None,
        }
    }
}

/// A device command: ahead of every queue, for this connection only.
pub(super) struct Express {
    pub message: Arc<Message>,
    pub qos: Qos,
    pub done: oneshot::Sender<Delivered>,
}

/// What became of a device command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Transported,
    Expired,
    /// The client refuses it, or it is larger than the client takes.
    Refused,
}

pub(super) struct InFlight {
    pub queued: Queued,
    /// QoS 2: PUBREC was seen, the message is the client's.
    pub released: bool,
    pub done: Option<oneshot::Sender<Delivered>>,
}

impl Inner {
    pub(super) fn answer(&mut self, answer: Answer) {
        let Some(link) = &self.link else { return };
        if self.answers.len() >= ANSWERS_MAX {
            link.close(Close::Slow);
        } else {
            self.answers.push_back(answer);
        }
    }

    /// The highest QoS that the subscriptions grant a topic; none where no subscription takes it.
    pub(super) fn granted(&self, topic: &str) -> Option<Qos> {
        self.subscriptions.iter().filter(|(filter, _)| filter_matches(filter, topic)).map(|(_, options)| options.qos).max()
    }

    /// Messages that wait, retained ones aside.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len().saturating_sub(self.replay_len)
    }

    pub(super) fn push_pending(&mut self, queued: Queued) {
        if queued.replay {
            self.replay_len += 1;
        } else {
            self.pending_bytes = self.pending_bytes.saturating_add(queued.message.payload.len());
        }
        self.pending.push_back(queued);
    }

    pub(crate) fn pop_pending(&mut self) -> Option<Queued> {
        let queued = self.pending.pop_front()?;
        if queued.replay {
            self.replay_len = self.replay_len.saturating_sub(1);
        } else {
            self.pending_bytes = self.pending_bytes.saturating_sub(queued.message.payload.len());
        }
        Some(queued)
    }

    /// Takes out of `pending` what `leaves` says, in its order.
    pub(super) fn extract_pending(&mut self, leaves: impl Fn(&Queued) -> bool) -> Vec<Queued> {
        let (out, stay): (Vec<_>, VecDeque<_>) = {
            let mut out = Vec::new();
            let mut stay = VecDeque::with_capacity(self.pending.len());
            for queued in self.pending.drain(..) {
                if leaves(&queued) { out.push(queued) } else { stay.push_back(queued) }
            }
            (out, stay)
        };
        self.pending = stay;
        self.recount();
        for queued in &out {
            self.free(queued.packet_id);
        }
        out
    }

    pub(super) fn recount(&mut self) {
        self.replay_len = self.pending.iter().filter(|queued| queued.replay).count();
        self.pending_bytes = self.pending.iter().filter(|queued| !queued.replay).map(|queued| queued.message.payload.len()).sum();
    }

    /// A packet id that is not in use, from now on in use; none where all are.
    pub(super) fn reserve(&mut self) -> Option<u16> {
        if self.ids.len() >= usize::from(u16::MAX) {
            return None;
        }
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if self.ids.insert(id) {
                self.last_id = id;
                return Some(id);
            }
        }
    }

    pub(super) fn free(&mut self, packet_id: Option<u16>) {
        if let Some(id) = packet_id {
            self.ids.remove(&id);
        }
    }

    /// Puts a message in flight; none where no packet id is free: it is then lost, and its caller counts it.
    pub(super) fn start(&mut self, mut queued: Queued, done: Option<oneshot::Sender<Delivered>>) -> Option<u16> {
        let id = match queued.packet_id {
            Some(id) => id,
            None => self.reserve()?,
        };
        queued.packet_id = Some(id);
        if queued.order == 0 {
            queued.order = self.order();
        }
        self.in_flight.insert(id, InFlight { queued, released: false, done });
        Some(id)
    }

    pub(super) fn finish(&mut self, packet_id: u16) -> Option<InFlight> {
        let sent = self.in_flight.remove(&packet_id)?;
        self.ids.remove(&packet_id);
        Some(sent)
    }

    pub(super) fn order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    /// As it was when the process ended.
    pub(super) fn restore(&mut self, queued: Queued, in_flight: bool, released: bool) {
        self.next_order = self.next_order.max(queued.order);
        if let Some(id) = queued.packet_id {
            self.ids.insert(id);
            self.last_id = self.last_id.max(id);
            if in_flight {
                self.in_flight.insert(id, InFlight { queued, released, done: None });
                return;
            }
        }
        self.push_pending(queued);
    }
}
