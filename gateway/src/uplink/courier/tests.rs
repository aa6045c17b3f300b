use super::*;
use spalla_shared::event::Event;
use spalla_shared::value::Value;

fn item(seq: u64, class: OutboxClass, data: Value) -> OutboxItem {
    let event = Event {
        id: seq.to_string().into(),
        source: "/test".into(),
        kind: "test".into(),
        subject: None,
        time: Timestamp(0),
        data,
        extensions: Default::default(),
    };
    OutboxItem { seq, class, event }
}
fn outbox(acknowledged_seq: u64, newest_seq: u64) -> Outbox {
    let items = (acknowledged_seq + 1..=newest_seq).map(|seq| item(seq, OutboxClass::State, Value::Null)).collect();
    Outbox { newest_seq, acknowledged_seq, items, ..Outbox::default() }
}
fn seqs(batch: &Batch) -> Vec<u64> {
    batch.body().iter().map(|item| item.seq).collect()
}
/// A courier, its start, and a way to send all that is due at a second.
struct Road {
    courier: Courier,
    start: Instant,
}
impl Road {
    fn new(outbox: &Outbox) -> Self {
        let mut courier = Courier::new(Timings::default());
        courier.begin(outbox.acknowledged_seq);
        Self { courier, start: Instant::now() }
    }
    fn at(&mut self, seconds: f64, outbox: &Outbox) -> Vec<Batch> {
        let now = self.start + Duration::from_secs_f64(seconds);
        let mut sent = Vec::new();
        while let Some(batch) = self.courier.next(outbox, now, Timestamp(0)) {
            assert!(sent.len() < 100, "no end");
            self.courier.sent(&batch, now);
            sent.push(batch);
        }
        sent
    }
}

#[test]
fn events_wait_for_company_alarms_and_full_batches_do_not() {
    let mut outbox = outbox(5, 7);
    let mut road = Road::new(&outbox);
    assert!(road.at(0.0, &outbox).is_empty());
    assert!(road.at(0.9, &outbox).is_empty());
    assert_eq!(road.at(1.0, &outbox).iter().map(seqs).collect::<Vec<_>>(), [[6, 7]]);
    assert!(road.at(5.0, &outbox).is_empty(), "nothing is sent twice without a reason");
    outbox.items.push_back(item(8, OutboxClass::Alarm, Value::Null));
    outbox.newest_seq = 8;
    assert_eq!(road.at(5.0, &outbox).iter().map(seqs).collect::<Vec<_>>(), [[8]]);

    let mut large = Outbox::default();
    for seq in 1..=5 {
        large.items.push_back(item(seq, OutboxClass::State, Value::from("x".repeat(30_000))));
    }
    large.newest_seq = 5;
    let mut road = Road::new(&large);
    assert_eq!(road.at(0.0, &large).iter().map(seqs).collect::<Vec<_>>(), [[1, 2], [3, 4]]);
    assert_eq!(road.at(1.0, &large).iter().map(seqs).collect::<Vec<_>>(), [[5]]);
}

#[test]
fn the_window_bounds_what_is_on_the_road() {
    let outbox = outbox(0, 20_000);
    let mut road = Road::new(&outbox);
    let sent = road.at(0.0, &outbox);
    assert_eq!(sent.len(), WINDOW);
    let reached = seqs(&sent[WINDOW - 1]).last().copied().unwrap_or_default();
    let mut acknowledged = outbox.clone();
    acknowledged.acknowledged_seq = reached;
    let more = road.at(0.0, &acknowledged);
    assert_eq!(seqs(&more[0])[0], reached + 1, "it goes on where it stopped");
}

#[test]
fn what_stays_unacknowledged_is_sent_again_ever_more_slowly() {
    let outbox = outbox(0, 3);
    let mut road = Road::new(&outbox);
    assert!(!road.at(0.0, &outbox).iter().chain(&road.at(1.0, &outbox)).any(|batch| batch.historical));
    assert!(road.at(10.9, &outbox).is_empty());
    let again = road.at(11.0, &outbox);
    assert_eq!((seqs(&again[0]), again[0].historical), (vec![1, 2, 3], true));
    assert!(road.at(30.9, &outbox).is_empty(), "twice as long the second time");
    assert_eq!(road.at(31.0, &outbox).len(), 1);
    let mut acknowledged = outbox.clone();
    acknowledged.acknowledged_seq = 3;
    acknowledged.items.clear();
    assert!(road.at(500.0, &acknowledged).is_empty());
}

#[test]
fn a_gap_is_sent_first_and_only_what_was_sent_can_be_missing() {
    let mut outbox = outbox(0, 9);
    let mut road = Road::new(&outbox);
    road.at(0.0, &outbox);
    road.at(1.0, &outbox);
    outbox.items.push_back(item(10, OutboxClass::Alarm, Value::Null));
    outbox.newest_seq = 10;
    road.courier.gap(4, 6);
    road.courier.gap(4, 6);
    road.courier.gap(10, 99);
    let sent = road.at(1.0, &outbox);
    assert_eq!(sent.iter().map(|batch| (seqs(batch), batch.historical)).collect::<Vec<_>>(), [(vec![4, 5, 6], true), (vec![10], false)]);
    outbox.acknowledged_seq = 6;
    outbox.items.retain(|item| item.seq > 6);
    road.courier.gap(2, 3);
    assert!(road.at(1.0, &outbox).is_empty(), "acknowledged items are gone");
}

#[test]
fn dropped_sequences_are_explained_before_the_cloud_waits_for_them() {
    let mut outbox = outbox(0, 20_000);
    outbox.items.retain(|item| !matches!(item.seq, 2 | 4..=6));
    let number = Value::Int;
    let data =
        Value::object([("ranges", Value::array(vec![Value::array(vec![number(2), number(2)]), Value::array(vec![number(4), number(6)])]))]);
    let mut note = item(20_001, OutboxClass::Audit, data);
    note.event.kind = DROPPED.into();
    outbox.items.push_back(note);
    outbox.newest_seq = 20_001;
    let mut road = Road::new(&outbox);
    let first = seqs(&road.at(0.0, &outbox)[0]);
    assert_eq!(first[..4], [1, 3, 7, 8]);
    assert_eq!(first.last(), Some(&20_001), "the note comes along, far ahead of its turn");
    road.courier.gap(4, 5);
    assert_eq!(road.at(0.0, &outbox).iter().map(seqs).collect::<Vec<_>>(), [[20_001]]);
}
