//! Retained messages.

use crate::wire::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_retained_message_reaches_whoever_subscribes_later() {
    let broker = broker().await;
    for version in [4, 5] {
        let topic = format!("t/{version}");
        let mut giver = Wire::join(&broker, version, "giver").await;
        let mut live = Wire::join(&broker, version, "live").await;
        live.subscribe(&topic, 0).await;
        giver.give(3, &topic, 1, b"1").await;
        giver.expect(&[0x40, 2, 0, 1], "PUBACK").await;
        live.get(0, &topic, 0, b"1", "v3.1.1 [MQTT-3.3.1-9] and v5 [MQTT-3.3.1-12] not retained for an established subscription").await;
        giver.give(3, &topic, 2, b"2").await;
        giver.give(2, &topic, 3, b"passing").await;
        giver.expect(&[0x40, 2, 0, 2], "PUBACK").await;
        giver.expect(&[0x40, 2, 0, 3], "PUBACK").await;
        let mut late = Wire::join(&broker, version, "late").await;
        late.subscribe(&topic, 0).await;
        let statement = "v3.1.1 [MQTT-3.3.1-5], v3.1.1 [MQTT-3.3.1-6], v3.1.1 [MQTT-3.3.1-8], v5 [MQTT-3.3.1-5] the last one, marked as retained; \
                         v3.1.1 [MQTT-3.3.1-12] and v5 [MQTT-3.3.1-8] one that was not to be retained changes nothing";
        late.get(1, &topic, 0, b"2", statement).await;
        late.expect_nothing("v5 [MQTT-3.3.1-9] and only that").await;
        giver.give(2, &topic, 4, b"").await;
        giver.expect(&[0x40, 2, 0, 4], "PUBACK").await;
        late.get(0, &topic, 0, b"", "an empty message is a message").await;
        late.subscribe(&topic, 0).await;
        late.get(
            1,
            &topic,
            0,
            b"2",
            "v3.1.1 [MQTT-3.8.4-3] and v5 [MQTT-3.8.4-4] a renewed subscription sends it again; empty and not retained removes nothing",
        )
        .await;
        giver.give(3, &topic, 5, b"").await;
        giver.expect(&[0x40, 2, 0, 5], "PUBACK").await;
        late.get(0, &topic, 0, b"", "v3.1.1 [MQTT-3.3.1-10] empty and retained is passed on as it is, v5 [MQTT-3.3.1-6]").await;
        late.subscribe(&topic, 0).await;
        late.expect_nothing("v3.1.1 [MQTT-3.3.1-11] and v5 [MQTT-3.3.1-7] and is not kept").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_options_say_what_of_them_is_wanted() {
    let broker = broker().await;
    let mut giver = Wire::join(&broker, 5, "giver").await;
    for topic in ["a", "b"] {
        giver.give(3, topic, 1, b"kept").await;
        giver.expect(&[0x40, 2, 0, 1], "PUBACK").await;
    }
    let mut wire = Wire::join(&broker, 5, "wire").await;
    wire.subscribe("+", 0x20).await;
    wire.expect_nothing("v5 [MQTT-3.3.1-11] retain handling 2 brings none").await;
    wire.subscribe("a", 0x10).await;
    wire.get(1, "a", 0, b"kept", "v5 [MQTT-3.3.1-10] retain handling 1 brings them to a new subscription").await;
    wire.subscribe("a", 0x10).await;
    wire.expect_nothing("v5 [MQTT-3.3.1-10] and not to an old one").await;
    wire.subscribe("a", 0x00).await;
    wire.get(1, "a", 0, b"kept", "v5 [MQTT-3.3.1-9] retain handling 0 brings them each time").await;
    wire.subscribe("b", 0x08 | 0x20).await;
    wire.send(&packet(0xA2, &[&[0, 9, 0], &s("+")])).await;
    wire.expect(&packet(0xB0, &[&[0, 9, 0, 0]]), "UNSUBACK").await;
    giver.give(1, "b", 0, b"live").await;
    wire.get(1, "b", 0, b"live", "v5 [MQTT-3.3.1-13] retain as published").await;
    giver.give(1, "a", 0, b"live").await;
    wire.get(0, "a", 0, b"live", "v5 [MQTT-3.3.1-12] without it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_them_reach_a_newcomer_at_every_qos() {
    let broker = broker().await;
    let mut giver = Wire::join(&broker, 4, "giver").await;
    for number in 0..500u16 {
        giver.give(1, &format!("many/{number:03}"), 0, &number.to_be_bytes()).await;
    }
    // Acknowledged behind all of them.
    giver.give(2, "end", 1, b"").await;
    giver.expect(&[0x40, 2, 0, 1], "PUBACK").await;
    for (version, qos) in [(4, 0), (5, 1), (4, 2)] {
        let mut late = Wire::join(&broker, version, "late").await;
        late.subscribe("many/#", qos).await;
        for number in 0..500u16 {
            // Rumqttd sent 200 of these.
            late.get(1, &format!("many/{number:03}"), 0, &number.to_be_bytes(), "v3.1.1 [MQTT-3.3.1-6] every one of 500").await;
        }
        late.expect_nothing("and each once").await;
        late.end().await;
    }
}
