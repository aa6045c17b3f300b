//! MQTT by hand: the exact bytes that go over the wire, also those that no library would send.

use crate::device::Login;
use crate::wait::LONG;
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEEP_ALIVE_S: u8 = 60;

pub struct Raw {
    stream: TcpStream,
    /// 4: MQTT 3.1.1, 5: MQTT 5. As the login said.
    level: u8,
    /// Messages that came before what was waited for.
    early: VecDeque<(u8, Vec<u8>)>,
}

/// A PUBLISH as it came.
#[derive(Clone, Debug)]
pub struct Told {
    pub qos: u8,
    pub retain: bool,
    pub again: bool,
    pub topic: String,
    pub payload: Vec<u8>,
}

impl Raw {
    pub async fn open(port: u16) -> Self {
        Self { stream: TcpStream::connect(("127.0.0.1", port)).await.expect("the port is open"), level: 4, early: VecDeque::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // The other side may have hung up already; what it said before that is read next.
        self.stream.write_all(bytes).await.ok();
    }

    /// The next packet, its first byte and its body; nothing at the end of the connection.
    pub async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let kind = self.stream.read_u8().await.ok()?;
            let (mut len, mut shift) = (0usize, 0);
            loop {
                let byte = self.stream.read_u8().await.ok()?;
                len |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 || shift > 21 {
                    break;
                }
            }
            let mut body = vec![0; len];
            self.stream.read_exact(&mut body).await.ok()?;
            Some((kind, body))
        };
        tokio::time::timeout(LONG, read).await.expect("a packet or the end of the connection, in time")
    }

    /// Logs in and gives back the CONNACK's code: of MQTT 3.1.1 for `level` 4, of MQTT 5 for 5. Nothing: hung up without a word.
    pub async fn login(&mut self, level: u8, login: &Login, clean: bool) -> Option<u8> {
        self.login_keeping_alive(level, login, clean, KEEP_ALIVE_S).await
    }

    /// The same with a promise to speak every so many seconds.
    pub async fn login_keeping_alive(&mut self, level: u8, login: &Login, clean: bool, keep_alive_s: u8) -> Option<u8> {
        self.level = level;
        self.send(&connect(level, &login.client_id(), &login.id, &login.password, clean, keep_alive_s)).await;
        let (kind, body) = self.packet().await?;
        assert_eq!(kind, 0x20, "a CONNACK");
        body.get(1).copied()
    }

    /// Subscribes at QoS 1; the code that was granted. Messages may come before it: `told` has them.
    pub async fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = vec![0, 9];
        body.extend(self.no_properties());
        body.extend(text(filter));
        body.push(1);
        self.send(&packet(0x82, &body)).await;
        loop {
            let (kind, body) = self.packet().await.expect("a SUBACK");
            if kind & 0xF0 == 0x30 {
                self.early.push_back((kind, body));
                continue;
            }
            assert_eq!(kind, 0x90, "a SUBACK");
            return body.last().copied().expect("a code");
        }
    }

    /// PUBLISH at QoS 1; `first` is its first byte without the QoS, 0x31 where it is retained.
    pub async fn publish(&mut self, first: u8, topic: &str, packet_id: u8, payload: &[u8]) {
        let mut body = text(topic);
        body.extend([0, packet_id]);
        body.extend(self.no_properties());
        body.extend(payload);
        self.send(&packet(first | 0x02, &body)).await;
    }

    /// Waits for the acknowledgement of a PUBLISH. Messages may come before it: `told` has them.
    pub async fn acknowledged(&mut self, packet_id: u8) {
        loop {
            let (kind, body) = self.packet().await.expect("a PUBACK");
            match kind & 0xF0 {
                0x30 => self.early.push_back((kind, body)),
                0x40 if body.starts_with(&[0, packet_id]) => return,
                _ => {}
            }
        }
    }

    /// The next PUBLISH, unacknowledged.
    pub async fn told(&mut self) -> Told {
        loop {
            let (kind, body) = match self.early.pop_front() {
                Some(early) => early,
                None => self.packet().await.expect("a message"),
            };
            if kind & 0xF0 == 0x30 {
                return self.read_publish(kind, &body);
            }
        }
    }

    fn read_publish(&self, kind: u8, body: &[u8]) -> Told {
        let qos = kind >> 1 & 3;
        let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + len].to_vec()).expect("UTF-8");
        let mut at = 2 + len + if qos > 0 { 2 } else { 0 };
        if self.level == 5 {
            // Properties of a command are few: one length byte.
            at += 1 + usize::from(body[at]);
        }
        Told { qos, retain: kind & 1 == 1, again: kind & 8 == 8, topic, payload: body[at..].to_vec() }
    }

    fn no_properties(&self) -> &'static [u8] {
        if self.level == 5 { &[0] } else { &[] }
    }

    /// Everything sent so far has been looked at when this comes back; packets on the way are given back.
    pub async fn ping(&mut self) -> Vec<(u8, Vec<u8>)> {
        self.send(&[0xC0, 0]).await;
        let mut before: Vec<_> = self.early.drain(..).collect();
        loop {
            match self.packet().await {
                Some((0xD0, _)) => return before,
                Some(packet) => before.push(packet),
                None => panic!("the connection ended before the PINGRESP"),
            }
        }
    }

    /// The messages on the way.
    pub async fn messages(&mut self) -> Vec<Told> {
        let packets = self.ping().await;
        packets.iter().filter(|(kind, _)| kind & 0xF0 == 0x30).map(|(kind, body)| self.read_publish(*kind, body)).collect()
    }
}

pub fn connect(level: u8, client_id: &str, username: &str, password: &str, clean: bool, keep_alive_s: u8) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([level, 0xC0 | u8::from(clean) << 1, 0, keep_alive_s]);
    if level == 5 {
        // Session expiry 3600 s, so that a session that is not clean outlives its connection as in 3.1.1.
        body.extend([5, 0x11, 0, 0, 0x0E, 0x10]);
    }
    for part in [client_id, username, password] {
        body.extend(text(part));
    }
    packet(0x10, &body)
}

pub fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut len = body.len();
    loop {
        let low = (len % 128) as u8;
        len /= 128;
        out.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

fn text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("short");
    [&len.to_be_bytes()[..], text.as_bytes()].concat()
}
