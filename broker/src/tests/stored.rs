//! A broker with a store: what outlives it. It is shut down and started again here; `tests/conformance/kill.rs`
//! kills one in a process of its own.

use super::house::*;
use crate::client::{Client, ClientConfig, ClientEvent, Version};
use crate::message::{Message, Qos};
use crate::server::{Broker, BrokerConfig, Limits, StartError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

fn config(folder: &Path, limits: Limits) -> BrokerConfig {
    BrokerConfig { tcp: Some(([127, 0, 0, 1], 0).into()), store: Some(folder.join("broker.db")), limits, ..BrokerConfig::default() }
}

async fn reopen(house: &mut Fixture, folder: &Path, limits: Limits) {
    house.broker.shutdown().await;
    house.broker = Broker::start(config(folder, limits), house.house.clone()).await.expect("starts again");
}

async fn open_stored(folder: &Path, limits: Limits) -> Fixture {
    let mut house = open().await;
    house.broker.shutdown().await;
    house.broker = Broker::start(config(folder, limits), house.house.clone()).await.expect("starts");
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_queues_and_retained_messages_outlive_the_broker_and_commands_do_not() {
    let folder = TempDir::new().expect("a folder");
    let mut house = open_stored(folder.path(), Limits::default()).await;
    for version in BOTH {
        let id = format!("device:hq/{version:?}");
        let sleeper = ClientConfig { clean: false, ..house.config(&id, version) };
        let (client, _events) = house.join(sleeper.clone()).await;
        client.subscribe("#", Qos::ExactlyOnce).await.expect("granted");
        client.disconnect().await;
        until(|| !house.broker.is_connected(&id)).await;
        let (giver, _events) = house.client("service:giver", Version::V5).await;
        let topic = format!("t/{version:?}");
        within(giver.publish(text(&topic, "0", Qos::AtMostOnce))).await.expect("sent");
        within(giver.publish(text(&topic, "1", Qos::AtLeastOnce))).await.expect("acknowledged");
        within(giver.publish(text(&topic, "2", Qos::ExactlyOnce))).await.expect("acknowledged");
        within(giver.publish(text("spalla/v1/hq/lock/command", "UNLOCK", Qos::AtLeastOnce))).await.expect("acknowledged");
        within(giver.publish(Message { retain: true, ..text("kept/a", "old", Qos::AtLeastOnce) })).await.expect("acknowledged");
        within(giver.publish(Message { retain: true, ..text("kept/b", "b", Qos::AtLeastOnce) })).await.expect("acknowledged");
        within(giver.publish(Message { retain: true, ..text("kept/a", "", Qos::AtLeastOnce) })).await.expect("acknowledged");
        giver.disconnect().await;
        reopen(&mut house, folder.path(), Limits { sys_every: Duration::ZERO, ..Limits::default() }).await;
        assert_eq!(house.broker.stats().retained, 1);
        let sleeper = ClientConfig { port: house.port(), ..sleeper };
        let (back, mut events) = Client::connect(sleeper).expect("usable");
        assert_eq!(within(events.recv()).await, Some(ClientEvent::Connected { session_present: true }));
        house.broker.publish(text(&topic, "end", Qos::AtLeastOnce)).await.expect("routed");
        let got = payloads_to(&mut events, "end").await;
        assert_eq!(got, ["1", "2", "old", "b", "", "end"], "{version:?}");
        let end_it = ClientConfig { clean: true, ..house.config(&id, version) };
        back.disconnect().await;
        house.join(end_it).await.0.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_flight_is_sent_again_after_a_restart_with_its_packet_id() {
    let folder = TempDir::new().expect("a folder");
    let mut house = open_stored(folder.path(), Limits::default()).await;
    let mut raw = house.raw().await;
    raw.join_v4("again", false, 60).await;
    raw.send(b"\x82\x06\x00\x01\x00\x01t\x02").await;
    raw.expect(b"\x90\x03\x00\x01\x02").await;
    let mut giver = house.raw().await;
    giver.join_v4("giver", true, 60).await;
    giver.send(b"\x32\x06\x00\x01t\x00\x011\x34\x06\x00\x01t\x00\x022\x34\x06\x00\x01t\x00\x033").await;
    giver.expect(b"\x40\x02\x00\x01\x50\x02\x00\x02\x50\x02\x00\x03").await;
    raw.expect(b"\x32\x06\x00\x01t\x00\x011\x34\x06\x00\x01t\x00\x022\x34\x06\x00\x01t\x00\x033").await;
    raw.send(b"\x50\x02\x00\x02").await;
    raw.expect(b"\x62\x02\x00\x02").await;
    reopen(&mut house, folder.path(), Limits::default()).await;
    let mut raw = house.raw().await;
    raw.join_v4("again", false, 60).await;
    raw.expect(b"\x3a\x06\x00\x01t\x00\x011\x62\x02\x00\x02\x3c\x06\x00\x01t\x00\x033").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_message_that_was_taken_before_a_restart_is_not_taken_again_after() {
    let folder = TempDir::new().expect("a folder");
    let mut house = open_stored(folder.path(), Limits::default()).await;
    let mut raw = house.raw().await;
    raw.join_v4("twice", false, 60).await;
    raw.begin_qos_2(false).await;
    reopen(&mut house, folder.path(), Limits::default()).await;
    let mut raw = house.raw().await;
    raw.join_v4("twice", false, 60).await;
    raw.begin_qos_2(true).await;
    raw.end_qos_2().await;
    assert_eq!(house.logged("twice t x").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_will_of_a_client_that_does_not_return_after_a_restart_is_published_and_of_one_that_does_is_not() {
    let folder = TempDir::new().expect("a folder");
    let limits = Limits { will_grace: Duration::from_secs(3), ..Limits::default() };
    let mut house = open_stored(folder.path(), limits.clone()).await;
    let mut clients = Vec::new();
    for id in ["gone", "back"] {
        let will = Some(Message { retain: true, ..text(&format!("online/{id}"), "false", Qos::AtLeastOnce) });
        let mut raw = house.raw().await;
        let mut body = b"\x00\x04MQTT\x04\xe6\x00\x3c".to_vec();
        for part in [id, &will.as_ref().expect("a will").topic, "false", id, "secret"] {
            body.extend([0, part.len() as u8]);
            body.extend(part.as_bytes());
        }
        raw.send(&[&[0x10, body.len() as u8], &body[..]].concat()).await;
        raw.expect(b"\x20\x02\x00\x00").await;
        clients.push(raw);
    }
    // The notes on wills are made durable by whatever is acknowledged after them.
    let (giver, _events) = house.client("giver", Version::V5).await;
    within(giver.publish(Message { retain: true, ..text("x", "x", Qos::AtLeastOnce) })).await.expect("acknowledged");
    giver.disconnect().await;
    reopen(&mut house, folder.path(), limits).await;
    let (_back, _events) = house.join(ClientConfig { client_id: "back".into(), ..house.config("back", Version::V4) }).await;
    let (watcher, mut seen) = house.client("watcher", Version::V5).await;
    watcher.subscribe("online/#", Qos::AtLeastOnce).await.expect("granted");
    let will = message(&mut seen).await;
    assert_eq!((will.topic.as_str(), &will.payload[..]), ("online/gone", &b"false"[..]));
    within(watcher.publish(text("online/end", "end", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut seen, "end").await, ["end"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_message_is_not_brought_back() {
    let folder = TempDir::new().expect("a folder");
    let mut house = open_stored(folder.path(), Limits::default()).await;
    let sleeper = ClientConfig { clean: false, ..house.config("sleeper", Version::V4) };
    let (client, _events) = house.join(sleeper.clone()).await;
    client.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
    client.disconnect().await;
    until(|| house.broker.stats().connections == 0).await;
    let soon = crate::clock::now().plus(4000);
    let brief = Message { expires_at: Some(soon), ..text("t", "brief", Qos::AtLeastOnce) };
    house.broker.publish(brief.clone()).await.expect("routed");
    house.broker.publish(Message { retain: true, topic: "kept".into(), ..brief }).await.expect("routed");
    house.settled().await;
    until(|| crate::clock::now() > soon).await;
    reopen(&mut house, folder.path(), Limits { sys_every: Duration::ZERO, ..Limits::default() }).await;
    assert_eq!(house.broker.stats().retained, 0);
    let (back, mut events) = house.join(ClientConfig { port: house.port(), ..sleeper }).await;
    within(back.publish(text("t", "end", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut events, "end").await, ["end"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_damaged_or_somebody_elses_or_in_use_stops_the_start_with_its_name() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("broker.db");
    let house = open_stored(folder.path(), Limits::default()).await;
    let refused = |hooks: Arc<House>| {
        let config = config(folder.path(), Limits::default());
        async move {
            match Broker::start(config, hooks).await {
                Err(StartError::Store(error)) => error.to_string(),
                Err(other) => panic!("refused for another reason: {other}"),
                Ok(_) => panic!("started"),
            }
        }
    };
    let locked = refused(house.house.clone()).await;
    assert!(locked.contains("broker.db") && locked.contains("locked"), "{locked}");
    let (giver, _events) = house.client("giver", Version::V5).await;
    for number in 0..200 {
        let kept = Message { retain: true, ..text(&format!("kept/{number}"), &"x".repeat(500), Qos::AtLeastOnce) };
        within(giver.publish(kept)).await.expect("acknowledged");
    }
    house.broker.shutdown().await;
    let whole = std::fs::read(&file).expect("written");
    let mut rotten = whole.clone();
    let at = rotten.windows(500).rposition(|part| part.iter().all(|byte| *byte == b'x')).expect("a payload");
    rotten[at + 100] ^= 1;
    std::fs::write(&file, &rotten).expect("written");
    let damaged = refused(house.house.clone()).await;
    assert!(damaged.contains("broker.db") && damaged.contains("checksum") && !damaged.contains('\n'), "{damaged}");
    std::fs::write(&file, b"this is no database, whatever its name says, and it is long enough to be looked at as one ................")
        .expect("written");
    let foreign = refused(house.house.clone()).await;
    assert!(foreign.contains("not a database"), "{foreign}");
    std::fs::write(&file, &whole).expect("written");
    let again = Broker::start(config(folder.path(), Limits::default()), house.house.clone()).await.expect("whole again");
    assert!(again.stats().retained >= 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_refuses_nothing_that_needs_it_is_acknowledged_and_the_broker_says_so() {
    let folder = TempDir::new().expect("a folder");
    // The smallest file there may be: 1 MiB.
    let house = open_stored(folder.path(), Limits { store_bytes: 0, ..Limits::default() }).await;
    let (giver, _events) = house.client("giver", Version::V5).await;
    let mut kept = 0;
    let unacknowledged = loop {
        let message = Message { retain: true, ..text(&format!("kept/{kept}"), &"x".repeat(60_000), Qos::AtLeastOnce) };
        let giver = giver.clone();
        let sending = tokio::spawn(async move { giver.publish(message).await });
        let mut sending = sending;
        tokio::select! {
            sent = &mut sending => sent.expect("ran").expect("acknowledged"),
            () = until(|| house.broker.health().store_fault.is_some()) => break sending,
        }
        kept += 1;
        assert!(kept < 100, "6 MB in a file of 1 MiB");
    };
    assert!(!house.broker.health().is_good() && !unacknowledged.is_finished());
    // What needs no disk goes on.
    let (other, mut events) = house.client("other", Version::V4).await;
    other.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
    within(other.publish(text("t", "x", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut events, "x").await, ["x"]);
}
