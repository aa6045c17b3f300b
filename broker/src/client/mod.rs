//! An MQTT client that keeps its connection: for the uplink, for simulated devices, for tests. A thin coat over rumqttc.
//!
//! It owns the task that polls; it resolves `publish` when the server has acknowledged, over reconnects if need be; it
//! subscribes again after each reconnect. Every queue is bounded. Dropping a `publish` future gives its message up.

mod driver;
mod poll;
mod shared;

pub use crate::version::Version;

use crate::clock;
use crate::message::{Message, Qos};
use shared::{Shared, Waiting};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How to reach a server, and as whom.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub host: String,
    pub port: u16,
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    pub tls: Option<ClientTls>,
    pub version: Version,
    /// Forget the session at each connect and at its end; otherwise the server keeps it (v5: for a day).
    pub clean: bool,
    /// At least 5 s.
    pub keep_alive: Duration,
    pub will: Option<Message>,
    /// Longest pause between two attempts to connect; the first is 100 ms.
    pub reconnect_max: Duration,
}

impl ClientConfig {
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            client_id: client_id.into(),
            username: None,
            password: None,
            tls: None,
            version: Version::V5,
            clean: true,
            keep_alive: Duration::from_secs(30),
            will: None,
            reconnect_max: Duration::from_secs(5),
        }
    }
}

/// TLS towards a server. The server's certificate must carry the host that is dialled.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Authorities the server's certificate is checked against.
    pub ca_pem: Vec<u8>,
    /// This client's certificate chain and key, where the server asks for one.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    Connected {
        session_present: bool,
    },
    /// Also for each attempt that failed.
    Disconnected {
        reason: String,
    },
    Message(Message),
}

/// A publish or subscribe did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server answered with a reason code of failure.
    #[error("refused by the server: {0}")]
    Refused(String),
    #[error("past its deadline before it was acknowledged")]
    Expired,
    #[error("the topic is not one to publish to")]
    Topic,
    #[error("larger than the {PACKET_SIZE_MAX} bytes this client sends")]
    TooLarge,
    #[error("the client is closed")]
    Closed,
}

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("TLS: {0}")]
    Tls(String),
}

/// Largest packet sent or taken, in bytes.
pub const PACKET_SIZE_MAX: u32 = 1024 * 1024;
/// Room in a packet beside the payload: topic and properties.
const PACKET_HEAD_MAX: usize = 64 * 1024;
/// Messages published and not acknowledged; more callers wait.
pub(crate) const OUTSTANDING_MAX: usize = 100;
/// Events not fetched by the owner yet.
const EVENTS_MAX: usize = 1024;

/// A handle; clones are handles on the same client. It closes with `disconnect` or when the last handle is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    _close: Arc<CloseOnDrop>,
}

/// What happens to a client, in order. Fetch it, or messages wait and then are lost, counted.
pub type Events = mpsc::Receiver<ClientEvent>;

impl Client {
    /// Starts a client; it connects, and connects again, in its own task. Call inside a tokio runtime.
    pub fn connect(config: ClientConfig) -> Result<(Self, Events), ConfigError> {
        let (driver, requests) = driver::build(&config)?;
        let (events, events_rx) = mpsc::channel(EVENTS_MAX);
        let (close, closing) = watch::channel(false);
        let shared = Arc::new(Shared::new(requests, close));
        tokio::spawn(poll::run(shared.clone(), driver, events, closing, config.reconnect_max));
        Ok((Self { _close: Arc::new(CloseOnDrop(shared.clone())), shared }, events_rx))
    }

    /// Resolves when the server has acknowledged (QoS 1 and 2) or the bytes are written (QoS 0). Waits over reconnects,
    /// until the message expires or the client is closed.
    pub async fn publish(&self, message: Message) -> Result<(), ClientError> {
        if message.topic.is_empty() || message.topic.contains(['+', '#']) {
            return Err(ClientError::Topic);
        }
        if message.payload.len() + PACKET_HEAD_MAX > PACKET_SIZE_MAX as usize {
            return Err(ClientError::TooLarge);
        }
        let expires_at = message.expires_at;
        let done = async {
            let _permit = self.shared.room.acquire().await.map_err(|_| ClientError::Closed)?;
            let (done, answer) = oneshot::channel();
            self.shared.publish(Waiting { message, done })?;
            answer.await.unwrap_or(Err(ClientError::Closed))
        };
        match expires_at {
            Some(at) => tokio::time::timeout(clock::until(at), done).await.unwrap_or(Err(ClientError::Expired)),
            None => done.await,
        }
    }

    /// Resolves when the server has answered; from then on the subscription is renewed after each reconnect.
    pub async fn subscribe(&self, filter: &str, qos: Qos) -> Result<(), ClientError> {
        let (done, answer) = oneshot::channel();
        self.shared.subscribe(filter, qos, done)?;
        answer.await.unwrap_or(Err(ClientError::Closed))
    }

    pub async fn unsubscribe(&self, filter: &str) {
        self.shared.unsubscribe(filter);
    }

    pub fn is_connected(&self) -> bool {
        self.shared.is_connected()
    }

    /// Messages that came and found the event queue full for too long.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Says goodbye to the server (no will) and ends; what is unacknowledged resolves as closed.
    pub async fn disconnect(&self) {
        self.shared.close.send_replace(true);
        self.shared.room.close();
        let mut ended = self.shared.ended.subscribe();
        ended.wait_for(|ended| *ended).await.ok();
    }

    /// Drops the connection without a word, as a cable does; the client then connects again.
    pub fn cut(&self) {
        self.shared.cut.notify_one();
    }
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close.send_replace(true);
    }
}
