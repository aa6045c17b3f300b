//! The broker: its listeners, what its connections share, and the gateway's handle on it.
//!
//! listener -> session -> hooks -> router -> table (who takes it) -> sessions
//! gateway -> Broker::publish -> router; gateway -> Broker::deliver -> one live session, past every queue
//!
//! It remembers nothing over a restart: what must survive is in the gateway's log.

pub mod config;
pub(crate) mod core;
pub(crate) mod listener;
pub(crate) mod retained;
pub mod stats;
pub(crate) mod table;
pub(crate) mod tls;

pub use crate::router::RouterHealth;
pub use config::{BrokerConfig, Limits, TlsListener};
pub use stats::BrokerStats;

use crate::clock;
use crate::hooks::Hooks;
use crate::message::Message;
use crate::router::Sink;
use crate::router::rumqttd::RumqttdRouter;
use crate::session::close::Close;
use crate::session::registry::Registry;
use crate::session::state::{Delivered, ExpressError};
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
const SHUTDOWN_WAIT: Duration = Duration::from_millis(1500);
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("TLS listener {address}: {reason}")]
    Tls { address: SocketAddr, reason: String },
    #[error("the broker has no listener: give a TCP or a TLS address")]
    NoListener,
    #[error("the message router did not start")]
    Router,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    pub router: RouterHealth,
    /// Messages that vanished inside the router since the start. Not zero is a fault.
    pub router_lost: u64,
}

impl Health {
    pub fn is_good(&self) -> bool {
        self.router == RouterHealth::Working && self.router_lost == 0
    }
}

/// Where the broker listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub tcp: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
}

/// A running broker. Clones are handles on the same one; it stops with `shutdown` or when the last handle is dropped.
#[derive(Clone)]
pub struct Broker {
    core: Arc<core::Core>,
    addresses: Addresses,
    /// The accept loops; a port is free once its loop has ended.
    doors: Arc<Mutex<JoinSet<()>>>,
    _stop: Arc<StopOnDrop>,
}

impl Broker {
    /// Opens the listeners and begins to serve. Call inside a tokio runtime.
    pub async fn start(config: BrokerConfig, hooks: Arc<dyn Hooks>) -> Result<Self, StartError> {
        let limits = Arc::new(config.limits.clamped());
        let mut listeners = Vec::new();
        let mut addresses = Addresses::default();
        if let Some(address) = config.tcp {
            let listener = listener::bind(address)?;
            addresses.tcp = Some(listener.local_addr().map_err(|source| StartError::Bind { address, source })?);
            listeners.push((listener, None));
        }
        if let Some(tls) = &config.tls {
            let address = tls.address;
            let acceptor = tls::acceptor(tls).map_err(|reason| StartError::Tls { address, reason })?;
            let listener = listener::bind(address)?;
            addresses.tls = Some(listener.local_addr().map_err(|source| StartError::Bind { address, source })?);
            listeners.push((listener, Some(acceptor)));
        }
        if listeners.is_empty() {
            return Err(StartError::NoListener);
        }
        let counters = Arc::new(stats::Counters::default());
        let retained = retained::Retained::new(limits.retained, limits.retained_bytes);
        let table = Arc::new(Mutex::new(table::Table::new(retained)));
        let router = RumqttdRouter::start(sink(table.clone(), counters.clone())).map_err(|_| StartError::Router)?;
        let core = Arc::new(core::Core {
            hooks,
            registry: Arc::new(Registry::new(limits.clone(), counters.clone())),
            limits,
            counters,
            table,
            router: Box::new(router),
            started: clock::now(),
            next_client: AtomicU64::new(1),
            sockets: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
        });
        let mut doors = JoinSet::new();
        for (listener, acceptor) in listeners {
            doors.spawn(listener::accept(core.clone(), listener, acceptor));
        }
        tokio::spawn(sweep(core.clone()));
        Ok(Self { _stop: Arc::new(StopOnDrop(core.clone())), core, addresses, doors: Arc::new(Mutex::new(doors)) })
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
        self.core.router.publish(0, &message).await.map_err(|_| PublishError::Closed)
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
        let (sessions, connections) = self.core.registry.counts();
        let table = self.core.table.lock();
        BrokerStats {
            connections,
            sessions,
            subscriptions: table.subscriptions(),
            retained: table.retained.len() as u64,
            ..self.core.counters.snapshot()
        }
    }

    pub fn health(&self) -> Health {
        Health { router: self.core.router.health(), router_lost: self.core.router.lost() }
    }

    /// Closes the ports at once, tells the clients, and returns within two seconds. Wills are not published.
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

fn sink(table: Arc<Mutex<table::Table>>, counters: Arc<stats::Counters>) -> Sink {
    Box::new(move |origin, message| match table.lock().spread(origin, message) {
        table::Spread::Done => {}
        table::Spread::Expired => counters.dropped("expired"),
        table::Spread::NotRetained => counters.dropped("retained-full"),
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
