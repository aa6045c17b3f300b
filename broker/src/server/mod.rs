//! The broker: its listeners, what its connections share, and the gateway's handle on it.
//!
//! listener -> session -> hooks -> router -> table (who takes it) -> sessions
//! gateway -> Broker::publish -> router; gateway -> Broker::deliver -> one live session, past every queue
//!
//! With a store it remembers sessions, what waits for them, retained messages and wills over a restart; device commands never.

pub(crate) mod bouncer;
pub mod config;
pub(crate) mod core;
pub(crate) mod listener;
mod opening;
pub(crate) mod retained;
mod shares;
pub mod stats;
pub(crate) mod sys;
pub(crate) mod table;
pub(crate) mod tls;
pub(crate) mod websocket;

pub use crate::router::RouterHealth;
pub use crate::store::StoreError;
pub use config::{BrokerConfig, Limits, TlsListener};
pub use stats::BrokerStats;

use crate::clock;
use crate::hooks::Hooks;
use crate::message::Message;
use crate::router::Sink;
use crate::router::rumqttd::RumqttdRouter;
use crate::session::close::Close;
use crate::session::outbound::ExpressError;
use crate::session::queue::Delivered;
use crate::session::registry::Registry;
use crate::session::state::Setting;
use crate::session::wills;
use crate::store::sqlite::SqliteStore;
use crate::store::{Image, Store};
use crate::topics;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a written device command without a deadline may stay unacknowledged.
const DELIVER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long `shutdown` waits for clients to be told.
const SHUTDOWN_WAIT: Duration = Duration::from_millis(1400);
/// How long it then waits for the disk.
const STORE_WAIT: Duration = Duration::from_millis(400);
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("TLS listener {address}: {reason}")]
    Tls { address: SocketAddr, reason: String },
    #[error("the broker has no listener: give a TCP, TLS or WebSocket address")]
    NoListener,
    #[error("the message router did not start")]
    Router,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A new identity was not taken up; the old one goes on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    #[error("no TLS listener has the address {0}: nothing was changed")]
    NoListener(SocketAddr),
    #[error("TLS listener {address}: {reason}: nothing was changed")]
    Unusable { address: SocketAddr, reason: String },
}

/// The message did not go to subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("the topic cannot be published to")]
    Topic,
    #[error("the message is past its deadline")]
    Expired,
    #[error("the broker is closed or its router is gone")]
    Closed,
}

/// A device command did not arrive, or not surely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    #[error("not connected")]
    NotConnected,
    #[error("connected, but not subscribed to the topic")]
    NotSubscribed,
    /// It was never written.
    #[error("past its deadline before it could be sent")]
    Expired,
    /// It was never written: the client does not acknowledge what it has.
    #[error("the client has too much unacknowledged")]
    Full,
    /// The connection ended; whether the command arrived is not known.
    #[error("the connection ended before an acknowledgement")]
    Closed,
    /// Written, and not acknowledged by the deadline; whether it arrived is not known.
    #[error("sent, but not acknowledged by its deadline")]
    Unacknowledged,
    /// The client answered with an error, or the message is larger than it takes.
    #[error("the client refused it")]
    Refused,
}

/// How the broker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub router: RouterHealth,
    /// Why the store cannot be written at the moment.
    pub store_fault: Option<String>,
}

impl Health {
    pub fn is_good(&self) -> bool {
        self.router == RouterHealth::Working && self.store_fault.is_none()
    }
}

/// Where the broker listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub tcp: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
    pub ws: Option<SocketAddr>,
    pub wss: Option<SocketAddr>,
}

/// A running broker. Clones are handles on the same one; it stops with `shutdown` or when the last handle is dropped.
#[derive(Clone)]
pub struct Broker {
    pub(crate) core: Arc<core::Core>,
    addresses: Addresses,
    /// What the TLS listeners show, by address.
    identities: Arc<Vec<(SocketAddr, Arc<Mutex<tls::Identity>>)>>,
    /// The accept loops; a port is free once its loop has ended.
    doors: Arc<Mutex<JoinSet<()>>>,
    _stop: Arc<StopOnDrop>,
}

impl Broker {
    /// Opens the listeners and begins to serve. Call inside a tokio runtime.
    pub async fn start(config: BrokerConfig, hooks: Arc<dyn Hooks>) -> Result<Self, StartError> {
        let limits = Arc::new(config.limits.clone().clamped());
        let opened = opening::open(&config)?;
        let (store, image) = match config.store {
            Some(path) => {
                let bytes_max = limits.store_bytes;
                let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path, bytes_max)).await;
                let (store, image) = opened.map_err(|_| StartError::Router)??;
                (Some(Arc::new(store) as Arc<dyn Store>), image)
            }
            None => (None, Image::default()),
        };
        let counters = Arc::new(stats::Counters::default());
        let retained = retained::Retained::new(limits.retained, limits.retained_bytes, store.clone());
        let table = Arc::new(Mutex::new(table::Table::new(retained)));
        let setting = Setting { limits: limits.clone(), counters: counters.clone(), store: store.clone() };
        let registry = Arc::new(Registry::new(setting));
        let wills = opening::restore(image, &registry, &table);
        let router = RumqttdRouter::start(sink(table.clone(), counters.clone(), store.clone())).map_err(|_| StartError::Router)?;
        let core = Arc::new(core::Core {
            hooks,
            registry,
            bouncer: Mutex::new(bouncer::Bouncer::new(limits.failed_logins)),
            limits,
            counters,
            table,
            router: Box::new(router),
            store,
            started: clock::now(),
            next_client: AtomicU64::new(1),
            sockets: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
        });
        let mut doors = JoinSet::new();
        for (listener, door) in opened.listeners {
            doors.spawn(listener::accept(core.clone(), listener, door));
        }
        tokio::spawn(sweep(core.clone()));
        tokio::spawn(sys::run(core.clone()));
        if !wills.is_empty() {
            tokio::spawn(wills::after_restart(core.clone(), wills));
        }
        Ok(Self {
            _stop: Arc::new(StopOnDrop(core.clone())),
            core,
            addresses: opened.addresses,
            identities: Arc::new(opened.identities),
            doors: Arc::new(Mutex::new(doors)),
        })
    }

    /// Gives a TLS listener (TLS or WebSocket over TLS) a new certificate, key, client CA and revocation list while it runs.
    /// The address says which. What cannot be used changes nothing. Sessions go on, except those whose client certificate
    /// is refused from now on: they are disconnected; the answer is how many there were.
    pub fn reload_tls(&self, listener: &TlsListener) -> Result<usize, ReloadError> {
        let address = listener.address;
        let found = self.identities.iter().find(|(bound, _)| *bound == address).ok_or(ReloadError::NoListener(address))?;
        let identity = tls::identity(listener).map_err(|reason| ReloadError::Unusable { address, reason })?;
        *found.1.lock() = identity.clone();
        let refused = self.core.registry.links().into_iter().filter(|link| {
            let shown = link.certificates.as_ref().filter(|shown| shown.listener == address);
            shown.is_some_and(|shown| !identity.still_trusts(&shown.chain))
        });
        let mut count = 0;
        for link in refused {
            link.close(Close::Administrative("the certificate is no longer accepted".into()));
            count += 1;
        }
        tracing::info!(%address, disconnected = count, "a TLS listener has a new identity");
        Ok(count)
    }

    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// From the gateway to whoever subscribes. Hooks are not asked.
    pub async fn publish(&self, message: Message) -> Result<(), PublishError> {
        if !topics::is_publishable(&message.topic, self.core.limits.topic_levels) {
            return Err(PublishError::Topic);
        }
        if clock::is_past(message.expires_at, clock::now()) {
            return Err(PublishError::Expired);
        }
        if *self.core.stopping.borrow() {
            return Err(PublishError::Closed);
        }
        self.core.router.publish(0, &message).await.map(|_| ()).map_err(|_| PublishError::Closed)
    }

    /// Sends a device command to the live session of a principal (`device:hq/lock-1`) and to nobody else: never retained,
    /// never queued for later, never sent again. `Ok` means transported: acknowledged at QoS 1, written at QoS 0.
    /// Dropping the future takes back what has not been written yet.
    pub async fn deliver(&self, principal: &str, message: Message) -> Result<(), DeliverError> {
        let expires_at = message.expires_at;
        if clock::is_past(expires_at, clock::now()) {
            return Err(DeliverError::Expired);
        }
        let message = Arc::new(Message { retain: false, ..message });
        let mut refused = DeliverError::NotConnected;
        for session in self.core.registry.live(principal) {
            match session.express(message.clone()) {
                Ok(answer) => {
                    let wait = expires_at.map_or(DELIVER_WAIT_MAX, clock::until).min(DELIVER_WAIT_MAX);
                    return match tokio::time::timeout(wait, answer).await {
                        Ok(Ok(Delivered::Transported)) => Ok(()),
                        Ok(Ok(Delivered::Expired)) => Err(DeliverError::Expired),
                        Ok(Ok(Delivered::Refused)) => Err(DeliverError::Refused),
                        Ok(Err(_)) => Err(DeliverError::Closed),
                        Err(_) if session.withdraw(&message) => Err(DeliverError::Expired),
                        Err(_) => Err(DeliverError::Unacknowledged),
                    };
                }
                Err(ExpressError::Full) => return Err(DeliverError::Full),
                Err(ExpressError::NotSubscribed) => refused = DeliverError::NotSubscribed,
                Err(ExpressError::NotConnected) => {}
            }
        }
        Err(refused)
    }

    /// Is a client of this principal connected now?
    pub fn is_connected(&self, principal: &str) -> bool {
        !self.core.registry.live(principal).is_empty()
    }

    /// Ends the connections of a principal; v5 clients are told the reason. The answer is how many there were.
    pub fn disconnect(&self, principal: &str, reason: &str) -> usize {
        let live = self.core.registry.live(principal);
        for session in &live {
            session.close(Close::Administrative(reason.to_owned()));
        }
        live.len()
    }

    pub fn stats(&self) -> BrokerStats {
        Self::stats_of(&self.core)
    }

    pub(crate) fn stats_of(core: &core::Core) -> BrokerStats {
        let (sessions, connections) = core.registry.counts();
        let table = core.table.lock();
        BrokerStats {
            connections,
            sessions,
            subscriptions: table.subscriptions(),
            retained: table.retained.len() as u64,
            router_restarts: core.router.restarts(),
            router_rescued: core.router.rescued(),
            ..core.counters.snapshot()
        }
    }

    pub fn health(&self) -> Health {
        Health { router: self.core.router.health(), store_fault: self.core.store.as_ref().and_then(|store| store.fault()) }
    }

    /// Ends the router's thread the way a bug in it would.
    #[cfg(test)]
    pub(crate) fn kill_router(&self) {
        self.core.router.kill();
    }

    /// Closes the ports at once, tells the clients, and returns within two seconds. Wills are not published: a store keeps
    /// them, and the next start publishes those of clients that do not return.
    pub async fn shutdown(&self) {
        self.core.stopping.send_replace(true);
        let mut doors = std::mem::take(&mut *self.doors.lock());
        while doors.join_next().await.is_some() {}
        let ends = self.core.registry.close_all(&Close::Shutdown);
        let all = async {
            for mut ended in ends {
                ended.wait_for(|ended| *ended).await.ok();
            }
        };
        tokio::time::timeout(SHUTDOWN_WAIT, all).await.ok();
        self.core.router.stop();
        if let Some(store) = self.core.store.clone() {
            let closed = tokio::task::spawn_blocking(move || store.close());
            if tokio::time::timeout(STORE_WAIT, closed).await.is_err() {
                tracing::error!("the broker's store did not take its last changes in time");
            }
        }
    }
}

struct StopOnDrop(Arc<core::Core>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopping.send_replace(true);
        self.0.registry.close_all(&Close::Shutdown);
        self.0.router.stop();
    }
}

/// The ticket is for the publisher's acknowledgement: it waits where the store has a part of the message.
fn sink(table: Arc<Mutex<table::Table>>, counters: Arc<stats::Counters>, store: Option<Arc<dyn Store>>) -> Sink {
    Box::new(move |origin, message| {
        let spread = table.lock().spread(origin, message);
        if spread.expired {
            counters.dropped("expired");
        }
        if spread.not_retained {
            counters.dropped("retained-full");
        }
        store.as_ref().filter(|_| spread.stored).map(|store| store.ticket())
    })
}

async fn sweep(core: Arc<core::Core>) {
    let mut stopping = core.stopping.subscribe();
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => core.sweep(),
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}
