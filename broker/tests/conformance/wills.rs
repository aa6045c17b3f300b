//! Wills: when they are published, when they are not, and what they carry.

use crate::wire::*;
use spalla_broker::server::Broker;

/// A connection with a will to `w` of these CONNECT flags; in v5 with these will properties and session expiry.
async fn with_will(broker: &Broker, version: u8, flags: u8, properties: &[&[u8]], expiry_s: u8) -> Wire {
    let mut wire = Wire::open(broker).await;
    wire.version = version;
    let bytes = match version {
        4 => connect4(flags, 60, &["mortal", "w", "gone"]),
        _ => {
            let payload = [props(properties), s("w"), s("gone")].concat();
            connect5(flags, 60, &[&[0x11, 0, 0, 0, expiry_s]], "mortal", &payload)
        }
    };
    wire.send(&bytes).await;
    let connack = wire.next().await.expect("a CONNACK");
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    wire
}

const WILL: u8 = 0x06;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_is_published_when_its_client_is_lost_and_not_when_it_says_goodbye() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut watcher = Wire::join(&broker, version, "watcher").await;
        watcher.subscribe("w", 2).await;
        let wire = with_will(&broker, version, WILL, &[], 0).await;
        drop(wire);
        watcher.get(0, "w", 0, b"gone", "v3.1.1 [MQTT-3.1.2-8], v5 [MQTT-3.1.2-7] and v5 [MQTT-3.1.2-8] lost").await;
        with_will(&broker, version, WILL, &[], 0).await.end().await;
        watcher
            .expect_nothing("v3.1.1 [MQTT-3.1.2-10], v3.1.1 [MQTT-3.14.4-3], v5 [MQTT-3.1.2-10] and v5 [MQTT-3.14.4-3] DISCONNECT")
            .await;
        let mut wire = with_will(&broker, version, WILL, &[], 0).await;
        wire.send(&[0x00, 0]).await;
        watcher.get(0, "w", 0, b"gone", "v3.1.1 [MQTT-3.1.2-8] a protocol error is no goodbye").await;
        let _old = with_will(&broker, version, WILL, &[], 0).await;
        let new = Wire::join(&broker, version, "mortal").await;
        watcher.get(0, "w", 0, b"gone", "v5 [MQTT-3.1.2-8] taken over, the old will").await;
        drop(new);
        watcher.expect_nothing("the new one had none").await;
    }
    let mut watcher = Wire::join(&broker, 5, "watcher").await;
    watcher.subscribe("w", 0).await;
    let mut wire = with_will(&broker, 5, WILL, &[], 0).await;
    wire.send(&[0xE0, 1, 4]).await;
    watcher.get(0, "w", 0, b"gone", "v5 [MQTT-3.1.2-8] DISCONNECT 0x04 asks for it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_has_the_qos_the_retain_flag_and_the_properties_it_was_given() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut watcher = Wire::join(&broker, version, "watcher").await;
        watcher.subscribe("w", 2).await;
        let kind = [&[3][..], &s("a/b")].concat();
        let list: &[&[u8]] = if version == 5 { &[&[1, 1], &kind] } else { &[] };
        drop(with_will(&broker, version, WILL | 0x28, list, 0).await);
        let bytes = watcher.publish(2, "w", 1, list, b"gone");
        watcher.expect(&bytes, "v3.1.1 [MQTT-3.1.2-9] and v5 [MQTT-3.1.2-9] as it was given").await;
        let mut late = Wire::join(&broker, version, "late").await;
        late.subscribe("w", 0).await;
        let bytes = late.publish(1, "w", 0, list, b"gone");
        late.expect(&bytes, "v3.1.1 [MQTT-3.1.2-17] and v5 [MQTT-3.1.2-15] will retain 1").await;
        late.give(1, "w", 0, b"").await;
        late.get(0, "w", 0, b"", "removed").await;
        watcher.send(&[0x40, 2, 0, 1]).await;
        watcher.get(0, "w", 0, b"", "removed").await;
        drop(with_will(&broker, version, WILL, &[], 0).await);
        watcher.get(0, "w", 0, b"gone", "QoS 0").await;
        late.get(0, "w", 0, b"gone", "QoS 0").await;
        late.subscribe("w", 0).await;
        late.expect_nothing("v3.1.1 [MQTT-3.1.2-16] and v5 [MQTT-3.1.2-14] will retain 0").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_will_waits_for_its_client_and_not_beyond_its_session() {
    let broker = broker().await;
    let mut watcher = Wire::join(&broker, 5, "watcher").await;
    watcher.subscribe("w", 0).await;
    let delay = |seconds: u8| [0x18, 0, 0, 0, seconds];
    drop(with_will(&broker, 5, WILL, &[&delay(1)], 100).await);
    let began = std::time::Instant::now();
    watcher.get(0, "w", 0, b"gone", "v5 [MQTT-3.1.2-8] after the delay").await;
    assert!(began.elapsed().as_millis() > 500, "v5 [MQTT-3.1.2-8] and not before");
    // Back in time: no will. The session goes on, and the new connection has none.
    drop(with_will(&broker, 5, WILL, &[&delay(1)], 100).await);
    let (back, present) = Wire::join_with(&broker, 5, "mortal", 0, 100).await;
    assert!(present);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    watcher.expect_nothing("v5 [MQTT-3.1.3-9] back in time").await;
    back.end().await;
    // The session ends first: the will comes then.
    drop(with_will(&broker, 5, WILL, &[&delay(100)], 1).await);
    watcher.get(0, "w", 0, b"gone", "v5 [MQTT-3.1.2-8] with the end of the session").await;
    drop(with_will(&broker, 5, WILL, &[&delay(100)], 100).await);
    let clean = Wire::join(&broker, 5, "mortal").await;
    watcher.get(0, "w", 0, b"gone", "v5 [MQTT-3.1.2-8] a clean start ends the old session").await;
    clean.end().await;
    drop(with_will(&broker, 5, WILL, &[&delay(100)], 0).await);
    watcher.get(0, "w", 0, b"gone", "v5 [MQTT-3.1.2-8] a session of no time").await;
}
