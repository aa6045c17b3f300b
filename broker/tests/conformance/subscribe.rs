//! SUBSCRIBE, UNSUBSCRIBE, overlapping and shared subscriptions.

use crate::wire::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_has_its_code_in_its_place() {
    let broker = broker().await;
    for version in [4, 5] {
        let none: &[u8] = if version == 5 { &[0] } else { &[] };
        let mut wire = Wire::join(&broker, version, "wire").await;
        wire.send(&packet(0x82, &[&[0x12, 0x34], none, &s("a"), &[2], &s("b"), &[0], &s("c"), &[1]])).await;
        let statement = "v3.1.1 [MQTT-3.8.4-1], v3.1.1 [MQTT-3.8.4-2], v3.1.1 [MQTT-3.8.4-4], v3.1.1 [MQTT-3.9.3-1], v3.1.1 [MQTT-2.3.1-7], \
                         v5 [MQTT-3.8.4-1], v5 [MQTT-3.8.4-2], v5 [MQTT-3.8.4-5], v5 [MQTT-3.8.4-7], v5 [MQTT-3.9.3-1], v5 [MQTT-2.2.1-6]";
        wire.expect(&packet(0x90, &[&[0x12, 0x34], none, &[2, 0, 1]]), statement).await;
        wire.send(&packet(0xA2, &[&[0x12, 0x35], none, &s("a"), &s("zzz"), &s("c")])).await;
        let codes: &[u8] = if version == 5 { &[0, 0x11, 0] } else { &[] };
        let statement = "v3.1.1 [MQTT-3.10.4-4], v3.1.1 [MQTT-3.10.4-5], v3.1.1 [MQTT-3.10.4-6], v5 [MQTT-3.10.4-4], v5 [MQTT-3.10.4-5], v5 [MQTT-3.10.4-6], v5 [MQTT-3.11.3-1]";
        wire.expect(&packet(0xB0, &[&[0x12, 0x35], none, codes]), statement).await;
        for topic in ["a", "b", "c"] {
            wire.give(0, topic, 0, b"x").await;
        }
        wire.get(0, "b", 0, b"x", "v3.1.1 [MQTT-3.10.4-2] and v5 [MQTT-3.10.4-2] only what is left").await;
        wire.expect_nothing("v3.1.1 [MQTT-3.10.4-2]").await;
        // The filter is compared as it is, not as what it takes.
        wire.subscribe("+", 0).await;
        wire.send(&packet(0xA2, &[&[0, 1], none, &s("#")])).await;
        wire.next().await.expect("UNSUBACK");
        wire.give(0, "d", 0, b"x").await;
        wire.get(0, "d", 0, b"x", "v3.1.1 [MQTT-3.10.4-1] and v5 [MQTT-3.10.4-1] character by character").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_again_takes_the_place_of_the_first() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut wire = Wire::join(&broker, version, "wire").await;
        wire.subscribe("t", 2).await;
        wire.subscribe("t", 0).await;
        wire.give(2, "t", 1, b"x").await;
        let mut got = [wire.next().await.expect("one"), wire.next().await.expect("two")];
        got.sort();
        assert_eq!(got[0][0], 0x30, "v3.1.1 [MQTT-3.8.4-3] and v5 [MQTT-3.8.4-3] at the new QoS, once");
        wire.expect_nothing("once").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_is_ended_after_unsubscribe() {
    let broker = broker().await;
    for version in [4, 5] {
        let none: &[u8] = if version == 5 { &[0] } else { &[] };
        let mut wire = Wire::join(&broker, version, "wire").await;
        wire.subscribe("t", 2).await;
        let mut giver = Wire::join(&broker, version, "giver").await;
        giver.give(4, "t", 1, b"x").await;
        wire.get(4, "t", 1, b"x", "QoS 2").await;
        wire.send(&packet(0xA2, &[&[0, 9], none, &s("t")])).await;
        wire.next().await.expect("UNSUBACK");
        wire.send(&[0x50, 2, 0, 1]).await;
        wire.expect(&[0x62, 2, 0, 1], "v3.1.1 [MQTT-3.10.4-3] and v5 [MQTT-3.10.4-3] a delivery that was begun").await;
        wire.send(&[0x70, 2, 0, 1]).await;
        wire.expect_nothing("done").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_filters_bring_the_highest_qos_and_all_identifiers() {
    let broker = broker().await;
    let mut wire = Wire::join(&broker, 5, "wire").await;
    wire.subscribe_with("t/#", 0, &[&[0x0B, 1]]).await;
    wire.subscribe_with("t/+", 1, &[&[0x0B, 0x80, 1]]).await;
    wire.subscribe("t/a", 0).await;
    wire.give(4, "t/a", 5, b"x").await;
    let mut got = [wire.next().await.expect("one"), wire.next().await.expect("two")];
    got.sort_by_key(|packet| packet[0]);
    let publish = &got[0];
    assert_eq!(publish[0], 0x32, "v3.1.1 [MQTT-3.3.5-1] and v5 [MQTT-3.3.4-2] the highest QoS: {publish:x?}");
    let has = |property: &[u8]| publish.windows(property.len()).any(|window| window == property);
    assert!(has(&[0x0B, 1]) && has(&[0x0B, 0x80, 1]), "v5 [MQTT-3.3.4-3] and v5 [MQTT-3.3.4-4] all identifiers: {publish:x?}");
    wire.send(&[0x40, 2, 0, 1]).await;
    wire.expect_nothing("and one copy").await;
    wire.subscribe_with("t/+", 1, &[]).await;
    wire.give(0, "t/b", 0, b"x").await;
    let bytes = wire.publish(0, "t/b", 0, &[&[0x0B, 1]], b"x");
    wire.expect(&bytes, "v5 [MQTT-3.8.4-3] an identifier goes with the subscription it came with").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_local_keeps_a_message_from_its_own_publisher() {
    let broker = broker().await;
    let mut wire = Wire::join(&broker, 5, "wire").await;
    wire.subscribe("t", 4).await;
    wire.give(0, "t", 0, b"own").await;
    wire.expect_nothing("v5 [MQTT-3.8.3-3] no local").await;
    let mut other = Wire::join(&broker, 5, "other").await;
    other.give(0, "t", 0, b"other's").await;
    wire.get(0, "t", 0, b"other's", "v5 [MQTT-3.8.3-3] of others it is taken").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_subscription_brings_each_message_to_one_member_at_its_qos() {
    let broker = broker().await;
    let mut giver = Wire::join(&broker, 5, "giver").await;
    giver.give(3, "w/1", 1, b"old").await;
    giver.expect(&[0x40, 2, 0, 1], "PUBACK").await;
    let (mut one, mut two) = (Wire::join(&broker, 4, "one").await, Wire::join(&broker, 5, "two").await);
    one.subscribe("$share/g/w/+", 0).await;
    one.expect_nothing("v5 4.8.2 no retained messages for a shared subscription").await;
    two.subscribe("$share/g/w/+", 1).await;
    let mut alone = Wire::join(&broker, 5, "alone").await;
    alone.subscribe("$share/h/w/+", 0).await;
    let mut plain = Wire::join(&broker, 5, "plain").await;
    plain.subscribe("w/#", 0x20).await;
    for id in 2..=5u8 {
        giver.give(2, "w/1", u16::from(id), &[id]).await;
        giver.expect(&[0x40, 2, 0, id], "PUBACK").await;
    }
    one.get(0, "w/1", 0, &[2], "v5 [MQTT-4.8.2-3] the QoS of this member").await;
    one.get(0, "w/1", 0, &[4], "its turn").await;
    two.get(2, "w/1", 1, &[3], "v5 [MQTT-4.8.2-3] the QoS of that member").await;
    two.get(2, "w/1", 2, &[5], "its turn").await;
    for id in 2..=5u8 {
        alone.get(0, "w/1", 0, &[id], "another group gets its own copy").await;
        plain.get(0, "w/1", 0, &[id], "and so does an ordinary subscription").await;
    }
    for wire in [&mut one, &mut two, &mut alone, &mut plain] {
        wire.expect_nothing("v5 [MQTT-4.8.2-3] and no more").await;
    }
    one.end().await;
    giver.give(2, "w/1", 6, &[6]).await;
    two.get(2, "w/1", 3, &[6], "who is left gets it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_ends_leaves_its_qos_1_messages_to_the_group_and_keeps_qos_2() {
    let broker = broker().await;
    let (mut one, _) = Wire::join_with(&broker, 5, "one", 2, 100).await;
    one.subscribe("$share/g/w", 2).await;
    let mut giver = Wire::join(&broker, 5, "giver").await;
    giver.give(2, "w", 1, b"1").await;
    giver.give(4, "w", 2, b"2").await;
    giver.expect(&[0x40, 2, 0, 1], "PUBACK").await;
    giver.expect(&[0x50, 2, 0, 2], "PUBREC").await;
    one.get(2, "w", 1, b"1", "QoS 1").await;
    one.get(4, "w", 2, b"2", "QoS 2").await;
    let mut two = Wire::join(&broker, 5, "two").await;
    two.subscribe("$share/g/w", 2).await;
    two.expect_nothing("while the first is here it is the first's").await;
    one.end().await;
    two.get(2, "w", 1, b"1", "v5 4.8.2 QoS 1 goes to another member").await;
    two.expect_nothing("v5 [MQTT-4.8.2-5] QoS 2 that was begun goes to nobody else").await;
    let (mut one, present) = Wire::join_with(&broker, 5, "one", 0, 100).await;
    assert!(present);
    one.get(12, "w", 2, b"2", "v5 [MQTT-4.8.2-4] and is ended with its client").await;
}
