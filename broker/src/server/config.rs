//! What a broker needs to start, and the bounds it keeps.

use std::net::SocketAddr;
use std::time::Duration;

/// A broker's listeners and bounds. At least one listener must be given.
#[derive(Clone, Debug, Default)]
pub struct BrokerConfig {
    /// Plain TCP. Port 0 takes a free one, see `Broker::addresses`.
    pub tcp: Option<SocketAddr>,
    pub tls: Option<TlsListener>,
    pub limits: Limits,
}

/// A TLS listener with its identity, PEM encoded.
#[derive(Clone, Debug)]
pub struct TlsListener {
    pub address: SocketAddr,
    /// Server certificate first, then its chain.
    pub certificates_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
    /// Authorities that client certificates are checked against; without them none is asked for.
    pub client_ca_pem: Option<Vec<u8>>,
    /// Refuse clients that show no certificate. Needs `client_ca_pem`.
    pub client_required: bool,
}

/// Every bound of a broker. `clamped` keeps each inside what the broker was built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients at one time, 1..=65,536.
    pub connections: usize,
    /// Sessions remembered, connected or not, 1..=131,072.
    pub sessions: usize,
    /// Largest packet taken, in bytes, 1 KiB..=16 MiB.
    pub packet_size: u32,
    /// QoS 1 and 2 messages unacknowledged per client and direction, 1..=1,024.
    pub in_flight: u16,
    /// Subscriptions per client, 1..=10,000.
    pub subscriptions: usize,
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
    /// Longest time a session outlives its connection.
    pub session_expiry: Duration,
    /// From TCP accept to a whole CONNECT, TLS handshake included, and again for its authentication.
    pub connect_timeout: Duration,
    /// One write to a client that takes nothing.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            sessions: 8192,
            packet_size: 256 * 1024,
            in_flight: 64,
            subscriptions: 256,
            outgoing_queue: 4096,
            outgoing_bytes: 16 * 1024 * 1024,
            offline_queue: 1000,
            topic_levels: 16,
            retained: 20_000,
            retained_bytes: 64 * 1024 * 1024,
            session_expiry: Duration::from_secs(24 * 3600),
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// The same limits, each brought inside its range.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            connections: self.connections.clamp(1, 65_536),
            sessions: self.sessions.clamp(1, 131_072),
            packet_size: self.packet_size.clamp(1024, 16 * 1024 * 1024),
            in_flight: self.in_flight.clamp(1, 1024),
            subscriptions: self.subscriptions.clamp(1, 10_000),
            outgoing_queue: self.outgoing_queue.clamp(16, 65_536),
            outgoing_bytes: self.outgoing_bytes.clamp(64 * 1024, 256 * 1024 * 1024),
            offline_queue: self.offline_queue.min(65_536),
            topic_levels: self.topic_levels.clamp(1, 64),
            retained: self.retained.min(1_000_000),
            retained_bytes: self.retained_bytes.min(1 << 30),
            session_expiry: self.session_expiry.min(Duration::from_secs(90 * 24 * 3600)),
            connect_timeout: self.connect_timeout.clamp(Duration::from_millis(100), Duration::from_secs(60)),
            write_timeout: self.write_timeout.clamp(Duration::from_millis(100), Duration::from_secs(120)),
        }
    }
}
