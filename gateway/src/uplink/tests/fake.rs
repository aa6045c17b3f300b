//! An applied log that gateways share, and an in-process broker that loses, doubles and is cut.

use super::{names, now};
use crate::consensus::{Freshness, Group, Leadership, Member, ProposeError, Receipt};
use crate::uplink::{CloudLink, LinkError, LinkEvent, wire};
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use spalla_broker::message::Message;
use spalla_shared::engine::outbox::{self, OutboxClass};
use spalla_shared::engine::{Accepted, Command, Context, Reply, State};
use spalla_shared::event::Event;
use spalla_shared::id::{GroupId, NodeId};
use spalla_shared::summary::EventBatch;
use spalla_shared::time::Timestamp;
use spalla_shared::topic::{CloudTopic, filter_matches};
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// The applied log that all gateways of a test share.
pub struct Log {
    pub state: RwLock<State>,
    pub applied: watch::Sender<u64>,
}

impl Log {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: RwLock::new(State::new(GroupId::mesh())), applied: watch::Sender::new(0) })
    }

    pub fn push(&self, class: OutboxClass) {
        let mut state = self.state.write();
        let event = Event {
            id: format!("e{}", state.outbox.newest_seq + 1).into(),
            source: "/test".into(),
            kind: "test".into(),
            subject: None,
            time: now(),
            data: Value::from("x".repeat(100)),
            extensions: BTreeMap::new(),
        };
        let at = state.clock;
        outbox::push(&mut Context::new(&mut state, 0, at), class, event);
        drop(state);
        self.applied.send_modify(|index| *index += 1);
    }

    pub fn acknowledged(&self) -> u64 {
        self.state.read().outbox.acknowledged_seq
    }

    /// The engine's own answer to the uplink's commands.
    fn apply(&self, command: &Command, at: Timestamp) -> Reply {
        let Command::Uplink(command) = command else { return Ok(Accepted::Nothing) };
        let mut state = self.state.write();
        state.clock = state.clock.max(at);
        let at = state.clock;
        outbox::uplink(&mut Context::new(&mut state, 0, at), command)
    }
}

/// A gateway's view of it.
pub struct Seat {
    pub log: Arc<Log>,
    pub id: GroupId,
    pub node: NodeId,
    pub leadership: watch::Sender<Leadership>,
}

#[async_trait]
impl Group for Seat {
    fn id(&self) -> &GroupId {
        &self.id
    }
    fn node(&self) -> NodeId {
        self.node
    }
    async fn propose(&self, command: Command) -> Result<Receipt, ProposeError> {
        let at = now();
        let reply = self.log.apply(&command, at);
        let mut index = 0;
        self.log.applied.send_modify(|applied| {
            *applied += 1;
            index = *applied;
        });
        Ok(Receipt { index, at, reply })
    }
    fn state(&self) -> &RwLock<State> {
        &self.log.state
    }
    fn applied(&self) -> watch::Receiver<u64> {
        self.log.applied.subscribe()
    }
    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }
    fn freshness(&self) -> Freshness {
        Freshness { applied: 0, leader: None, stale: false, leader_seen_ms: None }
    }
    fn members(&self) -> Vec<Member> {
        Vec::new()
    }
}

/// What becomes of one publish on `ev`.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// Acknowledged by the broker and gone.
    Lose,
    Double,
}

pub type Faults = Box<dyn Fn(usize) -> Fault + Send>;

/// An MQTT broker as far as it matters here.
pub struct Cloud {
    pub inner: Mutex<CloudInner>,
    moved: Notify,
}

pub struct CloudInner {
    clients: Vec<Client>,
    retained: BTreeMap<String, Message>,
    events: usize,
    faults: Faults,
    /// Every `ev` body that was published, in order.
    pub batches: Vec<EventBatch>,
}

pub struct Client {
    filters: Vec<String>,
    up: bool,
    events: mpsc::Sender<LinkEvent>,
}

pub struct CloudClient {
    cloud: Arc<Cloud>,
    number: usize,
}

impl Cloud {
    pub fn new(faults: impl Fn(usize) -> Fault + Send + 'static) -> Arc<Self> {
        let inner = CloudInner { clients: Vec::new(), retained: BTreeMap::new(), events: 0, faults: Box::new(faults), batches: Vec::new() };
        Arc::new(Self { inner: Mutex::new(inner), moved: Notify::new() })
    }

    pub fn connect(self: &Arc<Self>, filters: Vec<String>) -> (Arc<dyn CloudLink>, mpsc::Receiver<LinkEvent>) {
        let (events, received) = mpsc::channel(10_000);
        let number = {
            let mut inner = self.inner.lock();
            inner.clients.push(Client { filters, up: false, events });
            inner.clients.len() - 1
        };
        self.up(number);
        (Arc::new(CloudClient { cloud: self.clone(), number }), received)
    }

    pub fn up(&self, number: usize) {
        let mut inner = self.inner.lock();
        let CloudInner { clients, retained, .. } = &mut *inner;
        let client = &mut clients[number];
        client.up = true;
        client.events.try_send(LinkEvent::Up).expect("room");
        for message in retained.values().filter(|message| client.filters.iter().any(|filter| filter_matches(filter, &message.topic))) {
            client.events.try_send(LinkEvent::Message(message.clone())).expect("room");
        }
    }

    pub fn cut(&self, number: usize) {
        let mut inner = self.inner.lock();
        inner.clients[number].up = false;
        inner.clients[number].events.try_send(LinkEvent::Down("cut".into())).expect("room");
    }

    /// Waits until `holds`, looking whenever something was published or applied.
    pub async fn until(&self, log: &Log, what: &str, mut holds: impl FnMut() -> bool) {
        let mut applied = log.applied.subscribe();
        let waiting = async {
            loop {
                let moved = self.moved.notified();
                applied.borrow_and_update();
                if holds() {
                    return;
                }
                tokio::select! { () = moved => {}, changed = applied.changed() => changed.expect("log") }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

#[async_trait]
impl CloudLink for CloudClient {
    async fn publish(&self, message: Message) -> Result<(), LinkError> {
        let mut inner = self.cloud.inner.lock();
        if !inner.clients[self.number].up {
            return Err(LinkError::Down);
        }
        let mut copies = 1;
        if names().parse(&message.topic) == Some(CloudTopic::Events) {
            assert!(message.payload.len() <= 64 * 1024, "{} bytes", message.payload.len());
            inner.batches.push(wire::decode(&message).expect("a batch"));
            inner.events += 1;
            copies = match (inner.faults)(inner.events) {
                Fault::None => 1,
                Fault::Lose => 0,
                Fault::Double => 2,
            };
        }
        if message.retain {
            inner.retained.insert(message.topic.clone(), message.clone());
        }
        for client in inner.clients.iter().filter(|client| client.up) {
            if client.filters.iter().any(|filter| filter_matches(filter, &message.topic)) {
                for _ in 0..copies {
                    let _ = client.events.try_send(LinkEvent::Message(message.clone()));
                }
            }
        }
        drop(inner);
        self.cloud.moved.notify_waiters();
        Ok(())
    }
}
