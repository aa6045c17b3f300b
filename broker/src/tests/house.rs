//! What the tests share: a broker with hooks that can be told what to answer, clients, and a raw socket.

use crate::client::{Client, ClientConfig, ClientEvent, Events, Version};
use crate::hooks::{Credentials, Hooks, Principal, Refusal, Verdict};
use crate::message::{Message, Qos};
use crate::server::{Broker, BrokerConfig, Limits};
use bytes::Bytes;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

pub const BOTH: [Version; 2] = [Version::V4, Version::V5];

/// User name is the principal, the password is `secret`. Nobody publishes or subscribes below `forbidden/`.
/// A message to `hold/…` waits for the test's verdict; all others are taken and routed.
pub struct House {
    pub held: mpsc::UnboundedSender<(Message, oneshot::Sender<Verdict>)>,
    pub log: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl Hooks for House {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, Refusal> {
        match (&credentials.username, credentials.password.as_deref()) {
            (Some(name), Some(b"secret")) => Ok(Principal { client_id: credentials.client_id.as_str().into(), name: name.as_str().into() }),
            (Some(name), _) if name == "banned" => Err(Refusal::NotAuthorised),
            (None, _) if credentials.certificate_name.is_some() => {
                let name = credentials.certificate_name.clone().unwrap_or_default();
                Ok(Principal { client_id: credentials.client_id.as_str().into(), name: name.into() })
            }
            _ => Err(Refusal::BadCredentials),
        }
    }
    fn may_publish(&self, _who: &Principal, topic: &str) -> bool {
        !topic.starts_with("forbidden/")
    }
    fn may_subscribe(&self, _who: &Principal, filter: &str) -> bool {
        !filter.starts_with("forbidden/")
    }
    async fn publish(&self, who: &Principal, message: &Message) -> Verdict {
        self.log.lock().push(format!("{} {} {}", who.name, message.topic, String::from_utf8_lossy(&message.payload)));
        if !message.topic.starts_with("hold/") {
            return Verdict::Accept { route: true };
        }
        let (verdict, answer) = oneshot::channel();
        self.held.send((message.clone(), verdict)).ok();
        answer.await.unwrap_or(Verdict::NotNow("nobody answered"))
    }
    async fn connected(&self, who: &Principal, session: u64) {
        self.log.lock().push(format!("+{} {session}", who.client_id));
    }
    async fn disconnected(&self, who: &Principal, session: u64) {
        self.log.lock().push(format!("-{} {session}", who.client_id));
    }
}

pub struct Fixture {
    pub broker: Broker,
    pub house: Arc<House>,
    pub held: mpsc::UnboundedReceiver<(Message, oneshot::Sender<Verdict>)>,
}

pub async fn open() -> Fixture {
    open_with(Limits::default()).await
}

pub async fn open_with(limits: Limits) -> Fixture {
    let (held_tx, held) = mpsc::unbounded_channel();
    let house = Arc::new(House { held: held_tx, log: Mutex::default() });
    let config = BrokerConfig { tcp: Some(([127, 0, 0, 1], 0).into()), limits, ..BrokerConfig::default() };
    let broker = Broker::start(config, house.clone()).await.expect("starts");
    Fixture { broker, house, held }
}

impl Fixture {
    pub fn port(&self) -> u16 {
        self.broker.addresses().tcp.expect("listens").port()
    }

    pub fn config(&self, id: &str, version: Version) -> ClientConfig {
        ClientConfig {
            username: Some(id.to_owned()),
            password: Some("secret".into()),
            version,
            ..ClientConfig::new("127.0.0.1", self.port(), id.replace([':', '/'], "-"))
        }
    }

    /// A connected client; its principal and client id are `id`.
    pub async fn client(&self, id: &str, version: Version) -> (Client, Events) {
        self.join(self.config(id, version)).await
    }

    pub async fn join(&self, config: ClientConfig) -> (Client, Events) {
        let (client, mut events) = Client::connect(config).expect("usable");
        assert!(matches!(within(events.recv()).await, Some(ClientEvent::Connected { .. })));
        (client, events)
    }

    /// Everything published so far has reached its subscribers' sessions: the router keeps the order.
    pub async fn settled(&self) {
        let mut raw = self.raw().await;
        raw.join_v4("settled", true, 60).await;
        raw.send(b"\x82\x0c\x00\x01\x00\x07settled\x00").await;
        raw.expect(b"\x90\x03\x00\x01\x00").await;
        self.broker.publish(text("settled", "", Qos::AtMostOnce)).await.expect("routed");
        raw.expect(b"\x30\x09\x00\x07settled").await;
        raw.send(b"\xe0\x00").await;
        assert_eq!(raw.rest().await, b"");
        until(|| !self.broker.is_connected("settled")).await;
    }

    /// A raw socket.
    pub async fn raw(&self) -> Raw {
        Raw(TcpStream::connect(("127.0.0.1", self.port())).await.expect("connects"))
    }

    /// Waits until the broker's log has a line, and counts how often.
    pub async fn logged(&self, line: &str) -> usize {
        until(|| self.house.log.lock().iter().any(|entry| entry == line)).await;
        self.house.log.lock().iter().filter(|entry| *entry == line).count()
    }
}

/// No step of a test takes this long unless it hangs.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

pub async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub fn text(topic: &str, payload: &str, qos: Qos) -> Message {
    Message { topic: topic.into(), payload: Bytes::copy_from_slice(payload.as_bytes()), qos, ..Message::default() }
}

/// The next message a client gets.
pub async fn message(events: &mut Events) -> Message {
    within(async {
        loop {
            match events.recv().await {
                Some(ClientEvent::Message(message)) => return message,
                Some(_) => {}
                None => panic!("the client has ended"),
            }
        }
    })
    .await
}

/// The payloads a client gets up to and including `last`.
pub async fn payloads_to(events: &mut Events, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().is_none_or(|payload| payload != last) {
        all.push(String::from_utf8_lossy(&message(events).await.payload).into_owned());
    }
    all
}

pub async fn disconnected(events: &mut Events) -> String {
    within(async {
        loop {
            match events.recv().await {
                Some(ClientEvent::Disconnected { reason }) => return reason,
                Some(_) => {}
                None => panic!("the client has ended"),
            }
        }
    })
    .await
}

pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("sent");
    }

    pub async fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        within(self.0.read_exact(&mut read)).await.expect("as many bytes");
        assert_eq!(read, bytes);
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        within(self.0.read_to_end(&mut read)).await.ok();
        read
    }

    /// A v3.1.1 CONNECT, clean or not, and its CONNACK.
    pub async fn join_v4(&mut self, id: &str, clean: bool, keep_alive_s: u8) {
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.extend([0xC0 | u8::from(clean) << 1, 0, keep_alive_s]);
        for part in [id, id, "secret"] {
            body.extend([0, part.len() as u8]);
            body.extend(part.as_bytes());
        }
        self.send(&[&[0x10, body.len() as u8], &body[..]].concat()).await;
        let mut connack = [0; 4];
        within(self.0.read_exact(&mut connack)).await.expect("a CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0));
    }

    /// A QoS 2 message to `t` with packet id 9, up to its PUBREC.
    pub async fn begin_qos_2(&mut self, again: bool) {
        self.send(&[&[if again { 0x3C } else { 0x34 }][..], b"\x06\x00\x01t\x00\x09x"].concat()).await;
        self.expect(b"\x50\x02\x00\x09").await;
    }

    /// Its release.
    pub async fn end_qos_2(&mut self) {
        self.send(b"\x62\x02\x00\x09").await;
        self.expect(b"\x70\x02\x00\x09").await;
    }
}
