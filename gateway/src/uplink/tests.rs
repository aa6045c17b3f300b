//! The uplink against an in-process cloud that loses, doubles and is cut; gateways share one applied log.

mod fake;

use super::receiver::Receiver;

use super::*;
use crate::config::{Cloud as CloudConfig, Encoding, MqttVersion};
use crate::consensus::{GroupRef, Leadership};
use async_trait::async_trait;
use fake::{Cloud, Fault, Log, Seat};
use parking_lot::Mutex;
use spalla_shared::engine::outbox::{OutboxClass, OutboxItem};
use spalla_shared::event::Event;
use spalla_shared::id::{GroupId, NodeId, SiteId};
use spalla_shared::summary::{Aggregate, EventAck, EventBatch, SiteSummary};
use spalla_shared::topic::CloudTopic;
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};
use tokio::sync::watch;

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
        let device = Device { profile: "door".into(), ..Device::new(id.clone()) };
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
    says("hq/door-2", "open", Value::from(false), 9_900);
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

/// Waits until `holds`, looking at each entry of the log.
async fn until_applied(log: &Log, what: &str, mut holds: impl FnMut() -> bool) {
    let mut applied = log.applied.subscribe();
    let waiting = applied.wait_for(|_| holds());
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}")).expect("log");
}

struct Nobody;

#[async_trait]
impl PeerSummaries for Nobody {
    async fn collect(&self) -> Vec<SiteSummary> {
        Vec::new()
    }
}

/// The same over sockets: a broker that is stopped and started again between gateway and consumer.
async fn over_real_mqtt(mqtt: MqttVersion, encoding: Encoding) {
    use spalla_broker::hooks::AllowAll;
    use spalla_broker::server::{Broker, BrokerConfig};

    let listen = |address: std::net::SocketAddr| BrokerConfig { tcp: Some(address), ..BrokerConfig::default() };
    let broker = Broker::start(listen("127.0.0.1:0".parse().expect("address")), Arc::new(AllowAll)).await.expect("starts");
    let address = broker.addresses().tcp.expect("listens");
    let cloud = CloudConfig { url: format!("mqtt://{address}"), username: None, password_file: None, ca: None, mqtt, encoding };

    let (link, events) = mqtt::connect(&cloud, "consumer", Receiver::subscriptions(&names()), None).expect("connects");
    let receiver = Arc::new(Mutex::new(Receiver::new(names(), encoding)));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = kept.clone();
    tokio::spawn(Receiver::run(receiver.clone(), link, events, move |items| keeping.lock().extend(items.iter().map(|item| item.seq))));

    let log = Log::new();
    let leadership = watch::Sender::new(Leadership { leader: Some(NodeId(1)), is_self: true, term: 1 });
    let group: GroupRef = Arc::new(Seat { log: log.clone(), id: GroupId::mesh(), node: NodeId(1), leadership });
    let now: Now = Arc::new(now);
    let site = Arc::new(Site::default());
    let maker = Arc::new(SummaryMaker::new(group.clone(), "hq".into(), site, now.clone(), timings()));
    let options = UplinkOptions { names: names(), encoding, timings: Timings { resend_after: Duration::from_secs(2), ..timings() }, now };
    let running = start(&cloud, group, maker, Arc::new(Nobody), options).expect("starts");

    // Before anybody spoke to a cloud fewer are kept.
    until_applied(&log, "a speaker", || log.state.read().outbox.speaker.is_some()).await;
    (0..1500).for_each(|_| log.push(OutboxClass::State));
    until_applied(&log, "acknowledged over MQTT", || log.acknowledged() == 1500).await;
    broker.shutdown().await;
    let mut status = running.status.clone();
    (0..1500).for_each(|_| log.push(OutboxClass::Alarm));
    tokio::time::timeout(Duration::from_secs(30), status.wait_for(|status| !status.connected)).await.expect("notices").expect("runs");
    let _broker = Broker::start(listen(address), Arc::new(AllowAll)).await.expect("starts again");
    until_applied(&log, "acknowledged after the cut", || log.acknowledged() == 3000).await;

    assert_each_once(&kept, 3000);
    let counts = receiver.lock().counts();
    assert_eq!((counts.expected, counts.received, counts.missing, counts.lost, counts.undecodable), (3000, 3000, 0, 0, 0));
    assert_eq!(receiver.lock().summaries().keys().map(SiteId::as_str).collect::<Vec<_>>(), ["hq"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_once_over_mqtt_5_and_a_broker_that_restarts() {
    over_real_mqtt(MqttVersion::V5, Encoding::Cbor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_once_over_mqtt_3_in_json() {
    over_real_mqtt(MqttVersion::V4, Encoding::Json).await;
}
