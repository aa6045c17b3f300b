//! Device commands: to the live session of one principal, acknowledged, never later.

use super::house::*;
use crate::client::{ClientConfig, Version};
use crate::clock;
use crate::message::{Message, Qos};
use crate::server::DeliverError;

const TOPIC: &str = "spalla/v1/hq/lock/command";
const DEVICE: &str = "device:hq/lock";

fn command(payload: &str, life_ms: u64) -> Message {
    Message { expires_at: Some(clock::now().plus(life_ms)), ..text(TOPIC, payload, Qos::AtLeastOnce) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_goes_to_the_live_session_of_its_device_and_to_nobody_else() {
    let house = open().await;
    let (spy, mut spied) = house.client("spy", Version::V5).await;
    spy.subscribe("#", Qos::AtLeastOnce).await.expect("granted");
    assert_eq!(house.broker.deliver(DEVICE, command("a", 5000)).await, Err(DeliverError::NotConnected));
    for version in BOTH {
        let (device, mut events) = house.client(DEVICE, version).await;
        assert_eq!(house.broker.deliver(DEVICE, command("b", 5000)).await, Err(DeliverError::NotSubscribed));
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            device.subscribe(TOPIC, qos).await.expect("granted");
            within(house.broker.deliver(DEVICE, Message { qos: Qos::ExactlyOnce, ..command("c", 5000) })).await.expect("transported");
            let got = message(&mut events).await;
            assert_eq!((&got.payload[..], got.retain, got.qos), (&b"c"[..], false, qos.min(Qos::AtLeastOnce)));
        }
        assert_eq!(house.broker.deliver(DEVICE, command("d", 0)).await, Err(DeliverError::Expired));
        device.disconnect().await;
        until(|| !house.broker.is_connected(DEVICE)).await;
    }
    house.broker.publish(text("end", "end", Qos::AtLeastOnce)).await.expect("routed");
    assert_eq!(payloads_to(&mut spied, "end").await, ["end"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_device_finds_no_command_when_it_returns() {
    let house = open().await;
    for version in BOTH {
        let config = ClientConfig { clean: false, ..house.config(DEVICE, version) };
        let (device, _events) = house.join(config.clone()).await;
        device.subscribe("spalla/v1/hq/lock/#", Qos::AtLeastOnce).await.expect("granted");
        device.disconnect().await;
        until(|| !house.broker.is_connected(DEVICE)).await;
        assert_eq!(house.broker.deliver(DEVICE, command("UNLOCK", 60_000)).await, Err(DeliverError::NotConnected));
        // Not even where somebody publishes it as an ordinary message, with a long life.
        house.broker.publish(command("UNLOCK", 60_000)).await.expect("routed");
        house.broker.publish(text("spalla/v1/hq/lock/config", "kept", Qos::AtLeastOnce)).await.expect("routed");
        house.settled().await;
        let (back, mut events) = house.join(config).await;
        assert_eq!(payloads_to(&mut events, "kept").await, ["kept"], "{version:?}");
        back.disconnect().await;
        until(|| !house.broker.is_connected(DEVICE)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_not_acknowledged_is_never_sent_again() {
    let house = open().await;
    let mut raw = house.raw().await;
    raw.join_v4("device:hq/lock", false, 60).await;
    let mut subscribe = vec![0x82, 30, 0, 1, 0, 25];
    subscribe.extend(TOPIC.as_bytes());
    subscribe.push(1);
    raw.send(&subscribe).await;
    raw.expect(&[0x90, 3, 0, 1, 1]).await;
    assert_eq!(within(house.broker.deliver(DEVICE, command("a", 2_000))).await, Err(DeliverError::Unacknowledged));

    let broker = house.broker.clone();
    let waiting = tokio::spawn(async move { broker.deliver(DEVICE, command("b", 60_000)).await });
    until(|| house.broker.stats().sent == 2).await;
    drop(raw);
    assert_eq!(within(waiting).await.expect("ran"), Err(DeliverError::Closed));

    let mut raw = house.raw().await;
    raw.join_v4("device:hq/lock", false, 60).await;
    raw.send(b"\xc0\x00").await;
    // The answer to the ping is the first thing that comes: nothing was sent again.
    raw.expect(b"\xd0\x00").await;
    assert_eq!(house.broker.stats().sent, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_could_not_be_written_in_time_is_withdrawn() {
    let house = open().await;
    let mut raw = house.raw().await;
    // v5, receive maximum 1: the second command must wait for the first one's acknowledgement.
    let mut body = b"\x00\x04MQTT\x05\xc2\x00\x3c\x03\x21\x00\x01".to_vec();
    for part in ["lock", DEVICE, "secret"] {
        body.extend([0, part.len() as u8]);
        body.extend(part.as_bytes());
    }
    raw.send(&[&[0x10, body.len() as u8], &body[..]].concat()).await;
    let mut subscribe = vec![0x82, 31, 0, 1, 0, 0, 25];
    subscribe.extend(TOPIC.as_bytes());
    subscribe.push(1);
    raw.send(&subscribe).await;
    until(|| house.broker.stats().subscriptions == 1).await;
    let broker = house.broker.clone();
    let first = tokio::spawn(async move { broker.deliver(DEVICE, command("a", 60_000)).await });
    until(|| house.broker.stats().sent == 1).await;
    assert_eq!(within(house.broker.deliver(DEVICE, command("b", 50))).await, Err(DeliverError::Expired));
    raw.send(b"\x40\x02\x00\x01").await;
    assert_eq!(within(first).await.expect("ran"), Ok(()));
    assert_eq!(house.broker.disconnect(DEVICE, "seen enough"), 1);
    let rest = raw.rest().await;
    assert!(!rest.ends_with(b"b") && rest.windows(11).any(|part| part == b"seen enough"));
    assert_eq!(house.broker.stats().sent, 1);
}
