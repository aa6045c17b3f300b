//! What is on its way to one client: offered, queued, sent, acknowledged, or dropped and counted.

use crate::message::{Message, Qos};
use crate::session::close::Close;
use crate::session::packet::{AckKind, Answer};
use crate::session::queue::{Delivered, Express, InFlight, Inner, Queued};
use crate::session::state::Session;
use crate::store::{Change, QueueRow, RowState, Ticket};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Device commands that may wait for the window of one client; more is a client that does not answer.
const EXPRESS_MAX: usize = 16;

/// Why a device command could not be handed to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpressError {
    NotConnected,
    NotSubscribed,
    Full,
}

impl Session {
    /// It could take one more message without counting as too slow.
    pub fn has_room(&self) -> bool {
        let inner = self.inner.lock();
        inner.waiting() < self.limits.outgoing_queue && inner.pending_bytes < self.limits.outgoing_bytes
    }

    /// A message that one of the subscriptions takes. True where it went to the store.
    pub fn offer(&self, mut queued: Queued) -> bool {
        let mut inner = self.inner.lock();
        let len = queued.message.payload.len();
        if let Some(link) = &inner.link {
            if !queued.replay
                && (inner.waiting() >= self.limits.outgoing_queue || inner.pending_bytes.saturating_add(len) > self.limits.outgoing_bytes)
            {
                self.counters.dropped("slow");
                link.close(Close::Slow);
                return false;
            }
        } else if queued.command || queued.qos == Qos::AtMostOnce || self.limits.offline_queue == 0 || inner.expiry_s == 0 {
            self.counters.dropped("away");
            return false;
        } else {
            while inner.waiting() >= self.limits.offline_queue
                || inner.waiting() > 0 && inner.pending_bytes.saturating_add(len) > self.limits.outgoing_bytes
            {
                self.drop_oldest(&mut inner);
            }
        }
        let mut stored = false;
        if queued.qos > Qos::AtMostOnce && !queued.command && !queued.replay {
            queued.packet_id = inner.reserve();
            queued.order = inner.order();
            stored = self.is_kept(&inner);
            if stored {
                self.keep(&mut queued);
            }
        }
        inner.push_pending(queued);
        drop(inner);
        self.wake.notify_one();
        stored
    }

    fn keep(&self, queued: &mut Queued) {
        let Some(store) = &self.store else { return };
        store.put(Change::Queue(Box::new(QueueRow {
            session: self.id,
            order: queued.order,
            packet_id: queued.packet_id,
            state: RowState::Waiting,
            qos: queued.qos,
            retain: queued.retain,
            subscription_ids: queued.subscription_ids.clone(),
            share: queued.share.clone(),
            message: queued.message.clone(),
        })));
        queued.stored = Some(store.ticket());
        if queued.qos == Qos::ExactlyOnce {
            let wake = self.wake.clone();
            store.after(Box::new(move || wake.notify_one()));
        }
    }

    /// A QoS 2 message leaves only once it is durable: sent before and forgotten in a crash, it would come twice.
    pub(super) fn may_leave(&self, queued: &Queued) -> bool {
        match (&self.store, queued.stored) {
            (Some(store), Some(ticket)) if queued.qos == Qos::ExactlyOnce => *store.settled().borrow() >= ticket,
            _ => true,
        }
    }

    /// Notes that a message may have reached the client.
    pub(super) fn note_sent(&self, queued: &Queued) {
        if queued.stored.is_some() {
            self.put(Change::State { session: self.id, order: queued.order, state: RowState::Sent });
        }
    }

    pub(super) fn drop_oldest(&self, inner: &mut Inner) {
        if let Some(queued) = inner.pop_pending() {
            self.let_go(inner, &queued);
            self.counters.dropped("offline-full");
        }
    }

    /// Takes back what came by a shared subscription and another member may have: what waits, and, where the client is away,
    /// what was not acknowledged at QoS 1. A QoS 2 message that was begun stays with its client.
    pub fn take_shared(&self, share: &str) -> Vec<Queued> {
        let mut inner = self.inner.lock();
        let away = inner.link.is_none();
        let is_of = |queued: &Queued| queued.share.as_deref() == Some(share);
        let ids: Vec<u16> = inner
            .in_flight
            .iter()
            .filter(|(_, sent)| away && sent.queued.qos == Qos::AtLeastOnce && is_of(&sent.queued))
            .map(|(id, _)| *id)
            .collect();
        let mut taken: Vec<Queued> = ids.into_iter().filter_map(|id| inner.finish(id)).map(|sent| sent.queued).collect();
        taken.extend(inner.extract_pending(is_of));
        for queued in &taken {
            self.unstore(queued);
        }
        taken.sort_by_key(|queued| queued.order);
        for queued in &mut taken {
            (queued.packet_id, queued.order, queued.stored) = (None, 0, None);
        }
        taken
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
    pub fn acknowledged(self: &Arc<Self>, kind: AckKind, packet_id: u16, failed: bool) {
        let mut inner = self.inner.lock();
        match kind {
            AckKind::Taken | AckKind::Complete => {
                let fits = |sent: &InFlight| sent.queued.qos == if kind == AckKind::Taken { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
                if inner.in_flight.get(&packet_id).is_some_and(fits)
                    && let Some(sent) = inner.finish(packet_id)
                {
                    self.unstore(&sent.queued);
                    if let Some(done) = sent.done {
                        done.send(if failed { Delivered::Refused } else { Delivered::Transported }).ok();
                    }
                }
            }
            AckKind::Received => match inner.in_flight.get_mut(&packet_id).filter(|sent| sent.queued.qos == Qos::ExactlyOnce) {
                Some(_) if failed => {
                    if let Some(sent) = inner.finish(packet_id) {
                        self.unstore(&sent.queued);
                    }
                }
                Some(sent) => {
                    sent.released = true;
                    let (stored, order) = (sent.queued.stored.is_some(), sent.queued.order);
                    let release = Answer::Ack { kind: AckKind::Release, packet_id, code: 0, reason: None };
                    if stored {
                        self.put(Change::State { session: self.id, order, state: RowState::Released });
                        drop(inner);
                        return self.answer_when_kept(release);
                    }
                    inner.answer(release);
                }
                None if failed => {}
                // An unknown id is answered too: the client holds a message this side has forgotten.
                None => inner.answer(Answer::Ack { kind: AckKind::Release, packet_id, code: 0x92, reason: None }),
            },
            AckKind::Release => {
                let known = inner.received.remove(&packet_id).is_some();
                if known && self.is_kept(&inner) {
                    self.put(Change::Released { session: self.id, packet_id });
                }
                let code = if known { 0 } else { 0x92 };
                inner.answer(Answer::Ack { kind: AckKind::Complete, packet_id, code, reason: None });
            }
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// A QoS 2 message of the client was taken: its packet id is in use until PUBREL, over a restart as well, once the
    /// ticket is settled.
    pub fn received(&self, packet_id: u16) -> Option<Ticket> {
        let mut inner = self.inner.lock();
        inner.received.insert(packet_id, true);
        if self.is_kept(&inner) {
            self.put(Change::Received { session: self.id, packet_id });
            return self.store.as_ref().map(|store| store.ticket());
        }
        None
    }

    pub(super) fn unstore(&self, queued: &Queued) {
        if queued.stored.is_some() {
            self.put(Change::Unqueue { session: self.id, order: queued.order });
        }
    }

    /// A message will not be delivered by this session any more.
    pub(super) fn let_go(&self, inner: &mut Inner, queued: &Queued) {
        inner.free(queued.packet_id);
        self.unstore(queued);
    }
}
