//! Raw packets and a socket: nothing here knows more of MQTT than how a packet is framed.

use spalla_broker::hooks::AllowAll;
use spalla_broker::server::{Broker, BrokerConfig, Limits};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No step takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn broker() -> Broker {
    broker_with(Limits::default()).await
}

pub async fn broker_with(limits: Limits) -> Broker {
    let config = BrokerConfig { tcp: Some(([127, 0, 0, 1], 0).into()), limits, ..BrokerConfig::default() };
    Broker::start(config, Arc::new(AllowAll)).await.expect("starts")
}

/// A text with its length.
pub fn s(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet from its first byte and the parts of its body.
pub fn packet(head: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![head];
    let mut len = body.len();
    loop {
        let low = (len & 0x7F) as u8;
        len >>= 7;
        out.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

/// A property list with its length.
pub fn props(list: &[&[u8]]) -> Vec<u8> {
    let body = list.concat();
    assert!(body.len() < 128);
    [&[body.len() as u8], &body[..]].concat()
}

pub fn connect4(flags: u8, keep_alive: u16, payload: &[&str]) -> Vec<u8> {
    let payload: Vec<u8> = payload.iter().flat_map(|text| s(text)).collect();
    packet(0x10, &[&s("MQTT"), &[4, flags], &keep_alive.to_be_bytes(), &payload])
}

/// `payload` comes after the client id.
pub fn connect5(flags: u8, keep_alive: u16, properties: &[&[u8]], id: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x10, &[&s("MQTT"), &[5, flags], &keep_alive.to_be_bytes(), &props(properties), &s(id), payload])
}

pub struct Wire {
    socket: TcpStream,
    /// What came before a SUBACK: retained messages may.
    early: VecDeque<Vec<u8>>,
    pub version: u8,
}

impl Wire {
    pub async fn open(broker: &Broker) -> Self {
        Self::at(broker.addresses().tcp.expect("listens")).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(address).await.expect("connects"), early: VecDeque::new(), version: 5 }
    }

    /// Connects with a clean start.
    pub async fn join(broker: &Broker, version: u8, id: &str) -> Self {
        Self::join_with(broker, version, id, 0x02, 0).await.0
    }

    /// Connects; the answer is also the session present flag. In v5 the session lasts for `expiry_s`.
    pub async fn join_with(broker: &Broker, version: u8, id: &str, flags: u8, expiry_s: u8) -> (Self, bool) {
        let mut wire = Self::open(broker).await;
        wire.version = version;
        let bytes = match version {
            4 => connect4(flags, 60, &[id]),
            _ => connect5(flags, 60, &[&[0x11, 0, 0, 0, expiry_s]], id, b""),
        };
        wire.send(&bytes).await;
        let connack = wire.next().await.expect("a CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0), "refused: {connack:x?}");
        (wire, connack[2] == 1)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("sent");
    }

    /// A whole packet, or none where the connection has ended.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Option<Vec<u8>> {
        tokio::time::timeout(PATIENCE, async {
            let mut packet = vec![self.socket.read_u8().await.ok()?];
            let (mut len, mut shift) = (0usize, 0);
            loop {
                let byte = self.socket.read_u8().await.ok()?;
                packet.push(byte);
                len |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let at = packet.len();
            packet.resize(at + len, 0);
            self.socket.read_exact(&mut packet[at..]).await.ok()?;
            Some(packet)
        })
        .await
        .expect("an answer in time")
    }

    pub async fn expect(&mut self, bytes: &[u8], statement: &str) {
        let got = self.next().await;
        assert_eq!(got.as_deref(), Some(bytes), "{statement}: got {got:x?}, expected {bytes:x?}");
    }

    /// The connection ends without another packet.
    pub async fn expect_end(&mut self, statement: &str) {
        let got = self.next().await;
        assert_eq!(got, None, "{statement}: got {got:x?}, expected the end");
    }

    /// v5: DISCONNECT with the code, and the end. v3.1.1 has no such packet: the end.
    pub async fn expect_close(&mut self, code: u8, statement: &str) {
        if self.version == 5 {
            let got = self.next().await;
            let found = got.as_ref().map(|packet| (packet[0], packet[2]));
            assert_eq!(found, Some((0xE0, code)), "{statement}: got {got:x?}");
        }
        self.expect_end(statement).await;
    }

    /// Nothing has come that was not expected: the answer to a ping is the next packet.
    pub async fn expect_nothing(&mut self, statement: &str) {
        self.send(b"\xC0\x00").await;
        self.expect(b"\xD0\x00", statement).await;
    }

    /// Subscribes to one filter and takes the SUBACK, and no more.
    pub async fn subscribe(&mut self, filter: &str, options: u8) {
        self.subscribe_with(filter, options, &[]).await;
    }

    pub async fn subscribe_with(&mut self, filter: &str, options: u8, properties: &[&[u8]]) {
        let list = if self.version == 5 { props(properties) } else { Vec::new() };
        self.send(&packet(0x82, &[&[0xAA, 0xAA], &list, &s(filter), &[options]])).await;
        let none: &[u8] = if self.version == 5 { &[0] } else { &[] };
        let suback = packet(0x90, &[&[0xAA, 0xAA], none, &[options & 3]]);
        loop {
            let got = self.read().await.expect("a SUBACK");
            if got[0] & 0xF0 != 0x30 {
                return assert_eq!(got, suback, "SUBACK for {filter}");
            }
            self.early.push_back(got);
        }
    }

    /// A PUBLISH in this version, with these v5 properties.
    pub fn publish(&self, flags: u8, topic: &str, packet_id: u16, properties: &[&[u8]], payload: &[u8]) -> Vec<u8> {
        let id = if flags & 6 == 0 { Vec::new() } else { packet_id.to_be_bytes().to_vec() };
        let list = if self.version == 5 { props(properties) } else { Vec::new() };
        packet(0x30 | flags, &[&s(topic), &id, &list, payload])
    }

    pub async fn give(&mut self, flags: u8, topic: &str, packet_id: u16, payload: &[u8]) {
        let bytes = self.publish(flags, topic, packet_id, &[], payload);
        self.send(&bytes).await;
    }

    pub async fn get(&mut self, flags: u8, topic: &str, packet_id: u16, payload: &[u8], statement: &str) {
        let bytes = self.publish(flags, topic, packet_id, &[], payload);
        self.expect(&bytes, statement).await;
    }

    pub async fn end(mut self) {
        self.send(b"\xE0\x00").await;
        self.expect_end("DISCONNECT").await;
    }
}
