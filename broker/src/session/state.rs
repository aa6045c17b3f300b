//! One client's session: who it is, what it subscribed to, its connection; what is on its way to it is in [`super::outbound`].
//!
//! Every method is synchronous and short, and none calls out: the fan-out, the reader and the writer meet here under one
//! lock. A session outlives its connection when its client asked for that; then its queue is bounded and counted, and what
//! is in it goes to the store, where there is one.

use crate::clock;
use crate::hooks::Principal;
use crate::message::Qos;
use crate::server::config::Limits;
use crate::server::stats::Counters;
use crate::session::close::Close;
use crate::session::link::Link;
use crate::session::packet::Answer;
use crate::session::queue::{Inner, Queued};
use crate::store::{Change, QueueRow, RowState, SessionRow, Store};
use crate::topics;
use parking_lot::Mutex;
use spalla_shared::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};

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

    pub(super) fn put(&self, change: Change) {
        if let Some(store) = &self.store {
            store.put(change);
        }
    }

    /// Whether the session is one that the store keeps.
    pub(super) fn is_kept(&self, inner: &Inner) -> bool {
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
}
