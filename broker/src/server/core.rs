//! What every connection of one broker shares.

use crate::clock;
use crate::hooks::{Denied, Hooks};
use crate::message::Qos;
use crate::router::Router;
use crate::server::bouncer::Bouncer;
use crate::server::config::Limits;
use crate::server::stats::Counters;
use crate::server::table::Table;
use crate::session::handshake::Peer;
use crate::session::packet::SubOptions;
use crate::session::registry::Registry;
use crate::session::state::Session;
use crate::store::Store;
use crate::topics;
use parking_lot::Mutex;
use spalla_shared::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub(crate) struct Core {
    pub hooks: Arc<dyn Hooks>,
    pub limits: Arc<Limits>,
    pub counters: Arc<Counters>,
    pub registry: Arc<Registry>,
    pub table: Arc<Mutex<Table>>,
    pub router: Box<dyn Router>,
    pub store: Option<Arc<dyn Store>>,
    pub bouncer: Mutex<Bouncer>,
    pub started: Timestamp,
    pub next_client: AtomicU64,
    /// Sockets open, admitted or not.
    pub sockets: AtomicUsize,
    pub stopping: watch::Sender<bool>,
    /// When the log last heard of a handshake that failed.
    pub handshake_told: Mutex<Option<Instant>>,
}

/// Between two lines about handshakes: anybody can fail as many as he likes.
const HANDSHAKE_LINES_PACE: Duration = Duration::from_secs(1);

impl Core {
    pub fn refused(&self, peer: &Peer, reason: &'static str) {
        self.counters.refused(reason);
        tracing::debug!(address = %peer.address, reason, "connection refused");
    }

    /// Why a certificate or a version did not do is nothing that the client tells the person at the device.
    pub fn handshake_failed(&self, peer: &Peer, error: &std::io::Error) {
        self.refused(peer, "tls");
        let mut told = self.handshake_told.lock();
        if told.is_none_or(|at| at.elapsed() >= HANDSHAKE_LINES_PACE) {
            *told = Some(Instant::now());
            tracing::warn!(address = %peer.address, %error, "TLS handshake failed; of others within a second nothing is said");
        }
    }

    /// One filter of a SUBSCRIBE; the answer is its v5 reason code (the granted QoS, or 0x80 and above).
    pub fn subscribe(&self, session: &Arc<Session>, filter: String, options: SubOptions) -> u8 {
        let sound = if topics::is_shared(&filter) {
            topics::is_share_filter(&filter, self.limits.topic_levels)
        } else {
            topics::is_filter(&filter, self.limits.topic_levels)
        };
        if !sound {
            return 0x8F;
        }
        // A group sees what its filter takes, no more and no less.
        if !self.hooks.may_subscribe(&session.who, topics::bare(&filter)) {
            self.counters.dropped("subscription-denied");
            self.hooks.denied(Denied::Subscribe { who: &session.who, filter: &filter });
            return 0x87;
        }
        {
            let inner = session.inner.lock();
            if inner.subscriptions.len() >= self.limits.subscriptions && !inner.subscriptions.contains_key(&filter) {
                return 0x97;
            }
        }
        self.table.lock().subscribe(session, filter, options);
        match options.qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        }
    }

    pub fn unsubscribe(&self, session: &Session, filter: &str) -> bool {
        self.table.lock().unsubscribe(session, filter)
    }

    /// A session is over.
    pub fn forget(&self, session: &Session) {
        self.table.lock().forget(session);
        session.erase();
        session.over.send_replace(true);
    }

    /// A connection took a session up.
    pub fn arrived(&self, session: &Session) {
        if session.has_shares() {
            self.table.lock().shift(session);
        }
    }

    /// A session is without its connection, and is kept.
    pub fn left(&self, session: &Session) {
        if session.has_shares() {
            self.table.lock().shift(session);
        }
    }

    /// Takes away what has run out: sessions whose clients stayed away, retained messages past their time.
    pub fn sweep(&self) {
        for session in self.registry.sweep() {
            self.forget(&session);
        }
        self.table.lock().sweep(clock::now());
        self.bouncer.lock().sweep(Instant::now());
    }
}
