//! When a message counts as taken: acknowledgements, refusals, ACL, retained messages.

use super::house::*;
use crate::client::{ClientError, Version};
use crate::hooks::Verdict;
use crate::message::{Message, Qos};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_between_versions_at_every_qos() {
    let house = open().await;
    for version in BOTH {
        let (taker, mut events) = house.client(&format!("taker-{version:?}"), version).await;
        taker.subscribe("é/+/temp", Qos::ExactlyOnce).await.expect("granted");
        for giver_version in BOTH {
            let (giver, _events) = house.client(&format!("giver-{version:?}{giver_version:?}"), giver_version).await;
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                let sent = Message {
                    content_type: Some("text/plain".into()),
                    user_properties: vec![("a".into(), "b".into())],
                    ..text("é/1/temp", "21", qos)
                };
                within(giver.publish(sent.clone())).await.expect("acknowledged");
                let got = message(&mut events).await;
                assert_eq!((got.topic.as_str(), &got.payload[..], got.qos), ("é/1/temp", &b"21"[..], qos));
                if (version, giver_version) == (Version::V5, Version::V5) {
                    assert_eq!((got.content_type, got.user_properties), (sent.content_type, sent.user_properties));
                }
            }
            giver.disconnect().await;
        }
        taker.disconnect().await;
    }
    assert!(house.broker.health().is_good());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_acknowledgement_waits_for_the_hook_while_pings_are_answered() {
    let mut house = open().await;
    let mut raw = house.raw().await;
    raw.join_v4("held", true, 60).await;
    raw.send(b"\x32\x0b\x00\x06hold/a\x00\x07!").await;
    let (held, verdict) = within(house.held.recv()).await.expect("asked");
    assert_eq!((held.topic.as_str(), &held.payload[..]), ("hold/a", &b"!"[..]));
    raw.send(b"\xc0\x00").await;
    raw.expect(b"\xd0\x00").await;
    verdict.send(Verdict::Accept { route: false }).expect("heard");
    raw.expect(b"\x40\x02\x00\x07").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_made_safe_now_is_not_acknowledged_and_comes_again() {
    for version in BOTH {
        let mut house = open().await;
        let (giver, mut events) = house.client("giver", version).await;
        let sending = tokio::spawn(async move { giver.publish(text("hold/a", "1", Qos::AtLeastOnce)).await });
        let (_, verdict) = within(house.held.recv()).await.expect("asked");
        verdict.send(Verdict::NotNow("no quorum")).expect("heard");
        let reason = disconnected(&mut events).await;
        assert!(version == Version::V4 || reason.contains("no quorum"), "{reason}");
        let (again, verdict) = within(house.held.recv()).await.expect("asked again");
        assert_eq!(again.topic, "hold/a");
        verdict.send(Verdict::Accept { route: true }).expect("heard");
        assert_eq!(within(sending).await.expect("ran"), Ok(()));
        assert_eq!(house.broker.stats().ended.get("not-now"), Some(&1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_tells_v5_why_and_is_dropped_for_v4() {
    let mut house = open().await;
    let (watcher, mut events) = house.client("watcher", Version::V5).await;
    watcher.subscribe("#", Qos::AtLeastOnce).await.expect("granted");
    for (version, expected) in [(Version::V4, Ok(())), (Version::V5, Err(ClientError::Refused("ImplementationSpecificError".into())))] {
        let (giver, _events) = house.client("giver", version).await;
        let sending = tokio::spawn(async move { giver.publish(text("hold/a", "bad", Qos::AtLeastOnce)).await });
        let (_, verdict) = within(house.held.recv()).await.expect("asked");
        verdict.send(Verdict::Refuse("not decodable")).expect("heard");
        assert_eq!(within(sending).await.expect("ran"), expected);
    }
    house.broker.publish(text("end", "end", Qos::AtLeastOnce)).await.expect("routed");
    assert_eq!(payloads_to(&mut events, "end").await, ["end"]);
    assert_eq!(house.broker.stats().dropped.get("refused"), Some(&2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_get_the_code_of_their_version() {
    let house = open().await;
    for (version, user, code) in [(4, "someone", 4), (4, "banned", 5), (5, "someone", 0x86), (5, "banned", 0x87)] {
        let mut body = b"\x00\x04MQTT".to_vec();
        body.extend([version, 0xC2, 0, 60]);
        if version == 5 {
            body.push(0);
        }
        for part in ["id", user, "wrong"] {
            body.extend([0, part.len() as u8]);
            body.extend(part.as_bytes());
        }
        let mut raw = house.raw().await;
        raw.send(&[&[0x10, body.len() as u8], &body[..]].concat()).await;
        let answer = raw.rest().await;
        assert_eq!((answer[0], answer[3]), (0x20, code), "version {version} user {user}");
    }
    let refused = house.broker.stats().refused;
    assert_eq!((refused.get("bad-credentials"), refused.get("not-authorised")), (Some(&2), Some(&2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_acl_denies_reaches_nobody() {
    let house = open().await;
    let (watcher, mut events) = house.client("watcher", Version::V5).await;
    watcher.subscribe("#", Qos::AtLeastOnce).await.expect("granted");
    assert_eq!(watcher.subscribe("forbidden/#", Qos::AtLeastOnce).await, Err(ClientError::Refused("NotAuthorized".into())));
    assert_eq!(watcher.subscribe("$share/g/forbidden/#", Qos::AtLeastOnce).await, Err(ClientError::Refused("NotAuthorized".into())));
    let denied = || text("forbidden/a", "x", Qos::AtLeastOnce);
    assert_eq!(within(watcher.publish(denied())).await, Err(ClientError::Refused("NotAuthorized".into())));
    let (old, _events) = house.client("old", Version::V4).await;
    assert_eq!(old.subscribe("forbidden/a", Qos::AtLeastOnce).await, Err(ClientError::Refused("Failure".into())));
    within(old.publish(denied())).await.expect("v3.1.1 has no word for it");
    within(old.publish(Message { qos: Qos::ExactlyOnce, ..denied() })).await.expect("v3.1.1 has no word for it");
    within(old.publish(text("allowed", "end", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut events, "end").await, ["end"]);
    assert_eq!(house.broker.stats().dropped.get("denied"), Some(&3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_reach_newcomers_all_of_them_and_commands_never() {
    let house = open().await;
    let (giver, _events) = house.client("service:panel", Version::V5).await;
    for number in 0..500 {
        let kept = Message { retain: true, ..text(&format!("kept/{number:03}"), "old", Qos::AtLeastOnce) };
        within(giver.publish(kept)).await.expect("acknowledged");
    }
    within(giver.publish(Message { retain: true, ..text("kept/000", "new", Qos::AtLeastOnce) })).await.expect("acknowledged");
    within(giver.publish(Message { retain: true, ..text("kept/001", "", Qos::AtLeastOnce) })).await.expect("acknowledged");
    within(giver.publish(text("kept/002", "", Qos::AtLeastOnce))).await.expect("not retained: removes nothing");
    let soon = crate::clock::now().plus(500);
    house
        .broker
        .publish(Message { retain: true, expires_at: Some(soon), ..text("kept/003", "brief", Qos::AtLeastOnce) })
        .await
        .expect("routed in time");
    let unlock = Message { retain: true, ..text("spalla/v1/hq/lock/command", "UNLOCK", Qos::AtLeastOnce) };
    assert!(matches!(within(giver.publish(unlock.clone())).await, Err(ClientError::Refused(_))));
    house.broker.publish(unlock).await.expect("routed, not retained");
    let badge = Message { retain: true, ..text("spalla/v1/hq/reader/event/badge", "42", Qos::AtLeastOnce) };
    within(giver.publish(badge)).await.expect("taken as an event, not retained");
    until(|| crate::clock::now() > soon).await;
    house.settled().await;

    for version in BOTH {
        let (late, mut events) = house.client(&format!("late-{version:?}"), version).await;
        late.subscribe("#", Qos::AtLeastOnce).await.expect("granted");
        house.broker.publish(text("end", "end", Qos::AtLeastOnce)).await.expect("routed");
        let mut got = Vec::new();
        loop {
            let next = message(&mut events).await;
            if next.topic == "end" {
                break;
            }
            assert!(next.retain, "{next:?}");
            got.push((next.topic, String::from_utf8_lossy(&next.payload).into_owned()));
        }
        assert_eq!(got.len(), 498);
        assert_eq!(got[0], ("kept/000".into(), "new".into()));
        assert!(got[1..].iter().all(|(topic, payload)| topic.starts_with("kept/") && payload == "old"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_cannot_command_even_itself() {
    let house = open().await;
    let (watcher, mut events) = house.client("watcher", Version::V5).await;
    watcher.subscribe("spalla/#", Qos::AtLeastOnce).await.expect("granted");
    let (device, _events) = house.client("device:hq/lock", Version::V5).await;
    let open = text("spalla/v1/hq/lock/command", "open", Qos::AtLeastOnce);
    assert!(matches!(within(device.publish(open.clone())).await, Err(ClientError::Refused(_))));
    within(watcher.publish(open)).await.expect("a service may");
    assert_eq!(payloads_to(&mut events, "open").await.len(), 1);
    assert_eq!(house.house.log.lock().iter().filter(|line| line.ends_with("/command open")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_message_is_delivered_to_nobody() {
    let house = open().await;
    for version in BOTH {
        let id = format!("away-{version:?}");
        let config = crate::client::ClientConfig { clean: false, ..house.config(&id, version) };
        let (away, _events) = house.join(config.clone()).await;
        away.subscribe("t/#", Qos::AtLeastOnce).await.expect("granted");
        away.disconnect().await;
        until(|| house.broker.stats().connections == 0).await;
        let soon = crate::clock::now().plus(30);
        let brief = Message { expires_at: Some(soon), ..text("t/brief", "brief", Qos::AtLeastOnce) };
        house.broker.publish(brief.clone()).await.expect("routed");
        house.broker.publish(text("t/long", "long", Qos::AtLeastOnce)).await.expect("routed");
        until(|| crate::clock::now() > soon.plus(1)).await;
        house.settled().await;
        assert_eq!(house.broker.publish(brief).await, Err(crate::server::PublishError::Expired));
        let (back, mut events) = house.join(config).await;
        assert_eq!(payloads_to(&mut events, "long").await, ["long"]);
        back.disconnect().await;
    }
    assert_eq!(house.broker.stats().dropped.get("expired"), Some(&2));
    tokio::time::timeout(Duration::from_secs(2), house.broker.shutdown()).await.expect("in two seconds");
}
