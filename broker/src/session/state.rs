//! One client's session: what it subscribed to, what waits for it, what it has not acknowledged.
//!
//! Every method is synchronous and short, and none calls out: the fan-out, the reader and the writer meet here under one
//! lock. A session outlives its connection when its client asked for that; then its queue is bounded and counted.

use crate::clock;
use crate::hooks::Principal;
use crate::message::{Message, Qos};
use crate::server::config::Limits;
use crate::server::stats::Counters;
use crate::session::close::Close;
use crate::session::packet::{AckKind, Answer, SubOptions};
use crate::version::Version;
use parking_lot::Mutex;
use spalla_shared::time::Timestamp;
use spalla_shared::topic::filter_matches;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{Notify, oneshot, watch};

/// Answers that may wait for one client before it counts as too slow: it sends and does not read.
const ANSWERS_MAX: usize = 4096;
/// Device commands that may wait for the window of one client; more is a client that does not answer.
const EXPRESS_MAX: usize = 16;

pub(crate) struct Session {
    /// Unique in this broker; also the origin of what the client publishes.
    pub id: u64,
    pub who: Principal,
    pub limits: Arc<Limits>,
    pub counters: Arc<Counters>,
    /// Rung when the writer may find something.
    pub wake: Notify,
    pub(crate) inner: Mutex<Inner>,
}

/// The connection a session has at the moment.
#[derive(Clone)]
pub(crate) struct Link {
    pub number: u64,
    pub version: Version,
    pub wants_reasons: bool,
    /// What the client said it takes unacknowledged.
    pub receive_max: u16,
    pub packet_size_max: u32,
    pub close: watch::Sender<Option<Close>>,
}

impl Link {
    /// The first reason stays.
    pub fn close(&self, reason: Close) {
        self.close.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(reason);
            }
            first
        });
    }
}

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
    last_id: u16,
    next_order: u64,
    /// QoS 2 packet ids of the client that are not released yet; true once taken.
    pub received: HashMap<u16, bool>,
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
    pub order: u64,
    /// QoS 2: PUBREC was seen, the message is the client's.
    pub released: bool,
    pub done: Option<oneshot::Sender<Delivered>>,
}

/// Why a device command could not be handed to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpressError {
    NotConnected,
    NotSubscribed,
    Full,
}

impl Session {
    pub fn new(id: u64, who: Principal, limits: Arc<Limits>, counters: Arc<Counters>) -> Self {
        Self { id, who, limits, counters, wake: Notify::new(), inner: Mutex::default() }
    }

    /// A connection takes the session up; what was unacknowledged goes out again, in its old order, unless its time is over.
    pub fn attach(&self, link: Link, expiry_s: u32) {
        let now = clock::now();
        let mut inner = self.inner.lock();
        inner.link = Some(link);
        inner.left_at = None;
        inner.expiry_s = expiry_s;
        inner.answers.clear();
        let before = inner.in_flight.len();
        inner.in_flight.retain(|_, sent| sent.released || !clock::is_past(sent.queued.message.expires_at, now));
        for _ in inner.in_flight.len()..before {
            self.counters.dropped("expired");
        }
        let mut ids: Vec<(u64, u16)> = inner.in_flight.iter().map(|(id, sent)| (sent.order, *id)).collect();
        ids.sort_unstable();
        inner.resend = ids.into_iter().map(|(_, id)| id).collect();
        drop(inner);
        self.wake.notify_one();
    }

    /// The connection `number` is over. Device commands end with it; whether the client saw them, nobody knows.
    pub fn detach(&self, number: u64, expiry_s: Option<u32>) {
        let mut inner = self.inner.lock();
        if inner.link.as_ref().is_none_or(|link| link.number != number) {
            return;
        }
        inner.link = None;
        inner.left_at = Some(clock::now());
        if let Some(seconds) = expiry_s {
            inner.expiry_s = seconds;
        }
        inner.answers.clear();
        inner.express.clear();
        inner.resend.clear();
        inner.in_flight.retain(|_, sent| !sent.queued.command);
        // A QoS 2 message that was never taken is the client's to send again.
        inner.received.retain(|_, taken| *taken);
        inner.pending.retain(|queued| queued.qos > Qos::AtMostOnce && !queued.command);
        inner.recount();
        while inner.pending.len() > self.limits.offline_queue.saturating_add(inner.replay_len) {
            inner.drop_oldest();
            self.counters.dropped("offline-full");
        }
    }

    pub fn link(&self) -> Option<Link> {
        self.inner.lock().link.clone()
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        let inner = self.inner.lock();
        inner.link.is_none() && inner.left_at.is_none_or(|at| at.plus(u64::from(inner.expiry_s) * 1000) <= now)
    }

    pub fn close(&self, reason: Close) {
        if let Some(link) = self.inner.lock().link.as_ref() {
            link.close(reason);
        }
        self.wake.notify_one();
    }

    /// An answer for the client; one that piles them up is closed.
    pub fn answer(&self, answer: Answer) {
        self.inner.lock().answer(answer);
        self.wake.notify_one();
    }

    /// A message that one of the subscriptions takes.
    pub fn offer(&self, queued: Queued) {
        let mut inner = self.inner.lock();
        let len = queued.message.payload.len();
        if let Some(link) = &inner.link {
            let waiting = inner.pending.len().saturating_sub(inner.replay_len);
            if !queued.replay
                && (waiting >= self.limits.outgoing_queue || inner.pending_bytes.saturating_add(len) > self.limits.outgoing_bytes)
            {
                self.counters.dropped("slow");
                link.close(Close::Slow);
                return;
            }
        } else if queued.command || queued.qos == Qos::AtMostOnce || self.limits.offline_queue == 0 {
            self.counters.dropped("away");
            return;
        } else {
            while inner.pending.len() >= self.limits.offline_queue
                || !inner.pending.is_empty() && inner.pending_bytes.saturating_add(len) > self.limits.outgoing_bytes
            {
                inner.drop_oldest();
                self.counters.dropped("offline-full");
            }
        }
        if queued.replay {
            inner.replay_len += 1;
        } else {
            inner.pending_bytes = inner.pending_bytes.saturating_add(len);
        }
        inner.pending.push_back(queued);
        drop(inner);
        self.wake.notify_one();
    }

    /// A device command: to the connection there is now, or to nobody.
    pub fn express(&self, message: Arc<Message>) -> Result<oneshot::Receiver<Delivered>, ExpressError> {
        let mut inner = self.inner.lock();
        if inner.link.is_none() {
            return Err(ExpressError::NotConnected);
        }
        let granted = inner.granted(&message.topic).ok_or(ExpressError::NotSubscribed)?;
        if inner.express.len() >= EXPRESS_MAX {
            return Err(ExpressError::Full);
        }
        // QoS 1 says as much as QoS 2 here: the client has it. Doing it once is the command id's work.
        let qos = message.qos.min(granted).min(Qos::AtLeastOnce);
        let (done, answer) = oneshot::channel();
        inner.express.push_back(Express { message, qos, done });
        drop(inner);
        self.wake.notify_one();
        Ok(answer)
    }

    /// Takes a device command back; false where it has left, or is no longer known.
    pub fn withdraw(&self, message: &Arc<Message>) -> bool {
        let mut inner = self.inner.lock();
        let before = inner.express.len();
        inner.express.retain(|express| !Arc::ptr_eq(&express.message, message));
        inner.express.len() < before
    }

    /// An acknowledgement from the client for something sent to it.
    pub fn acknowledged(&self, kind: AckKind, packet_id: u16, failed: bool) {
        let mut inner = self.inner.lock();
        match kind {
            AckKind::Taken | AckKind::Complete => {
                if let Some(sent) = inner.in_flight.remove(&packet_id)
                    && let Some(done) = sent.done
                {
                    done.send(if failed { Delivered::Refused } else { Delivered::Transported }).ok();
                }
            }
            AckKind::Received if failed => {
                inner.in_flight.remove(&packet_id);
            }
            AckKind::Received => {
                // An unknown id is answered too: the client holds a message this side has forgotten.
                let code = match inner.in_flight.get_mut(&packet_id) {
                    Some(sent) => {
                        sent.released = true;
                        0
                    }
                    None => 0x92,
                };
                inner.answer(Answer::Ack { kind: AckKind::Release, packet_id, code, reason: None });
            }
            AckKind::Release => {
                let known = inner.received.remove(&packet_id).is_some();
                let code = if known { 0 } else { 0x92 };
                inner.answer(Answer::Ack { kind: AckKind::Complete, packet_id, code, reason: None });
            }
        }
        drop(inner);
        self.wake.notify_one();
    }
}

impl Inner {
    fn answer(&mut self, answer: Answer) {
        let Some(link) = &self.link else { return };
        if self.answers.len() >= ANSWERS_MAX {
            link.close(Close::Slow);
        } else {
            self.answers.push_back(answer);
        }
    }

    /// The highest QoS that the subscriptions grant a topic; none where no subscription takes it.
    fn granted(&self, topic: &str) -> Option<Qos> {
        self.subscriptions.iter().filter(|(filter, _)| filter_matches(filter, topic)).map(|(_, options)| options.qos).max()
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

    fn drop_oldest(&mut self) {
        self.pop_pending();
    }

    fn recount(&mut self) {
        self.replay_len = self.pending.iter().filter(|queued| queued.replay).count();
        self.pending_bytes = self.pending.iter().filter(|queued| !queued.replay).map(|queued| queued.message.payload.len()).sum();
    }

    /// A packet id that is not in use. There is one: the window is far smaller than the ids.
    pub(super) fn start(&mut self, queued: Queued, done: Option<oneshot::Sender<Delivered>>) -> u16 {
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains_key(&id) {
                break;
            }
        }
        self.last_id = id;
        self.next_order += 1;
        self.in_flight.insert(id, InFlight { queued, order: self.next_order, released: false, done });
        id
    }
}
