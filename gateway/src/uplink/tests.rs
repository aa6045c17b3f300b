//! The uplink against an in-process cloud that loses, doubles and is cut; gateways share one applied log.

use super::receiver::Receiver;
use super::*;
use crate::config::Encoding;
use crate::consensus::{Freshness, Group, GroupRef, Leadership, Member, ProposeError, Receipt};
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use spalla_broker::message::Message;
use spalla_shared::engine::outbox::{self, OutboxClass, OutboxItem};
use spalla_shared::engine::{Accepted, Command, Context, Reply};
use spalla_shared::event::Event;
use spalla_shared::id::{GroupId, NodeId, SiteId};
use spalla_shared::summary::{Aggregate, EventAck, EventBatch, SiteSummary};
use spalla_shared::topic::{CloudTopic, filter_matches};
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};
use tokio::sync::{Notify, mpsc, watch};

fn timings() -> Timings {
    Timings {
        lease: Duration::from_millis(600),
        tenure_of_followers: Duration::from_millis(500),
        grace: Duration::from_millis(50),
        batch_delay: Duration::from_millis(10),
        resend_after: Duration::from_millis(200),
        summary_min: Duration::from_millis(20),
        summary_max: Duration::from_secs(600),
    }
}

fn names() -> Names {
    Names { organisation: "acme".into(), mesh: "campus".into() }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or_default())
}

/// The applied log that all gateways of a test share.
struct Log {
    state: RwLock<State>,
    applied: watch::Sender<u64>,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: RwLock::new(State::new(GroupId::mesh())), applied: watch::Sender::new(0) })
    }

    fn push(&self, class: OutboxClass) {
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

    fn acknowledged(&self) -> u64 {
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
struct Seat {
    log: Arc<Log>,
    id: GroupId,
    node: NodeId,
    leadership: watch::Sender<Leadership>,
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
enum Fault {
    None,
    /// Acknowledged by the broker and gone.
    Lose,
    Double,
}

type Faults = Box<dyn Fn(usize) -> Fault + Send>;

/// An MQTT broker as far as it matters here.
struct Cloud {
    inner: Mutex<CloudInner>,
    moved: Notify,
}

struct CloudInner {
    clients: Vec<Client>,
    retained: BTreeMap<String, Message>,
    events: usize,
    faults: Faults,
    /// Every `ev` body that was published, in order.
    batches: Vec<EventBatch>,
}

struct Client {
    filters: Vec<String>,
    up: bool,
    events: mpsc::Sender<LinkEvent>,
}

struct CloudClient {
    cloud: Arc<Cloud>,
    number: usize,
}

impl Cloud {
    fn new(faults: impl Fn(usize) -> Fault + Send + 'static) -> Arc<Self> {
        let inner = CloudInner { clients: Vec::new(), retained: BTreeMap::new(), events: 0, faults: Box::new(faults), batches: Vec::new() };
        Arc::new(Self { inner: Mutex::new(inner), moved: Notify::new() })
    }

    fn connect(self: &Arc<Self>, filters: Vec<String>) -> (Arc<dyn CloudLink>, mpsc::Receiver<LinkEvent>) {
        let (events, received) = mpsc::channel(10_000);
        let number = {
            let mut inner = self.inner.lock();
            inner.clients.push(Client { filters, up: false, events });
            inner.clients.len() - 1
        };
        self.up(number);
        (Arc::new(CloudClient { cloud: self.clone(), number }), received)
    }

    fn up(&self, number: usize) {
        let mut inner = self.inner.lock();
        let CloudInner { clients, retained, .. } = &mut *inner;
        let client = &mut clients[number];
        client.up = true;
        client.events.try_send(LinkEvent::Up).expect("room");
        for message in retained.values().filter(|message| client.filters.iter().any(|filter| filter_matches(filter, &message.topic))) {
            client.events.try_send(LinkEvent::Message(message.clone())).expect("room");
        }
    }

    fn cut(&self, number: usize) {
        let mut inner = self.inner.lock();
        inner.clients[number].up = false;
        inner.clients[number].events.try_send(LinkEvent::Down("cut".into())).expect("room");
    }

    /// Waits until `holds`, looking whenever something was published or applied.
    async fn until(&self, log: &Log, what: &str, mut holds: impl FnMut() -> bool) {
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

/// A site whose numbers the test sets.
#[derive(Default)]
struct Site {
    occupancy: AtomicI64,
}

impl SummarySource for Site {
    fn sensors(&self, _from: Timestamp, _to: Timestamp) -> BTreeMap<String, Aggregate> {
        BTreeMap::new()
    }
    fn counts(&self, _now: Timestamp) -> LocalCounts {
        LocalCounts { occupancy: self.occupancy.load(Ordering::SeqCst), ..LocalCounts::default() }
    }
}

struct Others(Vec<Arc<SummaryMaker>>);

#[async_trait]
impl PeerSummaries for Others {
    async fn collect(&self) -> Vec<SiteSummary> {
        self.0.iter().map(|maker| maker.current()).collect()
    }
}

struct Gateway {
    site: Arc<Site>,
    maker: Arc<SummaryMaker>,
    leadership: watch::Sender<Leadership>,
    status: watch::Receiver<Status>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Gateway {
    fn start(log: &Arc<Log>, cloud: &Arc<Cloud>, node: u64, leads: bool, encoding: Encoding, others: Vec<Arc<SummaryMaker>>) -> Self {
        let leadership = watch::Sender::new(Leadership { leader: Some(NodeId(1)), is_self: leads, term: 1 });
        let seat = Seat { log: log.clone(), id: GroupId::mesh(), node: NodeId(node), leadership: leadership.clone() };
        let group: GroupRef = Arc::new(seat);
        let site = Arc::new(Site::default());
        let now: Now = Arc::new(now);
        let maker = Arc::new(SummaryMaker::new(group.clone(), SiteId::new(format!("s{node}")), site.clone(), now.clone(), timings()));
        let (link, events) = cloud.connect(Uplink::subscriptions(&names()));
        let options = UplinkOptions { names: names(), encoding, timings: timings(), now };
        let uplink = Uplink::new(group, link, maker.clone(), Arc::new(Others(others)), options);
        let status = uplink.status();
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(uplink.run(events, stop.subscribe()));
        Self { site, maker, leadership, status, stop, task }
    }
    fn speaks(&self) -> bool {
        self.status.borrow().epoch.is_some()
    }
}

/// The cloud's consumer, and the ids it was given to keep.
fn consumer(cloud: &Arc<Cloud>) -> (Arc<Mutex<Receiver>>, Arc<Mutex<Vec<u64>>>) {
    let (link, events) = cloud.connect(Receiver::subscriptions(&names()));
    let receiver = Arc::new(Mutex::new(Receiver::new(names(), Encoding::Cbor)));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = kept.clone();
    tokio::spawn(Receiver::run(receiver.clone(), link, events, move |items| keeping.lock().extend(items.iter().map(|item| item.seq))));
    (receiver, kept)
}

fn assert_each_once(kept: &Mutex<Vec<u64>>, upto: u64) {
    let mut seqs = kept.lock().clone();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=upto).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_event_arrives_once_over_a_road_that_loses_and_doubles() {
    let log = Log::new();
    let cloud = Cloud::new(|count| match count % 5 {
        1 | 3 => Fault::Lose,
        4 => Fault::Double,
        _ => Fault::None,
    });
    let (receiver, kept) = consumer(&cloud);
    let gateway = Gateway::start(&log, &cloud, 1, true, Encoding::Json, Vec::new());
    for round in 0..20 {
        for _ in 0..100 {
            log.push(if round % 7 == 3 { OutboxClass::Alarm } else { OutboxClass::State });
        }
        tokio::task::yield_now().await;
    }
    cloud.until(&log, "all acknowledged", || log.acknowledged() == 2000).await;
    assert_each_once(&kept, 2000);
    let counts = receiver.lock().counts();
    assert_eq!((counts.expected, counts.received, counts.missing, counts.lost), (2000, 2000, 0, 0));
    assert!(log.state.read().outbox.items.is_empty(), "the outbox is trimmed");
    let resent: usize = cloud.inner.lock().batches.iter().filter(|batch| batch.historical).map(|batch| batch.items.len()).sum();
    assert!(resent > 0 && gateway.status.borrow().resent > 0, "lost batches were sent again, and say that they are late");
}

#[tokio::test]
async fn the_chair_moves_to_a_gateway_that_reaches_the_cloud_and_comes_back_to_the_leader() {
    let log = Log::new();
    let cloud = Cloud::new(|_| Fault::None);
    let (receiver, kept) = consumer(&cloud);
    let leader = Gateway::start(&log, &cloud, 1, true, Encoding::Cbor, Vec::new());
    let other = Gateway::start(&log, &cloud, 2, false, Encoding::Cbor, Vec::new());
    let feed = |count: u64| (0..count).for_each(|_| log.push(OutboxClass::State));

    feed(10);
    cloud.until(&log, "the leader speaks", || leader.speaks() && log.acknowledged() == 10).await;
    cloud.cut(1);
    feed(10);
    cloud.until(&log, "the other speaks", || other.speaks() && log.acknowledged() == 20).await;
    assert!(!leader.speaks());
    cloud.up(1);
    feed(10);
    cloud.until(&log, "the leader speaks again", || leader.speaks() && !other.speaks() && log.acknowledged() == 30).await;
    assert_each_once(&kept, 30);

    let epochs: Vec<u64> = cloud.inner.lock().batches.iter().map(|batch| batch.epoch).collect();
    assert!(epochs.is_sorted() && epochs.last() > epochs.first(), "{epochs:?}");
    let counts = receiver.lock().counts();
    assert_eq!((counts.stale_epoch, counts.missing, counts.lost), (0, 0, 0));

    // A new leader; the old one stops in good order.
    leader.leadership.send_replace(Leadership { leader: Some(NodeId(2)), is_self: false, term: 2 });
    other.leadership.send_replace(Leadership { leader: Some(NodeId(2)), is_self: true, term: 2 });
    leader.stop.send_replace(true);
    leader.task.await.expect("ends");
    feed(5);
    cloud.until(&log, "the new leader speaks", || other.speaks() && log.acknowledged() == 35).await;
    let nodes = receiver.lock().nodes().clone();
    assert_eq!(nodes.get(&NodeId(1)).map(|node| node.online), Some(false));
    assert_eq!(nodes.get(&NodeId(2)).map(|node| node.role.as_str()), Some("speaker"));
}

#[tokio::test]
async fn a_cut_cloud_costs_nothing_but_time() {
    let log = Log::new();
    let cloud = Cloud::new(|_| Fault::None);
    let (receiver, kept) = consumer(&cloud);
    let gateway = Gateway::start(&log, &cloud, 1, true, Encoding::Cbor, Vec::new());
    log.push(OutboxClass::State);
    cloud.until(&log, "it speaks", || gateway.speaks() && log.acknowledged() == 1).await;
    cloud.cut(1);
    (0..3000).for_each(|_| log.push(OutboxClass::Audit));
    cloud.until(&log, "it steps back", || !gateway.speaks()).await;
    assert_eq!(log.acknowledged(), 1);
    cloud.up(1);
    cloud.until(&log, "all acknowledged", || log.acknowledged() == 3001).await;
    assert_each_once(&kept, 3001);
    assert_eq!(receiver.lock().counts().missing, 0);
}

#[tokio::test]
async fn summaries_of_all_sites_go_up_when_they_change_and_only_then() {
    let log = Log::new();
    let cloud = Cloud::new(|_| Fault::None);
    let (receiver, _) = consumer(&cloud);
    let second = Gateway::start(&log, &cloud, 2, false, Encoding::Cbor, Vec::new());
    let first = Gateway::start(&log, &cloud, 1, true, Encoding::Cbor, vec![second.maker.clone()]);
    let seen = |site: &str| receiver.lock().summaries().get(&SiteId::new(site)).map(|summary| (summary.seq, summary.occupancy));
    cloud.until(&log, "both sites", || seen("s1") == Some((1, 0)) && seen("s2") == Some((1, 0))).await;

    second.site.occupancy.store(7, Ordering::SeqCst);
    cloud.until(&log, "the change", || seen("s2") == Some((2, 7))).await;
    // Each look that found a change would have been seen by now: the next change comes behind them.
    first.site.occupancy.store(1, Ordering::SeqCst);
    cloud.until(&log, "the other change", || seen("s1") == Some((2, 1))).await;
    let counts = receiver.lock().counts();
    assert_eq!((counts.summaries, counts.summaries_repeated, counts.summaries_skipped), (4, 0, 0));
    assert!(first.speaks());
}

#[tokio::test]
async fn what_the_cloud_says_wrongly_changes_nothing() {
    let log = Log::new();
    let cloud = Cloud::new(|_| Fault::None);
    let (link, _events) = cloud.connect(Vec::new());
    let gateway = Gateway::start(&log, &cloud, 1, true, Encoding::Cbor, Vec::new());
    log.push(OutboxClass::Alarm);
    cloud.until(&log, "it is sent", || !cloud.inner.lock().batches.is_empty()).await;
    let own = incarnation(&names(), &log.state.read()).expect("it was born");
    let say = |incarnation: &str, upto_seq| {
        names().message(&CloudTopic::Ack, &EventAck { incarnation: incarnation.into(), upto_seq }, Encoding::Json, true).expect("encodes")
    };
    let mut garbage = say(&own, 1);
    garbage.payload = vec![0xff; 40].into();
    for message in [garbage, say("another life", 1), say(&own, 99)] {
        link.publish(message).await.expect("is sent");
    }
    let sent = AtomicUsize::new(cloud.inner.lock().batches.len());
    // It goes on sending: nothing was acknowledged.
    cloud.until(&log, "it is sent again", || cloud.inner.lock().batches.len() > sent.load(Ordering::SeqCst)).await;
    assert_eq!(log.acknowledged(), 0);
    link.publish(say(&own, 1)).await.expect("is sent");
    cloud.until(&log, "the true one counts", || log.acknowledged() == 1).await;
    assert!(gateway.speaks());
}

#[test]
fn a_replaced_speaker_is_refused_by_the_cloud() {
    let mut receiver = Receiver::new(names(), Encoding::Cbor);
    let item = |seq| OutboxItem {
        seq,
        class: OutboxClass::State,
        event: Event {
            id: "x".into(),
            source: "/t".into(),
            kind: "t".into(),
            subject: None,
            time: Timestamp(0),
            data: Value::Null,
            extensions: BTreeMap::new(),
        },
    };
    let batch = |epoch, seq| {
        let body = EventBatch { incarnation: "i".into(), epoch, historical: false, items: vec![item(seq)] };
        names().message(&CloudTopic::Events, &body, Encoding::Cbor, false).expect("encodes")
    };
    assert!(receiver.take(&batch(1, 1), Instant::now()).replies.is_empty(), "before a birth nobody knows where to begin");
    let birth = spalla_shared::summary::Birth {
        incarnation: "i".into(),
        epoch: 2,
        first_seq: 1,
        at: Timestamp(0),
        nodes: BTreeMap::new(),
        flows: Vec::new(),
    };
    receiver.take(&names().message(&CloudTopic::Birth, &birth, Encoding::Json, true).expect("encodes"), Instant::now());
    assert!(receiver.take(&batch(1, 1), Instant::now()).items.is_empty());
    assert_eq!(receiver.take(&batch(2, 1), Instant::now()).items.len(), 1);
    assert_eq!(receiver.counts().stale_epoch, 1);
}

#[test]
fn a_site_counts_its_own_devices_and_only_live_readings() {
    use crate::telemetry::Telemetry;
    use spalla_shared::engine::state::{Attachment, DeviceState};
    use spalla_shared::id::DeviceId;
    use spalla_shared::resource::Device;

    let log = Log::new();
    for (name, attached) in [("hq/door-1", true), ("hq/door-2", true), ("hq/gone", false), ("plant/door-1", true)] {
        let id = DeviceId::new(name);
        let device = Device {
            id: id.clone(),
            profile: "door".into(),
            title: "".into(),
            zone: None,
            groups: Vec::new(),
            opens: None,
            password_hash: None,
        };
        let attachment = Attachment { node: NodeId(1), session: 1, since: Timestamp(0) };
        let state = DeviceState { device, attached: attached.then_some(attachment), changed_at: Timestamp(0) };
        log.state.write().devices.insert(id, state);
    }
    let telemetry = Arc::new(Telemetry::default());
    let says = |device: &str, property: &str, value: Value, at: i64| {
        telemetry.record(&DeviceId::new(device), property, value, Timestamp(at), Timestamp(at), 1_000).expect("records");
    };
    says("hq/door-1", "contact", Value::from("open"), 9_900);
    says("hq/door-1", "held", Value::from(true), 9_900);
    says("hq/door-2", "contact", Value::from("closed"), 9_900);
    says("hq/gone", "contact", Value::from("open"), 10);
    says("hq/counter-1", "occupancy", Value::Int(12), 9_900);
    says("hq/counter-2", "occupancy", Value::Int(3), 9_900);
    let leadership = watch::Sender::new(Leadership::default());
    let group: GroupRef = Arc::new(Seat { log, id: GroupId::mesh(), node: NodeId(1), leadership });
    let view = SiteView { group, site: "hq".into(), telemetry };
    let doors = spalla_shared::summary::Doors { open: 1, forced: 0, held: 1 };
    let counts = view.counts(Timestamp(10_000));
    assert_eq!(counts, LocalCounts { occupancy: 15, doors, devices_live: 2, devices_stale: 1 });
    assert!(view.sensors(Timestamp(0), Timestamp(10_000)).contains_key("hq/counter-1/occupancy"));
}
