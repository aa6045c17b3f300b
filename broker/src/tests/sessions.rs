//! Sessions over connections: resumption, takeover, wills, offline queues, slow readers, shutdown.

use super::house::*;
use crate::client::{Client, ClientConfig, ClientEvent, Version};
use crate::message::{Message, Qos};
use crate::server::{Broker, BrokerConfig, Limits, StartError};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_asked_for_is_kept_and_others_are_not() {
    let house = open().await;
    for version in BOTH {
        for clean in [false, true] {
            let config = ClientConfig { clean, ..house.config("sleeper", version) };
            let (sleeper, _events) = house.join(config.clone()).await;
            sleeper.subscribe("t/#", Qos::ExactlyOnce).await.expect("granted");
            sleeper.disconnect().await;
            until(|| house.broker.stats().connections == 0).await;
            assert_eq!(house.broker.stats().sessions, u64::from(!clean));
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                house.broker.publish(text("t/1", &format!("{qos:?}"), qos)).await.expect("routed");
            }
            house.settled().await;
            let (back, mut events) = Client::connect(config).expect("usable");
            assert_eq!(within(events.recv()).await, Some(ClientEvent::Connected { session_present: !clean }));
            if clean {
                back.subscribe("t/#", Qos::ExactlyOnce).await.expect("granted");
            }
            within(back.publish(text("t/1", "end", Qos::AtLeastOnce))).await.expect("acknowledged");
            let expected: &[&str] = if clean { &["end"] } else { &["AtLeastOnce", "ExactlyOnce", "end"] };
            assert_eq!(payloads_to(&mut events, "end").await, expected, "{version:?}");
            back.disconnect().await;
            let end_it = ClientConfig { clean: true, ..house.config("sleeper", version) };
            house.join(end_it).await.0.disconnect().await;
            until(|| house.broker.stats().sessions == 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_is_sent_again_with_dup_and_its_packet_id() {
    let house = open().await;
    let mut raw = house.raw().await;
    raw.join_v4("again", false, 60).await;
    raw.send(b"\x82\x06\x00\x01\x00\x01t\x01").await;
    raw.expect(b"\x90\x03\x00\x01\x01").await;
    house.broker.publish(text("t", "1", Qos::AtLeastOnce)).await.expect("routed");
    house.broker.publish(text("t", "2", Qos::AtLeastOnce)).await.expect("routed");
    raw.expect(b"\x32\x06\x00\x01t\x00\x011\x32\x06\x00\x01t\x00\x022").await;
    raw.send(b"\x40\x02\x00\x01\xc0\x00").await;
    raw.expect(b"\xd0\x00").await;
    drop(raw);
    let mut raw = house.raw().await;
    raw.join_v4("again", false, 60).await;
    raw.expect(b"\x3a\x06\x00\x01t\x00\x022").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_message_sent_twice_is_taken_once() {
    let house = open().await;
    let mut raw = house.raw().await;
    raw.join_v4("twice", true, 60).await;
    raw.begin_qos_2(false).await;
    raw.begin_qos_2(true).await;
    raw.end_qos_2().await;
    assert_eq!(house.logged("twice t x").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_takes_over_and_the_old_ones_will_comes_first() {
    let house = open().await;
    let (watcher, mut seen) = house.client("watcher", Version::V5).await;
    watcher.subscribe("online/#", Qos::AtLeastOnce).await.expect("granted");
    let will = |text_: &str| Some(Message { retain: true, ..text("online/d", text_, Qos::AtLeastOnce) });
    let (_old, mut old_events) = house.join(ClientConfig { will: will("old gone"), ..house.config("d", Version::V5) }).await;
    // The old client comes back by itself; it must not, here.
    let (new, _events) = house.join(ClientConfig { will: will("new gone"), ..house.config("d", Version::V4) }).await;
    let reason = disconnected(&mut old_events).await;
    assert!(reason.contains("SessionTakenOver"), "{reason}");
    drop((_old, old_events));
    within(new.publish(text("online/d", "new here", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut seen, "new here").await, ["old gone", "new here"]);
    new.cut();
    assert_eq!(payloads_to(&mut seen, "new gone").await, ["new gone"]);
    let (polite, _events) = house.join(ClientConfig { will: will("never"), ..house.config("e", Version::V5) }).await;
    polite.disconnect().await;
    house.broker.publish(text("online/end", "end", Qos::AtLeastOnce)).await.expect("routed");
    assert_eq!(payloads_to(&mut seen, "end").await, ["end"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_over_the_session_of_another_principal() {
    let house = open().await;
    let (_one, mut events) = house.join(ClientConfig { client_id: "same".into(), ..house.config("one", Version::V5) }).await;
    let (_two, _events) = house.join(ClientConfig { client_id: "same".into(), ..house.config("two", Version::V5) }).await;
    assert_eq!(house.broker.stats().connections, 2);
    assert!(events.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_past_the_keep_alive_ends_the_connection_and_publishes_the_will() {
    let house = open().await;
    let (watcher, mut seen) = house.client("watcher", Version::V5).await;
    watcher.subscribe("will", Qos::AtLeastOnce).await.expect("granted");
    let mut raw = house.raw().await;
    let mut body = b"\x00\x04MQTT\x04\xce\x00\x01".to_vec();
    for part in ["mute", "will", "gone", "mute", "secret"] {
        body.extend([0, part.len() as u8]);
        body.extend(part.as_bytes());
    }
    raw.send(&[&[0x10, body.len() as u8], &body[..]].concat()).await;
    raw.expect(b"\x20\x02\x00\x00").await;
    assert_eq!(payloads_to(&mut seen, "gone").await, ["gone"]);
    assert_eq!(raw.rest().await, b"");
    assert_eq!(house.broker.stats().ended.get("keep-alive"), Some(&1));
    assert_eq!(house.logged("-mute 2").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_is_sent_does_not_keep_it_alive() {
    let house = open().await;
    let mut raw = house.raw().await;
    raw.join_v4("mute", true, 1).await;
    raw.send(b"\x82\x06\x00\x01\x00\x01t\x00").await;
    raw.expect(b"\x90\x03\x00\x01\x00").await;
    // Read all the while, so that it is not the slow one that is ended.
    let reading = tokio::spawn(async move { raw.rest().await.len() });
    let mut sent = 0;
    within(async {
        while !house.broker.stats().ended.contains_key("keep-alive") {
            house.broker.publish(text("t", "x", Qos::AtMostOnce)).await.expect("routed");
            sent += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let read = within(reading).await.expect("ended");
    assert!(sent > 10 && read > 10, "it was sent {sent} messages and read {read} bytes");
    assert_eq!(house.broker.stats().ended.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_topics_and_subscriptions_that_are_gone_leave_nothing_behind() {
    let house = open().await;
    for round in 0..200 {
        let mut raw = house.raw().await;
        raw.join_v4(&format!("c{round}"), true, 60).await;
        let filter = format!("once/{round:03}");
        raw.send(&[&b"\x82\x0d\x00\x01\x00\x08"[..], filter.as_bytes(), b"\x01"].concat()).await;
        raw.expect(b"\x90\x03\x00\x01\x01").await;
        raw.send(&[&b"\x30\x0b\x00\x08"[..], filter.as_bytes(), b"x"].concat()).await;
        raw.expect(&[&b"\x30\x0b\x00\x08"[..], filter.as_bytes(), b"x"].concat()).await;
        raw.send(b"\xe0\x00").await;
        assert_eq!(raw.rest().await, b"");
    }
    until(|| house.broker.stats().sessions == 0).await;
    let stats = house.broker.stats();
    assert_eq!((stats.connections, stats.subscriptions, stats.received), (0, 0, 200));
    assert!(house.broker.core.table.lock().is_empty(), "levels of topics nobody subscribes to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_offline_queue_is_bounded_counted_and_keeps_the_newest() {
    let house = open_with(Limits { offline_queue: 3, ..Limits::default() }).await;
    let config = ClientConfig { clean: false, ..house.config("sleeper", Version::V4) };
    let (sleeper, _events) = house.join(config.clone()).await;
    sleeper.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
    sleeper.disconnect().await;
    until(|| house.broker.stats().connections == 0).await;
    for number in 0..10 {
        house.broker.publish(text("t", &number.to_string(), Qos::AtLeastOnce)).await.expect("routed");
    }
    until(|| house.broker.stats().dropped.get("offline-full") == Some(&7)).await;
    let (_back, mut events) = house.join(config).await;
    assert_eq!(payloads_to(&mut events, "9").await, ["7", "8", "9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_reads_nothing_is_disconnected_and_counted_and_nobody_waits_for_it() {
    let house = open_with(Limits { outgoing_queue: 16, ..Limits::default() }).await;
    let mut raw = house.raw().await;
    raw.join_v4("slow", true, 0).await;
    raw.send(b"\x82\x06\x00\x01\x00\x01t\x00").await;
    raw.expect(b"\x90\x03\x00\x01\x00").await;
    let (quick, mut events) = house.client("quick", Version::V5).await;
    quick.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
    let big = "x".repeat(100_000);
    let mut sent = 0;
    while !house.broker.stats().ended.contains_key("slow") {
        house.broker.publish(text("t", &big, Qos::AtLeastOnce)).await.expect("routed");
        message(&mut events).await;
        sent += 1;
        assert!(sent < 2000, "200 MB and still connected");
    }
    assert!(house.broker.stats().dropped.get("slow").is_some_and(|count| *count >= 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_tells_the_clients_and_frees_the_port_at_once() {
    let house = open().await;
    let address = house.broker.addresses().tcp.expect("listens");
    let (_client, mut events) = house.client("c", Version::V5).await;
    let config = || BrokerConfig { tcp: Some(address), ..BrokerConfig::default() };
    let Err(StartError::Bind { address: taken, .. }) = Broker::start(config(), house.house.clone()).await else {
        panic!("two brokers on one port");
    };
    assert_eq!(taken, address);
    within(house.broker.shutdown()).await;
    let reason = disconnected(&mut events).await;
    assert!(reason.contains("ServerShuttingDown"), "{reason}");
    let next = Broker::start(config(), house.house.clone()).await.expect("the port is free");
    assert_eq!(next.addresses().tcp, Some(address));
    // The client finds the new broker by itself; it may have knocked before that was there.
    let mut event = within(events.recv()).await;
    while matches!(event, Some(ClientEvent::Disconnected { .. })) {
        event = within(events.recv()).await;
    }
    assert_eq!(event, Some(ClientEvent::Connected { session_present: false }));
}

/// On one thread nobody but `shutdown` itself gives the accept loop its turn: this failed each time while `shutdown`
/// told the listeners to end and did not wait for it.
#[tokio::test]
async fn the_port_is_free_when_shutdown_returns_with_no_client_to_wait_for() {
    for _ in 0..20 {
        let house = open().await;
        let address = house.broker.addresses().tcp.expect("listens");
        house.broker.shutdown().await;
        std::net::TcpListener::bind(address).expect("the port is free");
    }
}
