//! What a broker needs to start, and the bounds it keeps.

use crate::server::tls;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A broker's listeners and bounds. At least one listener must be given.
#[derive(Clone, Debug, Default)]
pub struct BrokerConfig {
    /// Plain TCP. Port 0 takes a free one, see `Broker::addresses`.
    pub tcp: Option<SocketAddr>,
    pub tls: Option<TlsListener>,
    /// WebSocket (subprotocol `mqtt`), plain.
    pub ws: Option<SocketAddr>,
    /// WebSocket over TLS.
    pub wss: Option<TlsListener>,
    /// Where sessions, what waits for them and retained messages outlive the process. None: in memory only.
    pub store: Option<PathBuf>,
    pub limits: Limits,
}

/// A TLS listener with its identity, PEM encoded.
#[derive(Clone)]
pub struct TlsListener {
    pub address: SocketAddr,
    /// Server certificate first, then its chain.
    pub certificates_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
    /// Authorities that client certificates are checked against; without them none is asked for.
    pub client_ca_pem: Option<Vec<u8>>,
    /// Refuse clients that show no certificate. Needs `client_ca_pem`.
    pub client_required: bool,
    /// Revocation lists of those authorities, PEM. A client certificate on one of them is refused. Needs `client_ca_pem`.
    pub crl_pem: Option<Vec<u8>>,
}

impl TlsListener {
    /// Whether a listener could show this identity. The text says which part cannot be used, and why.
    pub fn check(&self) -> Result<(), String> {
        tls::identity(self).map(drop)
    }
}

impl std::fmt::Debug for TlsListener {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, client_required, .. } = self;
        f.debug_struct("TlsListener").field("address", address).field("client_required", client_required).finish_non_exhaustive()
    }
}

/// Every bound of a broker. `clamped` keeps each inside what the broker was built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients at one time, 1..=65,536.
    pub connections: usize,
    /// Connections of one principal at one time, 1..=65,536. Anonymous clients share one principal.
    pub connections_per_principal: usize,
    /// Sessions remembered, connected or not, 1..=131,072.
    pub sessions: usize,
    /// Largest packet taken, in bytes, 1 KiB..=16 MiB.
    pub packet_size: u32,
    /// QoS 1 and 2 messages unacknowledged per client and direction, 1..=1,024.
    pub in_flight: u16,
    /// Subscriptions per client, 1..=10,000.
    pub subscriptions: usize,
    /// PUBLISH packets per second that one client is read at, 0 for as many as come, ..=1,000,000; a second's worth may come at once.
    pub publish_rate: u32,
    /// Topic aliases that a v5 client may send, 0..=1,024.
    pub topic_aliases: u16,
    /// Messages that wait for a connected client before it counts as too slow, 16..=65,536.
    pub outgoing_queue: usize,
    /// Bytes of the same, 64 KiB..=256 MiB.
    pub outgoing_bytes: usize,
    /// Messages kept for a client that is away, 0..=65,536; the oldest gives way and is counted.
    pub offline_queue: usize,
    /// Levels of a topic, 1..=64.
    pub topic_levels: usize,
    /// Retained messages, 0..=1,000,000.
    pub retained: usize,
    /// Bytes of retained payloads, 0..=1 GiB.
    pub retained_bytes: usize,
    /// Size of the store's file, 1 MiB..=64 GiB. When it is full, what needs it is not acknowledged until there is room.
    pub store_bytes: u64,
    /// Longest time a session outlives its connection.
    pub session_expiry: Duration,
    /// From TCP accept to a whole CONNECT, TLS handshake included, and again for its authentication.
    pub connect_timeout: Duration,
    /// From the first byte of a packet to its last.
    pub packet_timeout: Duration,
    /// One write to a client that takes nothing.
    pub write_timeout: Duration,
    /// Longest keep-alive that v5 clients are held to; they are told. 0: whatever they ask for, none included.
    pub keep_alive_max: Duration,
    /// After a restart: how long a client may take to return before the will it had is published. Needs a store.
    pub will_grace: Duration,
    /// Client ids and addresses whose failed logins are remembered, 1..=1,000,000.
    pub failed_logins: usize,
    /// Between two rounds of `$SYS/broker/…` messages; 0 publishes none.
    pub sys_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_principal: 1024,
            sessions: 8192,
            packet_size: 256 * 1024,
            in_flight: 64,
            subscriptions: 256,
            publish_rate: 20_000,
            topic_aliases: 32,
            outgoing_queue: 4096,
            outgoing_bytes: 16 * 1024 * 1024,
            offline_queue: 1000,
            topic_levels: 16,
            retained: 20_000,
            retained_bytes: 64 * 1024 * 1024,
            store_bytes: 1 << 30,
            session_expiry: Duration::from_secs(24 * 3600),
            connect_timeout: Duration::from_secs(10),
            packet_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(20),
            keep_alive_max: Duration::from_secs(3600),
            will_grace: Duration::from_secs(30),
            failed_logins: 10_000,
            sys_every: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// The same limits, each brought inside its range.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            connections: self.connections.clamp(1, 65_536),
            connections_per_principal: self.connections_per_principal.clamp(1, 65_536),
            sessions: self.sessions.clamp(1, 131_072),
            packet_size: self.packet_size.clamp(1024, 16 * 1024 * 1024),
            in_flight: self.in_flight.clamp(1, 1024),
            subscriptions: self.subscriptions.clamp(1, 10_000),
            publish_rate: self.publish_rate.min(1_000_000),
            topic_aliases: self.topic_aliases.min(1024),
            outgoing_queue: self.outgoing_queue.clamp(16, 65_536),
            outgoing_bytes: self.outgoing_bytes.clamp(64 * 1024, 256 * 1024 * 1024),
            offline_queue: self.offline_queue.min(65_536),
            topic_levels: self.topic_levels.clamp(1, 64),
            retained: self.retained.min(1_000_000),
            retained_bytes: self.retained_bytes.min(1 << 30),
            store_bytes: self.store_bytes.clamp(1 << 20, 64 << 30),
            session_expiry: self.session_expiry.min(Duration::from_secs(90 * 24 * 3600)),
            connect_timeout: self.connect_timeout.clamp(Duration::from_millis(100), Duration::from_secs(60)),
            packet_timeout: self.packet_timeout.clamp(Duration::from_millis(100), Duration::from_secs(600)),
            write_timeout: self.write_timeout.clamp(Duration::from_millis(100), Duration::from_secs(120)),
            keep_alive_max: self.keep_alive_max.min(Duration::from_secs(u64::from(u16::MAX))),
            will_grace: self.will_grace.min(Duration::from_secs(600)),
            failed_logins: self.failed_logins.clamp(1, 1_000_000),
            sys_every: self.sys_every.min(Duration::from_secs(3600)),
        }
    }
}
