//! QoS 0, 1 and 2 both ways, properties that pass through, flow control, order.

use crate::wire::*;
use spalla_broker::server::Limits;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_qos_is_acknowledged_as_it_must_be() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut wire = Wire::join(&broker, version, "giver").await;
        wire.give(0, "t", 0, b"0").await;
        wire.expect_nothing("v3.1.1 [MQTT-4.3.1-1] and v5 [MQTT-4.3.1-1] QoS 0 has no answer").await;
        wire.give(2, "t", 0xFFFF, b"1").await;
        wire.expect(
            &[0x40, 2, 0xFF, 0xFF],
            "v3.1.1 [MQTT-2.3.1-6], v3.1.1 [MQTT-4.3.2-2], v5 [MQTT-2.2.1-5], v5 [MQTT-4.3.2-4] PUBACK with the id",
        )
        .await;
        wire.give(4, "t", 9, b"2").await;
        wire.expect(&[0x50, 2, 0, 9], "v3.1.1 [MQTT-4.3.3-2] and v5 [MQTT-4.3.3-8] PUBREC with the id").await;
        wire.send(&[0x62, 2, 0, 9]).await;
        wire.expect(&[0x70, 2, 0, 9], "v5 [MQTT-4.3.3-11] PUBCOMP with the id").await;
        // v5 [MQTT-4.3.3-12]: the id is free again, and a new message under it is a new message.
        wire.give(4, "t", 9, b"3").await;
        wire.expect(&[0x50, 2, 0, 9], "v5 [MQTT-4.3.3-12] the id again").await;
        wire.send(&[0x62, 2, 0, 9]).await;
        wire.expect(&[0x70, 2, 0, 9], "PUBCOMP").await;
        wire.end().await;
    }
    let mut wire = Wire::join(&broker, 5, "stray").await;
    wire.send(&[0x62, 2, 0x12, 0x34]).await;
    wire.expect(&[0x70, 3, 0x12, 0x34, 0x92], "v5 [MQTT-3.7.2-1] PUBREL of an unknown id").await;
    wire.send(&[0x50, 2, 0x12, 0x34]).await;
    wire.expect(&[0x62, 3, 0x12, 0x34, 0x92], "v5 [MQTT-3.6.2-1] PUBREC of an unknown id").await;
    wire.send(&[0x40, 2, 0x12, 0x34]).await;
    wire.expect_nothing("a stray PUBACK is nothing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_message_that_comes_twice_before_its_release_is_delivered_once() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut taker = Wire::join(&broker, version, "taker").await;
        taker.subscribe("t", 0).await;
        let mut giver = Wire::join(&broker, version, "giver").await;
        for flags in [4, 12, 12] {
            giver.give(flags, "t", 9, b"x").await;
            giver.expect(&[0x50, 2, 0, 9], "v5 [MQTT-4.3.3-10] PUBREC for each").await;
        }
        giver.send(&[0x62, 2, 0, 9, 0x62, 2, 0, 9]).await;
        giver.expect(&[0x70, 2, 0, 9], "PUBCOMP").await;
        giver.next().await.expect("PUBCOMP of an unknown id");
        taker.get(0, "t", 0, b"x", "v3.1.1 [MQTT-4.3.3-2] and v5 [MQTT-4.3.3-10] once").await;
        taker.expect_nothing("v5 [MQTT-4.3.3-10] and no more").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delivered_qos_is_the_smaller_of_both_and_dup_does_not_travel() {
    let broker = broker().await;
    for (given, granted) in [(0u8, 0u8), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)] {
        let mut taker = Wire::join(&broker, 5, "taker").await;
        taker.subscribe("t", granted).await;
        let mut giver = Wire::join(&broker, 4, "giver").await;
        let dup = if given > 0 { 8 } else { 0 };
        giver.give(dup | given << 1, "t", 3, b"x").await;
        let qos = given.min(granted);
        let statement =
            "v3.1.1 [MQTT-3.8.4-6] and v5 [MQTT-3.8.4-8] the smaller QoS, v3.1.1 [MQTT-3.3.1-3] and v5 [MQTT-3.3.1-3] DUP is not passed on";
        taker.get(qos << 1, "t", 1, b"x", statement).await;
        // v3.1.1 [MQTT-3.3.1-2] and v5 [MQTT-3.3.1-2]: never DUP at QoS 0. v5 [MQTT-2.2.1-2]: and no packet id.
        match qos {
            1 => taker.send(&[0x40, 2, 0, 1]).await,
            2 => {
                taker.send(&[0x50, 2, 0, 1]).await;
                taker.expect(&[0x62, 2, 0, 1], "v5 [MQTT-4.3.3-4] PUBREL with the id").await;
                taker.send(&[0x70, 2, 0, 1]).await;
            }
            _ => {}
        }
        taker.expect_nothing("v5 [MQTT-4.3.3-5] and v3.1.1 [MQTT-2.3.1-4] done").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_pass_unaltered_and_only_to_those_who_know_them() {
    let broker = broker().await;
    let mut new = Wire::join(&broker, 5, "new").await;
    new.subscribe("t", 1).await;
    let mut old = Wire::join(&broker, 4, "old").await;
    old.subscribe("t", 1).await;
    let mut giver = Wire::join(&broker, 5, "giver").await;
    let user = |key: &str, value: &str| [&[0x26][..], &s(key), &s(value)].concat();
    let (response, data, kind) = ([&[8][..], &s("back/é")].concat(), vec![9, 0, 3, 0, 0xFF, 1], [&[3][..], &s("text/plain")].concat());
    let (z, a, z2) = (user("z", "1"), user("a", ""), user("z", "2"));
    let list: Vec<&[u8]> = vec![&[1, 1], &response, &data, &kind, &z, &a, &z2];
    let bytes = giver.publish(2, "t", 5, &list, "é".as_bytes());
    giver.send(&bytes).await;
    giver.expect(&[0x40, 2, 0, 5], "PUBACK").await;
    let bytes = new.publish(2, "t", 1, &list, "é".as_bytes());
    let statement = "v5 [MQTT-3.3.2-4] payload format, v5 [MQTT-3.3.2-15] response topic, v5 [MQTT-3.3.2-16] correlation data, \
                     v5 [MQTT-3.3.2-17] user properties, v5 [MQTT-3.3.2-18] in their order, v5 [MQTT-3.3.2-20] content type";
    new.expect(&bytes, statement).await;
    old.get(2, "t", 1, "é".as_bytes(), "K5: a v3.1.1 subscriber gets the message without them").await;

    let bytes = giver.publish(2, "t", 6, &[&[2, 0, 0, 0, 100]], b"x");
    giver.send(&bytes).await;
    giver.expect(&[0x40, 2, 0, 6], "PUBACK").await;
    let got = new.next().await.expect("a PUBLISH");
    let at = got.windows(2).position(|window| window == [5, 2]).expect("an expiry interval");
    let left = u32::from_be_bytes([got[at + 2], got[at + 3], got[at + 4], got[at + 5]]);
    assert!((90..=100).contains(&left), "v5 [MQTT-3.3.2-6] the time that is left: {left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_aliases_stand_for_their_topics_on_one_connection() {
    let broker = broker().await;
    let mut taker = Wire::open(&broker).await;
    taker.send(&connect5(2, 60, &[&[0x22, 0, 1]], "taker", b"")).await;
    assert_eq!(taker.next().await.expect("a CONNACK")[3], 0);
    taker.subscribe("#", 0).await;
    let mut plain = Wire::join(&broker, 5, "plain").await;
    plain.subscribe("#", 0).await;
    let mut giver = Wire::join(&broker, 5, "giver").await;
    for (topic, alias, payload) in [("first", 32u8, "1"), ("", 32, "2"), ("second", 32, "3"), ("", 32, "4")] {
        let bytes = giver.publish(0, topic, 0, &[&[0x23, 0, alias]], payload.as_bytes());
        giver.send(&bytes).await;
    }
    for (topic, payload) in [("first", "1"), ("first", "2"), ("second", "3"), ("second", "4")] {
        plain
            .get(
                0,
                topic,
                0,
                payload.as_bytes(),
                "v5 [MQTT-3.3.2-12] every alias up to the maximum, v5 [MQTT-3.1.2-27] none to who wants none",
            )
            .await;
    }
    for (topic, alias, payload) in [("first", Some(1), "1"), ("", Some(1), "2"), ("second", None, "3"), ("second", None, "4")] {
        let list: Vec<&[u8]> = alias.map(|_: u8| &[0x23u8, 0, 1][..]).into_iter().collect();
        let bytes = taker.publish(0, topic, 0, &list, payload.as_bytes());
        taker.expect(&bytes, "v5 [MQTT-3.1.2-26] and v5 [MQTT-3.3.2-11] no more aliases than the client takes").await;
    }
    giver.end().await;
    let mut again = Wire::join(&broker, 5, "giver").await;
    let bytes = again.publish(0, "", 0, &[&[0x23, 0, 32]], b"x");
    again.send(&bytes).await;
    again.expect_close(0x82, "v5 [MQTT-3.3.2-7] an alias ends with its connection").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receive_maximum_is_kept_both_ways() {
    let broker = broker_with(Limits { in_flight: 2, ..Limits::default() }).await;
    let mut taker = Wire::open(&broker).await;
    taker.send(&connect5(2, 60, &[&[0x21, 0, 1]], "taker", b"")).await;
    assert_eq!(taker.next().await.expect("a CONNACK")[3], 0);
    taker.subscribe("t", 2).await;
    let mut giver = Wire::join(&broker, 5, "giver").await;
    for (id, payload) in [(1, b"1"), (2, b"2")] {
        giver.give(2, "t", id, payload).await;
        giver.expect(&[0x40, 2, 0, id as u8], "PUBACK").await;
    }
    taker.get(2, "t", 1, b"1", "the first").await;
    taker
        .expect_nothing("v5 [MQTT-3.3.4-9] and v5 [MQTT-4.9.0-2] no second before the first is acknowledged, v5 [MQTT-4.9.0-3] pings go on")
        .await;
    taker.send(&[0x40, 2, 0, 1]).await;
    taker.get(2, "t", 2, b"2", "v5 [MQTT-4.9.0-2] the window opens with each PUBACK").await;
    // An error in PUBREC opens it as well.
    giver.give(4, "t", 3, b"3").await;
    giver.expect(&[0x50, 2, 0, 3], "PUBREC").await;
    taker.send(&[0x40, 2, 0, 2]).await;
    taker.get(4, "t", 3, b"3", "QoS 2").await;
    taker.send(&[0x50, 4, 0, 3, 0x83, 0]).await;
    giver.give(2, "t", 4, b"4").await;
    giver.expect(&[0x40, 2, 0, 4], "PUBACK").await;
    taker.get(2, "t", 4, b"4", "v5 [MQTT-4.3.3-4] no PUBREL after a PUBREC that refuses").await;
    // The giver holds one unreleased QoS 2 message: one more is allowed, and a third is not.
    giver.give(4, "t", 5, b"5").await;
    giver.expect(&[0x50, 2, 0, 5], "PUBREC").await;
    giver.give(4, "t", 6, b"6").await;
    giver.expect_close(0x93, "v5 [MQTT-3.3.4-7] more unacknowledged than agreed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_keep_their_order() {
    let broker = broker().await;
    for qos in 0..=2u8 {
        let mut taker = Wire::join(&broker, 4, "taker").await;
        taker.subscribe("t", qos).await;
        let mut giver = Wire::join(&broker, 4, "giver").await;
        for id in 1..=50u16 {
            giver.give(qos << 1, "t", id, &id.to_be_bytes()).await;
        }
        for id in 1..=50u16 {
            let statement = "v3.1.1 [MQTT-4.6.0-6], v5 [MQTT-4.6.0-5] and v5 [MQTT-4.6.0-6] topics are ordered";
            taker.get(qos << 1, "t", id, &id.to_be_bytes(), statement).await;
        }
        for id in (1..=50u16).filter(|_| qos > 0) {
            let [high, low] = id.to_be_bytes();
            let head = if qos == 1 { 0x40 } else { 0x50 };
            giver
                .expect(
                    &[head, 2, high, low],
                    "v3.1.1 [MQTT-4.6.0-2], v3.1.1 [MQTT-4.6.0-3], v5 [MQTT-4.6.0-2] and v5 [MQTT-4.6.0-3] acknowledged in order",
                )
                .await;
        }
        if qos == 2 {
            for id in 1..=50u8 {
                giver.send(&[0x62, 2, 0, id]).await;
                taker.send(&[0x50, 2, 0, id]).await;
            }
            for id in 1..=50u8 {
                giver.expect(&[0x70, 2, 0, id], "PUBCOMP").await;
                taker.expect(&[0x62, 2, 0, id], "v3.1.1 [MQTT-4.6.0-4] and v5 [MQTT-4.6.0-4] PUBREL in the order of PUBREC").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_may_be_any_unicode_and_keeps_its_bytes() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut taker = Wire::join(&broker, version, "taker").await;
        taker.subscribe("#", 0).await;
        for topic in ["\u{FEFF}bom", "é", "e\u{301}", "𐍈/😀", "/", " ", "//a/"] {
            taker.give(0, topic, 0, b"\x00\xFF").await;
            let statement = "v3.1.1 [MQTT-1.5.3-3] and v5 [MQTT-1.5.4-3] U+FEFF stays, v3.1.1 [MQTT-4.7.3-4] and v5 [MQTT-4.7.3-4] nothing is normalised";
            taker.get(0, topic, 0, b"\x00\xFF", statement).await;
        }
    }
}
