//! One client's session: what it subscribed to, what waits for it, what it has not acknowledged.
//!
//! Every method is synchronous and short, and none calls out: the fan-out, the reader and the writer meet here under one
//! lock. A session outlives its connection when its client asked for that; then its queue is bounded and counted, and what
//! is in it goes to the store, where there is one.

use crate::clock;
use crate::hooks::Principal;
use crate::message::{Message, Qos};
use crate::server::config::Limits;
use crate::server::stats::Counters;
use crate::session::close::Close;
use crate::session::packet::{AckKind, Answer};
use crate::session::queue::{Express, InFlight};
use crate::store::{Change, QueueRow, RowState, SessionRow, Store, Ticket};
use crate::topics;
use crate::version::Version;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use spalla_shared::time::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, oneshot, watch};

pub(crate) use crate::session::queue::{Delivered, Inner, Queued};

/// Device commands that may wait for the window of one client; more is a client that does not answer.
const EXPRESS_MAX: usize = 16;
/// In the origin of a message: a device said it. Session numbers never come near this bit.
pub(crate) const FROM_DEVICE: u64 = 1 << 63;

pub(crate) struct Session {
    /// Unique in this broker and its store; also the origin of what the client publishes.
    pub id: u64,
    pub who: Principal,
    pub limits: Arc<Limits>,
    pub counters: Arc<Counters>,
    pub store: Option<Arc<dyn Store>>,
    /// Rung when the writer may find something.
    pub wake: Arc<Notify>,
    /// The store has, or had, something of it.
    known_to_store: AtomicBool,
    /// True once the session is forgotten.
    pub over: watch::Sender<bool>,
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
    /// Topic aliases that may be sent to it.
    pub alias_max: u16,
    /// What the client showed of itself over TLS; looked at again when a revocation list changes.
    pub certificates: Option<Arc<Shown>>,
    pub close: watch::Sender<Option<Close>>,
}

/// A client's verified certificates, and the listener that verified them.
pub(crate) struct Shown {
    pub listener: SocketAddr,
    pub chain: Vec<CertificateDer<'static>>,
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

/// Why a device command could not be handed to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpressError {
    NotConnected,
    NotSubscribed,
    Full,
}

/// What sessions share.
#[derive(Clone)]
pub(crate) struct Setting {
    pub limits: Arc<Limits>,
    pub counters: Arc<Counters>,
    pub store: Option<Arc<dyn Store>>,
}

impl Session {
    pub fn new(id: u64, who: Principal, setting: &Setting) -> Self {
        let Setting { limits, counters, store } = setting.clone();
        Self {
            id,
            who,
            limits,
            counters,
            store,
            wake: Arc::default(),
            known_to_store: AtomicBool::new(false),
            over: watch::Sender::new(false),
            inner: Mutex::default(),
        }
    }

    /// A session as the store had it. One that was connected when the process ended has left now.
    pub fn restored(row: SessionRow, queued: Vec<QueueRow>, received: Vec<u16>, setting: &Setting, now: Timestamp) -> Self {
        let session = Self::new(row.session, row.who, setting);
        session.known_to_store.store(true, Ordering::Relaxed);
        let mut inner = session.inner.lock();
        inner.expiry_s = row.expiry_s;
        inner.left_at = Some(row.left_at.unwrap_or(now));
        inner.subscriptions = row.subscriptions.into_iter().collect();
        inner.received = received.into_iter().map(|id| (id, true)).collect();
        for row in queued {
            let (in_flight, released) = (row.state != RowState::Waiting, row.state == RowState::Released);
            if !released && clock::is_past(row.message.expires_at, now) {
                session.counters.dropped("expired");
                session.put(Change::Unqueue { session: session.id, order: row.order });
                continue;
            }
            let queued = Queued {
                retain: row.retain,
                subscription_ids: row.subscription_ids,
                share: row.share,
                packet_id: row.packet_id,
                order: row.order,
                stored: Some(0),
                ..Queued::new(row.message, row.qos)
            };
            inner.restore(queued, in_flight, released);
        }
        if row.left_at.is_none() {
            session.save(&inner);
        }
        drop(inner);
        session
    }

    pub fn is_device(&self) -> bool {
        self.who.name.starts_with("device:")
    }

    /// Where its messages come from, as the router carries it.
    pub fn origin(&self) -> u64 {
        if self.is_device() { self.id | FROM_DEVICE } else { self.id }
    }

    fn put(&self, change: Change) {
        if let Some(store) = &self.store {
            store.put(change);
        }
    }

    /// Whether the session is one that the store keeps.
    fn is_kept(&self, inner: &Inner) -> bool {
        self.store.is_some() && inner.expiry_s > 0
    }

    /// Brings the store up to date with everything but the queue.
    pub fn save(&self, inner: &Inner) {
        if !self.is_kept(inner) {
            return;
        }
        self.known_to_store.store(true, Ordering::Relaxed);
        let subscriptions = inner.subscriptions.iter().map(|(filter, options)| (filter.clone(), *options)).collect();
        self.put(Change::Session(Box::new(SessionRow {
            session: self.id,
            who: self.who.clone(),
            expiry_s: inner.expiry_s,
            left_at: inner.left_at,
            subscriptions,
        })));
    }

    /// The session is over: the store need not know it any more.
    pub fn erase(&self) {
        if self.known_to_store.swap(false, Ordering::Relaxed) {
            self.put(Change::Forget(self.id));
        }
    }

    fn unstore(&self, queued: &Queued) {
        if queued.stored.is_some() {
            self.put(Change::Unqueue { session: self.id, order: queued.order });
        }
    }

    /// A message will not be delivered by this session any more.
    pub(super) fn let_go(&self, inner: &mut Inner, queued: &Queued) {
        inner.free(queued.packet_id);
        self.unstore(queued);
    }

    /// A connection takes the session up; what was unacknowledged goes out again, in its old order, unless its time is over.
    pub fn attach(&self, link: Link, expiry_s: u32) {
        let now = clock::now();
        let mut inner = self.inner.lock();
        inner.link = Some(link);
        inner.left_at = None;
        inner.expiry_s = expiry_s;
        inner.attached += 1;
        inner.answers.clear();
        let over: Vec<u16> = inner
            .in_flight
            .iter()
            .filter(|(_, sent)| !sent.released && clock::is_past(sent.queued.message.expires_at, now))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.counters.dropped("expired");
            if let Some(sent) = inner.finish(id) {
                self.unstore(&sent.queued);
            }
        }
        let mut ids: Vec<(u64, u16)> = inner.in_flight.iter().map(|(id, sent)| (sent.queued.order, *id)).collect();
        ids.sort_unstable();
        inner.resend = ids.into_iter().map(|(_, id)| id).collect();
        if self.is_kept(&inner) {
            self.save(&inner);
        } else {
            self.erase();
        }
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
        inner.unanswered = 0;
        let commands: Vec<u16> = inner.in_flight.iter().filter(|(_, sent)| sent.queued.command).map(|(id, _)| *id).collect();
        for id in commands {
            inner.finish(id);
        }
        // A QoS 2 message that was never taken is the client's to send again.
        inner.received.retain(|_, taken| *taken);
        inner.extract_pending(|queued| queued.qos == Qos::AtMostOnce || queued.command);
        while inner.waiting() > self.limits.offline_queue {
            self.drop_oldest(&mut inner);
        }
        self.save(&inner);
    }

    pub fn is_live(&self) -> bool {
        self.inner.lock().link.is_some()
    }

    /// It takes part in a shared subscription.
    pub fn has_shares(&self) -> bool {
        self.inner.lock().subscriptions.keys().any(|filter| topics::is_shared(filter))
    }

    /// It could take one more message without counting as too slow.
    pub fn has_room(&self) -> bool {
        let inner = self.inner.lock();
        inner.waiting() < self.limits.outgoing_queue && inner.pending_bytes < self.limits.outgoing_bytes
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

    /// An answer that may leave only when everything noted so far is durable.
    pub fn answer_when_kept(self: &Arc<Self>, answer: Answer) {
        let number = {
            let inner = self.inner.lock();
            if self.is_kept(&inner) { inner.link.as_ref().map(|link| link.number) } else { None }
        };
        match (&self.store, number) {
            (Some(store), Some(number)) => {
                let session = self.clone();
                store.after(Box::new(move || {
                    let mut inner = session.inner.lock();
                    if inner.link.as_ref().is_some_and(|link| link.number == number) {
                        inner.answer(answer);
                        drop(inner);
                        session.wake.notify_one();
                    }
                }));
            }
            _ => self.answer(answer),
        }
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

    fn drop_oldest(&self, inner: &mut Inner) {
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
}
