//! Sessions over connections, messages that wait, the end of a session, expiry.

use crate::wire::*;
use std::time::Duration;

/// CONNECT flags for a session that is to be resumed, and for a clean one.
const KEEP: u8 = 0;
const CLEAN: u8 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_there_again_and_a_clean_start_ends_it() {
    let broker = broker().await;
    for version in [4, 5] {
        let (mut wire, present) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        assert!(!present, "v3.1.1 [MQTT-3.2.2-3] and v5 [MQTT-3.1.2-6] no session at first");
        wire.subscribe("t", 2).await;
        wire.end().await;
        let mut giver = Wire::join(&broker, version, "giver").await;
        giver.give(0, "t", 0, b"0").await;
        giver.give(2, "t", 1, b"1").await;
        giver.expect(&[0x40, 2, 0, 1], "PUBACK").await;
        giver.give(4, "t", 2, b"2").await;
        giver.expect(&[0x50, 2, 0, 2], "PUBREC").await;
        let (mut wire, present) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        assert!(
            present,
            "v3.1.1 [MQTT-3.1.2-4], v3.1.1 [MQTT-3.2.2-2], v5 [MQTT-3.1.2-5], v5 [MQTT-3.2.2-3] and v5 [MQTT-4.1.0-1] the session"
        );
        wire.get(2, "t", 1, b"1", "v3.1.1 [MQTT-3.1.2-5], v5 [MQTT-3.1.2-23] and v5 [MQTT-4.5.0-1] what waited").await;
        wire.get(4, "t", 2, b"2", "v3.1.1 [MQTT-4.6.0-6] in its order").await;
        // Nothing is acknowledged; it comes again.
        wire.end().await;
        let (mut wire, _) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        let statement = "v3.1.1 [MQTT-4.4.0-1], v3.1.1 [MQTT-3.3.1-1], v5 [MQTT-4.4.0-1], v5 [MQTT-3.3.1-1] again, with DUP and its id; \
                         v3.1.1 [MQTT-4.6.0-1] and v5 [MQTT-4.6.0-1] in the old order";
        wire.get(10, "t", 1, b"1", statement).await;
        wire.get(12, "t", 2, b"2", statement).await;
        wire.send(&[0x50, 2, 0, 2]).await;
        wire.expect(&[0x62, 2, 0, 2], "PUBREL").await;
        wire.end().await;
        let (mut wire, _) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        wire.get(10, "t", 1, b"1", "QoS 1 again").await;
        wire.expect(&[0x62, 2, 0, 2], "v5 [MQTT-4.4.0-1] after PUBREC it is PUBREL that comes again").await;
        wire.send(&[0x40, 2, 0, 1, 0x70, 2, 0, 2]).await;
        wire.expect_nothing("v5 [MQTT-4.3.2-3] done").await;
        wire.end().await;
        let (wire, present) = Wire::join_with(&broker, version, "s", CLEAN, 0).await;
        assert!(!present, "v3.1.1 [MQTT-3.1.2-6], v3.1.1 [MQTT-3.2.2-1], v5 [MQTT-3.1.2-4] and v5 [MQTT-3.1.4-4] a clean start ends it");
        wire.end().await;
        let (mut wire, present) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        assert!(!present, "v5 [MQTT-4.1.0-2] a session of no time is over with its connection");
        wire.give(0, "t", 0, b"x").await;
        wire.expect_nothing("v3.1.1 [MQTT-3.1.2-6] and its subscriptions with it").await;
        wire.end().await;
        Wire::join(&broker, version, "s").await.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_message_that_was_taken_is_known_on_the_next_connection() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut taker = Wire::join(&broker, version, "taker").await;
        taker.subscribe("t", 0).await;
        let (mut wire, _) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        wire.give(4, "t", 7, b"x").await;
        wire.expect(&[0x50, 2, 0, 7], "PUBREC").await;
        wire.end().await;
        let (mut wire, _) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        wire.give(12, "t", 7, b"x").await;
        wire.expect(&[0x50, 2, 0, 7], "v5 [MQTT-4.3.3-10] again").await;
        wire.send(&[0x62, 2, 0, 7]).await;
        wire.expect(&[0x70, 2, 0, 7], "PUBCOMP").await;
        taker.get(0, "t", 0, b"x", "once").await;
        taker.expect_nothing("v5 [MQTT-4.3.3-10] and once only").await;
        wire.end().await;
        Wire::join(&broker, version, "s").await.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_when_its_time_is_over_and_disconnect_may_change_that() {
    let broker = broker().await;
    let (wire, _) = Wire::join_with(&broker, 5, "s", CLEAN, 1).await;
    wire.end().await;
    let over = async {
        while broker.stats().sessions > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), over).await.expect("v5 [MQTT-4.1.0-2] the session ends with its interval");
    let (mut wire, _) = Wire::join_with(&broker, 5, "s", CLEAN, 100).await;
    wire.send(&packet(0xE0, &[&[0, 5, 0x11, 0, 0, 0, 0]])).await;
    wire.expect_end("DISCONNECT").await;
    let (_, present) = Wire::join_with(&broker, 5, "s", KEEP, 100).await;
    assert!(!present, "v5 3.14.2.2.2 DISCONNECT sets the interval anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_past_its_time_is_not_delivered() {
    let broker = broker().await;
    for version in [4, 5] {
        let (mut wire, _) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        wire.subscribe("t", 1).await;
        wire.end().await;
        let mut giver = Wire::join(&broker, 5, "giver").await;
        let bytes = giver.publish(3, "t", 1, &[&[2, 0, 0, 0, 1]], b"brief");
        giver.send(&bytes).await;
        giver.expect(&[0x40, 2, 0, 1], "PUBACK").await;
        giver.give(2, "t", 2, b"lasting").await;
        giver.expect(&[0x40, 2, 0, 2], "PUBACK").await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let (mut wire, _) = Wire::join_with(&broker, version, "s", KEEP, 100).await;
        wire.get(2, "t", 2, b"lasting", "v5 [MQTT-3.3.2-5] what is past its interval is deleted").await;
        wire.send(&[0x40, 2, 0, 2]).await;
        let mut late = Wire::join(&broker, version, "late").await;
        late.subscribe("t", 0).await;
        late.expect_nothing("v5 [MQTT-3.3.2-5] and so is a retained one").await;
        wire.end().await;
        Wire::join(&broker, version, "s").await.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_disconnect_nothing_more_is_taken() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut taker = Wire::join(&broker, version, "taker").await;
        taker.subscribe("t", 0).await;
        let mut wire = Wire::join(&broker, version, "wire").await;
        let publish = wire.publish(0, "t", 0, &[], b"late");
        wire.send(&[vec![0xE0, 0], publish].concat()).await;
        wire.expect_end("v5 [MQTT-3.14.4-2] closed").await;
        taker.expect_nothing("v3.1.1 [MQTT-3.14.4-1], v3.1.1 [MQTT-3.14.4-2] and v5 [MQTT-3.14.4-1] nothing after DISCONNECT").await;
    }
}
