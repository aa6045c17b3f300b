//! What kills rumqttd's own listener (K1 to K6 in the project's notes), and bytes that are no MQTT: none of it disturbs others.

use super::house::*;
use crate::client::{ClientConfig, Version};
use crate::message::{Message, Qos};
use crate::server::{Broker, Limits};
use std::time::Duration;

/// The broker still does its whole work: a message goes all the way.
async fn alive(house: &Fixture, id: &str) {
    let (client, mut events) = house.client(id, Version::V5).await;
    client.subscribe("alive/+", Qos::AtLeastOnce).await.expect("granted");
    within(client.publish(text("alive/x", id, Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut events, id).await, [id]);
    assert!(house.broker.health().is_good());
    client.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_topic_that_begins_with_a_letter_outside_ascii() {
    let house = open().await;
    let mut raw = house.raw().await;
    raw.join_v4("k1", true, 60).await;
    raw.send(b"\x82\x0c\x00\x01\x00\x07\xc3\xa9/temp\x01").await;
    raw.expect(b"\x90\x03\x00\x01\x01").await;
    raw.send(b"\x30\x0c\x00\x07\xc3\xa9/temp\x32\x31\x2e").await;
    raw.expect(b"\x30\x0c\x00\x07\xc3\xa9/temp\x32\x31\x2e").await;
    alive(&house, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_a_shared_subscription_whose_only_member_vanishes() {
    let house = open().await;
    let mut raw = house.raw().await;
    raw.join_v4("k2", false, 60).await;
    raw.send(b"\x82\x0f\x00\x01\x00\x0a$share/g/t\x01").await;
    raw.expect(b"\x90\x03\x00\x01\x01").await;
    house.broker.publish(text("t", "x", Qos::AtLeastOnce)).await.expect("routed");
    raw.expect(b"\x32\x06\x00\x01t\x00\x01x").await;
    drop(raw);
    until(|| house.broker.stats().connections == 0).await;
    house.broker.publish(text("t", "y", Qos::AtLeastOnce)).await.expect("routed");
    alive(&house, "after").await;
    assert_eq!(house.broker.stats().router_restarts, 0);
    let mut raw = house.raw().await;
    raw.join_v4("k2", false, 60).await;
    raw.expect(b"\x3a\x06\x00\x01t\x00\x01x\x32\x06\x00\x01t\x00\x02y").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_client_ids_with_characters_of_topics_connect_twice() {
    let house = open().await;
    for id in ["a+b", "$x", "#", "a/b", "é"] {
        for _ in 0..2 {
            let (client, _events) = house.join(ClientConfig { client_id: id.into(), ..house.config("k3", Version::V4) }).await;
            client.disconnect().await;
        }
    }
    alive(&house, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k4_more_clients_than_the_limit_are_told_and_places_are_given_again() {
    let house = open_with(Limits { connections: 2, ..Limits::default() }).await;
    let (one, _events) = house.client("one", Version::V5).await;
    let (_two, _events) = house.client("two", Version::V5).await;
    let (_three, mut events) = crate::client::Client::connect(house.config("three", Version::V5)).expect("usable");
    let reason = disconnected(&mut events).await;
    assert!(reason.contains("ServerBusy"), "{reason}");
    one.disconnect().await;
    assert_eq!(house.logged("+three 3").await, 1);
    assert!(house.broker.stats().refused.get("crowded").is_some_and(|count| *count >= 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_v5_message_with_properties_to_a_v4_subscriber() {
    let house = open().await;
    let (old, mut events) = house.client("old", Version::V4).await;
    old.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
    let (new, _events) = house.client("new", Version::V5).await;
    let rich = Message {
        response_topic: Some("r".into()),
        correlation_data: Some("c".into()),
        content_type: Some("x/y".into()),
        user_properties: vec![("k".into(), "v".into())],
        expires_at: Some(crate::clock::now().plus(60_000)),
        ..text("t", "plain", Qos::AtLeastOnce)
    };
    within(new.publish(rich)).await.expect("acknowledged");
    assert_eq!(message(&mut events).await, text("t", "plain", Qos::AtLeastOnce));
    alive(&house, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_sockets_that_say_nothing_hold_nobody_up_and_do_not_stay() {
    let limits = Limits { connect_timeout: Duration::from_secs(2), ..Limits::default() };
    let house = open_with(limits).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(house.raw().await);
    }
    alive(&house, "beside").await;
    for mut raw in idle {
        assert_eq!(raw.rest().await, b"");
    }
    until(|| house.broker.stats().refused.get("connect-timeout") == Some(&20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_malformed_bytes_disturbs_no_other_client() {
    let house = open().await;
    let (steady, mut events) = house.client("steady", Version::V5).await;
    steady.subscribe("steady", Qos::AtLeastOnce).await.expect("granted");
    let port = house.port();
    let flood = tokio::spawn(async move {
        let mut dice = 0x2545_F491_4F6C_DD1D_u64;
        for round in 0..400 {
            let Ok(socket) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let mut raw = Raw(socket);
            // Half of them get in first, so that every packet type is reached.
            if round % 2 == 0 {
                raw.join_v4("flood", true, 60).await;
            }
            let mut bytes = vec![0u8; 64];
            for byte in &mut bytes {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                *byte = dice as u8;
            }
            tokio::io::AsyncWriteExt::write_all(&mut raw.0, &bytes).await.ok();
        }
    });
    for number in 0..200 {
        let number = number.to_string();
        within(steady.publish(text("steady", &number, Qos::AtLeastOnce))).await.expect("acknowledged");
        assert_eq!(payloads_to(&mut events, &number).await, [number.as_str()]);
    }
    within(flood).await.expect("ran");
    assert_eq!((events.try_recv().ok(), steady.is_connected()), (None, true));
    alive(&house, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_out_of_place_end_only_their_own_connection() {
    let house = open_with(Limits { packet_size: 2048, ..Limits::default() }).await;
    let cases: [(&[u8], &str); 8] = [
        (b"\x32\x06\x00\x01t\x00\x00x", "malformed"),
        (b"\x36\x06\x00\x01t\x00\x01x", "malformed"),
        (b"\x30\x80\x80\x80\x80\x01", "malformed"),
        (b"\x30\xff\x7f", "too-large"),
        (b"\x30\x03\x00\x01#", "topic-invalid"),
        (b"\x30\x06\x00\x04$SYS", "topic-invalid"),
        (b"\x20\x02\x00\x00", "malformed"),
        (b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd", "protocol"),
    ];
    for (bytes, reason) in cases {
        let mut raw = house.raw().await;
        raw.join_v4("odd", true, 60).await;
        let before = house.broker.stats().ended.get(reason).copied().unwrap_or(0);
        raw.send(bytes).await;
        assert_eq!(raw.rest().await, b"", "{bytes:x?}");
        until(|| house.broker.stats().ended.get(reason).copied().unwrap_or(0) == before + 1).await;
    }
    let mut raw = house.raw().await;
    raw.send(b"\x10\x13\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x05abcde").await;
    assert_eq!(raw.rest().await, b"\x20\x02\x00\x01");
    // PUBLISH before CONNECT.
    let mut raw = house.raw().await;
    raw.send(b"\x30\x04\x00\x01tx").await;
    assert_eq!(raw.rest().await, b"");
    alive(&house, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_handle_closes_the_broker() {
    let house = open().await;
    let port = house.port();
    let (_client, mut events) = house.client("c", Version::V5).await;
    let broker: Broker = house.broker;
    drop(broker);
    disconnected(&mut events).await;
    until(|| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()).await;
}
