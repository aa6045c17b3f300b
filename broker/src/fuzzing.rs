//! What fuzz targets and their tests reach of the inside: the packet path without a socket. No part of the interface.

use crate::hooks::AllowAll;
use crate::server::{Broker, BrokerConfig, Limits};
use crate::session::connection;
use crate::session::decode::Decoder;
use crate::session::handshake::Peer;
use crate::session::packet::Incoming;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Packets of a fuzzed client: small, so that the bound is reached.
const PACKET_SIZE_MAX: u32 = 4096;

/// What a client's bytes are read as when they come `chunk` at a time: a line for each packet, and the error that ended it.
pub fn packets(bytes: &[u8], chunk: usize) -> Vec<String> {
    let mut decoder = Decoder::new(PACKET_SIZE_MAX);
    let mut data = BytesMut::new();
    let mut lines = Vec::new();
    for part in bytes.chunks(chunk.max(1)) {
        data.extend_from_slice(part);
        loop {
            let before = data.len();
            match decoder.next(&mut data) {
                Ok(Some(packet)) => lines.push(format!("{:?}", timeless(packet))),
                Ok(None) => {
                    assert!(data.is_empty(), "bytes were left without a packet or an error");
                    break;
                }
                Err(error) => {
                    lines.push(format!("{error:?}"));
                    return lines;
                }
            }
            assert!(data.len() < before || before == 0, "a packet of no bytes");
        }
    }
    lines
}

/// Deadlines are read off the clock; equal bytes at another moment are to look equal.
fn timeless(packet: Incoming) -> Incoming {
    match packet {
        Incoming::Publish { mut message, packet_id, alias } => {
            message.expires_at = message.expires_at.map(|_| spalla_shared::time::Timestamp(0));
            Incoming::Publish { message, packet_id, alias }
        }
        other => other,
    }
}

/// A broker that lives as long as the fuzzing does.
pub struct Subject {
    broker: Broker,
    runtime: tokio::runtime::Runtime,
}

impl Subject {
    /// `None`: the machine gave no port or no thread.
    pub fn start() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        // Small bounds, so that they are met; no time that a run would wait for.
        let limits = Limits {
            packet_size: PACKET_SIZE_MAX,
            in_flight: 4,
            subscriptions: 8,
            outgoing_queue: 16,
            offline_queue: 8,
            retained: 64,
            sessions: 256,
            publish_rate: 0,
            session_expiry: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(2),
            sys_every: Duration::ZERO,
            ..Limits::default()
        };
        let config = BrokerConfig { tcp: Some(([127, 0, 0, 1], 0).into()), limits, ..BrokerConfig::default() };
        let broker = runtime.block_on(Broker::start(config, Arc::new(AllowAll))).ok()?;
        Some(Self { broker, runtime })
    }

    /// One whole connection that sends `bytes`, reads, and hangs up; what it was sent.
    pub fn converse(&self, bytes: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(64 * 1024);
            let address = ([127, 0, 0, 1], 1).into();
            let peer = Peer { address, certificate_name: None, certificates: None, crowded: false };
            let serving = tokio::spawn(connection::serve(self.broker.core.clone(), server, peer));
            client.write_all(bytes).await.ok();
            client.shutdown().await.ok();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.ok();
            serving.await.unwrap_or_else(|error| panic!("the connection's task ended with {error}"));
            answer
        })
    }

    /// What no client may bring about: says which it was.
    pub fn harm(&self) -> Option<String> {
        let (stats, health) = (self.broker.stats(), self.broker.health());
        let internal = stats.ended.get("internal").copied().unwrap_or(0);
        let harmless = health.is_good() && stats.router_restarts == 0 && stats.router_rescued == 0 && internal == 0;
        (!harmless).then(|| format!("{health:?}, {stats:?}"))
    }
}
