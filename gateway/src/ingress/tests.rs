//! Ingress as the broker meets it, against a group in memory.

use super::*;
use crate::consensus::{Group, ProposeError};
use crate::effects::clock::wall_now;
use crate::effects::credential;
use crate::effects::test_support::{LocalGroup, NODE};
use crate::telemetry::Quality;
use argon2::password_hash::PasswordHasher;
use spalla_broker::hooks::{Credentials, Hooks, Principal, Refusal};
use spalla_shared::device::AckStatus;
use spalla_shared::engine::Command;
use spalla_shared::engine::door::PRESENTED_AGE_MAX_MS;
use spalla_shared::engine::state::Attachment;
use spalla_shared::event::Event;
use spalla_shared::id::{Actor, CredentialId};
use spalla_shared::resource::{Client, FlowDocument, Resource};
use spalla_shared::value::Value;

const READER: &str = "hq/reader-1";

struct Fixture {
    ingress: Arc<Ingress>,
    group: Arc<LocalGroup>,
    telemetry: Arc<Telemetry>,
    acks: Arc<Acks>,
    key: ed25519_dalek::SigningKey,
}

fn fixture() -> Fixture {
    let group = LocalGroup::new(1, &[READER, "hq/door-1"]);
    group.change(|state| {
        let hash = argon2::Argon2::default().hash_password(b"sesame").unwrap().to_string();
        let reader = state.devices.get_mut(&DeviceId::new(READER)).unwrap();
        reader.device.password_hash = Some(hash.into());
        reader.device.opens = Some(DeviceId::new("hq/door-1"));
    });
    let key = credential::signing_key(&"07".repeat(32)).unwrap();
    let options = IngressOptions {
        node: NODE,
        boot: 3,
        allow_anonymous: false,
        credential_key: key.verifying_key(),
        alone_after: Duration::from_secs(60),
    };
    let (telemetry, acks) = (Arc::new(Telemetry::default()), Arc::new(Acks::default()));
    let ingress = Ingress::new(options, vec![group.clone()], telemetry.clone(), acks.clone());
    Fixture { ingress, group, telemetry, acks, key }
}

fn reader() -> Principal {
    Principal { client_id: "c".into(), name: format!("device:{READER}").into() }
}

fn message(topic: &str, payload: &str) -> Message {
    let topic = format!("spalla/v1/{READER}/{topic}");
    Message { topic, payload: payload.to_owned().into(), qos: Qos::AtLeastOnce, ..Message::default() }
}

fn events(group: &LocalGroup) -> Vec<(Event, bool)> {
    let log = group.log.lock();
    log.iter()
        .filter_map(|command| match command {
            Command::Event { event, historical } => Some((event.clone(), *historical)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn only_a_declared_device_with_its_password_comes_in() {
    let it = fixture();
    let login = |username: Option<&str>, password: Option<&str>| Credentials {
        client_id: "anything".into(),
        username: username.map(str::to_owned),
        password: password.map(|text| text.as_bytes().to_vec()),
        certificate_name: None,
        address: "127.0.0.1:1".parse().unwrap(),
    };
    let good = it.ingress.authenticate(&login(Some(READER), Some("sesame"))).await.unwrap();
    assert_eq!(&*good.name, "device:hq/reader-1");
    for (username, password, refusal) in [
        (Some(READER), Some("wrong"), Refusal::BadCredentials),
        (Some("hq/door-1"), Some("sesame"), Refusal::BadCredentials),
        (Some("hq/stranger"), Some("sesame"), Refusal::BadCredentials),
        (None, Some("sesame"), Refusal::BadCredentials),
        (Some(READER), None, Refusal::NotAuthorised),
        (None, None, Refusal::NotAuthorised),
    ] {
        assert_eq!(it.ingress.authenticate(&login(username, password)).await, Err(refusal), "{username:?} {password:?}");
    }
    assert_eq!(it.ingress.counters().bad_credentials, 6);
}

#[tokio::test]
async fn a_device_speaks_and_hears_for_itself_only() {
    let it = fixture();
    let who = reader();
    for (topic, may) in [
        ("spalla/v1/hq/reader-1/event/presented", true),
        ("spalla/v1/hq/reader-1/state/battery", true),
        ("spalla/v1/hq/reader-1/ack", true),
        ("spalla/v1/hq/reader-1/online", true),
        ("spalla/v1/hq/reader-1/command", false),
        ("spalla/v1/hq/door-1/event/presented", false),
        ("anything", false),
    ] {
        assert_eq!(it.ingress.may_publish(&who, topic), may, "{topic}");
    }
    for (filter, may) in [
        ("spalla/v1/hq/reader-1/command", true),
        ("spalla/v1/hq/door-1/command", false),
        ("spalla/v1/hq/+/command", false),
        ("#", false),
        ("$share/g/spalla/v1/hq/reader-1/command", false),
    ] {
        assert_eq!(it.ingress.may_subscribe(&who, filter), may, "{filter}");
    }
    let anonymous = Principal { client_id: "c".into(), name: "anonymous".into() };
    assert!(!it.ingress.may_publish(&anonymous, "spalla/v1/hq/reader-1/ack"));
}

fn board(change: impl FnOnce(&mut Client)) -> Client {
    let mut client = Client { name: "board".into(), ..Client::default() };
    change(&mut client);
    client
}

fn rules(rules: &[&str]) -> Vec<Arc<str>> {
    rules.iter().map(|rule| Arc::from(*rule)).collect()
}

#[tokio::test]
async fn a_client_is_held_to_its_rules_at_each_message() {
    let it = fixture();
    let who = Principal { client_id: "c".into(), name: "client:board".into() };
    let declare = |client: Client| it.group.change(|state| _ = state.clients.insert(client.name.clone(), client));
    // Nobody declared it: it may do nothing.
    assert!(!it.ingress.may_publish(&who, "house/x") && !it.ingress.may_subscribe(&who, "house/x"));
    declare(board(|client| {
        client.publish = rules(&["house/#"]);
        client.subscribe = rules(&["group:lobby", "house/+"]);
        // The profile of the fixture opens: what a deploy would have refused is refused here too.
        client.commands = rules(&[READER, "group:lobby"]);
    }));
    it.group.change(|state| {
        let reader = state.devices.get_mut(&DeviceId::new(READER)).unwrap();
        reader.device.groups = rules(&["lobby"]);
    });
    for (topic, may) in [
        ("house/x", true),
        ("garden", false),
        ("spalla/v1/hq/reader-1/command", false),
        ("spalla/v1/hq/reader-1/state/x", false),
        ("spalla/v1/hq/none/command", false),
        ("spalla/anything", false),
    ] {
        assert_eq!(it.ingress.may_publish(&who, topic), may, "{topic}");
    }
    for (filter, may) in [
        ("house/x", true),
        ("house/#", false),
        ("spalla/v1/hq/reader-1/event/#", true),
        ("spalla/v1/hq/door-1/event/#", false),
        ("spalla/v1/hq/+/event/#", false),
        ("$SYS/broker/uptime", false),
        ("#", false),
    ] {
        assert_eq!(it.ingress.may_subscribe(&who, filter), may, "{filter}");
    }
    // A declared client is shown what devices say, but no credential.
    let shown = async |topic: &str, payload: &str| it.ingress.publish(&reader(), &message(topic, payload)).await;
    assert_eq!(shown("state/battery", "7").await, Verdict::Accept { route: true });
    assert_eq!(shown("event/presented", r#"{"token":"x"}"#).await, Verdict::Accept { route: false });
    assert!(matches!(shown("state/battery", "{").await, Verdict::Refuse(_)));
}

#[tokio::test]
async fn a_certificate_lets_its_own_device_in_until_that_is_revoked() {
    let it = fixture();
    let login = |certificate: &str, username: Option<&str>, password: Option<&str>| Credentials {
        client_id: "anything".into(),
        username: username.map(str::to_owned),
        password: password.map(|text| text.as_bytes().to_vec()),
        certificate_name: Some(certificate.into()),
        address: "127.0.0.1:1".parse().unwrap(),
    };
    let good = it.ingress.authenticate(&login(READER, None, None)).await.unwrap();
    assert_eq!(&*good.name, "device:hq/reader-1");
    // One for the whole site says nothing about who it is: the password does.
    it.ingress.authenticate(&login("all devices of hq", Some(READER), Some("sesame"))).await.unwrap();
    for wrong in [
        login("hq/none", None, None),
        login(READER, Some("hq/door-1"), None),
        login("hq/door-1", Some(READER), Some("sesame")),
        login("client:none", None, None),
    ] {
        assert_eq!(it.ingress.authenticate(&wrong).await, Err(Refusal::NotAuthorised), "{wrong:?}");
    }
    it.group.change(|state| {
        state.devices.get_mut(&DeviceId::new(READER)).unwrap().device.password_hash = Some(Device::REVOKED.into());
        state.devices.get_mut(&DeviceId::new("hq/door-1")).unwrap().device.bridge = Some(DeviceId::new(READER));
    });
    for gone in [READER, "hq/door-1"] {
        assert_eq!(it.ingress.authenticate(&login(gone, None, None)).await, Err(Refusal::NotAuthorised), "{gone}");
    }
}

#[tokio::test]
async fn an_event_is_accepted_only_once_it_is_committed() {
    let it = fixture();
    let badge = message("event/presented", r#"{"id":"e1","card":"7"}"#);
    *it.group.failing.lock() = Some(ProposeError::NoQuorum("mesh".into()));
    assert!(matches!(it.ingress.publish(&reader(), &badge).await, Verdict::NotNow(_)));
    assert!(events(&it.group).is_empty());
    *it.group.failing.lock() = None;
    assert_eq!(it.ingress.publish(&reader(), &badge).await, Verdict::Accept { route: false });
    let committed = events(&it.group);
    let (event, historical) = &committed[0];
    assert_eq!((&*event.id, &*event.source, &*event.kind), ("e1", "/sites/hq/devices/reader-1", "spalla.device.presented"));
    assert_eq!((event.subject.as_deref(), *historical), (Some(READER), false));
    // The answer is lost: the same event is proposed again, with its id.
    *it.group.lose_answer.lock() = true;
    let next = message("event/presented", r#"{"card":"7"}"#);
    assert_eq!(it.ingress.publish(&reader(), &next).await, Verdict::Accept { route: false });
    let committed = events(&it.group);
    assert_eq!(committed.len(), 3);
    assert_eq!(committed[1].0, committed[2].0, "one event, whichever of the two was heard");
    // Twice the same badge is two events.
    it.ingress.publish(&reader(), &next).await;
    assert_ne!(events(&it.group)[3].0.id, committed[1].0.id);
}

#[tokio::test]
async fn what_must_not_be_acted_on_is_refused_or_marked() {
    let it = fixture();
    let retained = Message { retain: true, ..message("event/presented", "{}") };
    assert!(matches!(it.ingress.publish(&reader(), &retained).await, Verdict::Refuse(_)));
    for (topic, payload) in [("event/presented", "{"), ("event/presented", "7"), ("state/x", "{"), ("ack", "{}"), ("nonsense", "{}")] {
        assert!(matches!(it.ingress.publish(&reader(), &message(topic, payload)).await, Verdict::Refuse(_)), "{topic} {payload}");
    }
    let stranger = Message { topic: "spalla/v1/hq/stranger/event/x".into(), ..message("", "{}") };
    assert!(matches!(it.ingress.publish(&reader(), &stranger).await, Verdict::Refuse(_)));
    assert!(events(&it.group).is_empty());
    let counts = it.ingress.counters();
    assert_eq!((counts.events_retained, counts.undecodable, counts.unknown_topic, counts.unknown_device), (1, 4, 1, 1));
    let now = wall_now();
    let old = format!(r#"{{"time":{}}}"#, now.millis() - 11_000);
    let ahead = format!(r#"{{"time":{}}}"#, now.millis() + 3_600_000);
    for payload in [old.as_str(), r#"{"historical":true}"#, ahead.as_str()] {
        it.ingress.publish(&reader(), &message("event/presented", payload)).await;
    }
    let committed = events(&it.group);
    assert_eq!(committed.iter().map(|(_, historical)| *historical).collect::<Vec<_>>(), [true, true, true]);
    assert!(committed[2].0.time <= wall_now(), "a clock that runs ahead gains nothing");
}

#[tokio::test]
async fn what_happens_now_is_not_old_in_a_log_that_is_ahead_of_the_clocks() {
    let it = fixture();
    let ahead = wall_now().plus(7_200_000);
    it.group.change(|state| state.clock = ahead);
    let old = format!(r#"{{"time":{}}}"#, wall_now().millis() - 11_000);
    for payload in ["{}", old.as_str()] {
        it.ingress.publish(&reader(), &message("event/presented", payload)).await;
    }
    let committed = events(&it.group);
    let ages: Vec<u64> = committed.iter().map(|(event, _)| ahead.since(event.time)).collect();
    assert_eq!(committed.iter().map(|(_, historical)| *historical).collect::<Vec<_>>(), [false, true]);
    assert!(ages[0] < 1_000 && ages[1] >= 10_000, "{ages:?}");
}

#[tokio::test]
async fn a_badge_that_was_kept_is_not_fresh_because_this_gateway_s_clock_is_behind() {
    // After a power cut the clock here is two hours behind; the reader's own is right, and sends what it kept meanwhile.
    let it = fixture();
    let truly = wall_now().plus(7_200_000);
    it.group.change(|state| state.clock = truly);
    for age_ms in [3_600_000, 7_200_000] {
        let kept = format!(r#"{{"time":{}}}"#, truly.millis() - age_ms);
        it.ingress.publish(&reader(), &message("event/presented", &kept)).await;
    }
    let committed = events(&it.group);
    assert_eq!(committed.len(), 2);
    for (event, historical) in committed {
        let late = truly.since(event.time) > PRESENTED_AGE_MAX_MS;
        assert!(historical || late, "it would open: {event:?}");
    }
}

#[tokio::test]
async fn a_token_is_replaced_by_what_it_proves() {
    let it = fixture();
    let id = CredentialId::new("00112233aabbccdd");
    let now = wall_now();
    let content = |valid_until| credential::Content {
        issuer: "m",
        credential: &id,
        holder: "Ada",
        kind: "qr",
        valid_from: Timestamp(0),
        valid_until,
        claims: &Value::Null,
    };
    let good = credential::sign(&content(now.plus(60_000)), &it.key).unwrap();
    let expired = credential::sign(&content(Timestamp(now.millis() - 60_000)), &it.key).unwrap();
    for token in [good.as_str(), &expired, "forged"] {
        let payload =
            Value::object([("token", Value::from(token)), ("verified", Value::Bool(true)), ("credentialId", Value::from("mine"))]);
        it.ingress.publish(&reader(), &message("event/presented", &payload.to_json())).await;
    }
    it.ingress.publish(&reader(), &message("event/presented", r#"{"credentialId":"mine","verified":true}"#)).await;
    let data: Vec<Value> = events(&it.group).into_iter().map(|(event, _)| event.data).collect();
    let id = Value::from(id.as_str());
    assert_eq!(data[0], Value::object([("verified", Value::Bool(true)), ("credentialId", id.clone())]));
    let reason = |text: &str| ("reason", Value::from(text));
    assert_eq!(data[1], Value::object([("verified", Value::Bool(false)), ("credentialId", id), reason("expired")]));
    assert_eq!(data[2], Value::object([("verified", Value::Bool(false)), reason("not a token")]));
    assert_eq!(data[3], Value::empty_object(), "a reader cannot vouch for a credential");
}

#[tokio::test]
async fn readings_are_known_and_answers_reach_their_executor() {
    let it = fixture();
    assert_eq!(it.ingress.publish(&reader(), &message("state/battery", "71")).await, Verdict::Accept { route: false });
    let reading = it.telemetry.latest(&DeviceId::new(READER), "battery", wall_now());
    assert_eq!((reading.value, reading.quality), (Value::Int(71), Quality::Live));
    let mut waiter = it.acks.wait(&DeviceId::new(READER), "show", &"k".into());
    it.ingress.publish(&reader(), &message("ack", r#"{"id":"k","status":"done"}"#)).await;
    assert_eq!(waiter.next().await.status, AckStatus::Done);
    it.ingress.publish(&reader(), &message("ack", r#"{"id":"other","status":"done"}"#)).await;
    let counts = it.ingress.counters();
    assert_eq!((counts.readings, counts.acks_taken, counts.acks_unmatched), (1, 1, 1));
}

#[tokio::test]
async fn only_what_something_waits_for_enters_the_log() {
    let it = fixture();
    let door = Principal { client_id: "d".into(), name: "device:hq/door-1".into() };
    let from_door = |topic: &str, payload: &str| Message { topic: format!("spalla/v1/hq/door-1/{topic}"), ..message("", payload) };
    for (topic, payload) in [("event/humming", "{}"), ("state/temperature", "40")] {
        assert_eq!(it.ingress.publish(&door, &from_door(topic, payload)).await, Verdict::Accept { route: false });
    }
    assert!(events(&it.group).is_empty());
    assert_eq!(it.ingress.counters().events_local, 2);
    // An alarm always enters; a reading does once a flow waits for it.
    it.ingress.publish(&door, &from_door("event/forced", "{}")).await;
    // Also one of a device whose clock is ahead: it starts what it has to start.
    let ahead = format!(r#"{{"time":{}}}"#, wall_now().millis() + 3_600_000);
    it.ingress.publish(&door, &from_door("event/forced", &ahead)).await;
    // And of one whose clock is right while ours is ahead, but not what was kept for long.
    for old_ms in [60_000, 400_000] {
        let old = format!(r#"{{"time":{}}}"#, wall_now().millis() - old_ms);
        it.ingress.publish(&door, &from_door("event/forced", &old)).await;
    }
    assert_eq!(events(&it.group).iter().map(|(_, historical)| *historical).collect::<Vec<_>>(), [false, false, false, true]);
    let flow = r#"
document: { dsl: '1.0.3', namespace: test, name: too-warm, version: '1.0.0' }
schedule: { on: { one: { with: { type: spalla.telemetry.temperature } } } }
do:
  - note: { set: { seen: true } }
"#;
    let document = spalla_shared::flow::check(flow).expect("a good flow").document;
    let resources = vec![Resource::Flow(FlowDocument { document })];
    it.group.propose(Command::Deploy { resources, by: Actor::system() }).await.unwrap().reply.expect("deployed");
    it.ingress.publish(&door, &from_door("state/temperature", r#"{"value":41,"time":7}"#)).await;
    let committed = events(&it.group).split_off(4);
    let kinds: Vec<&str> = committed.iter().map(|(event, _)| &*event.kind).collect();
    assert_eq!(kinds, ["spalla.telemetry.temperature"]);
    let data = [("device", Value::from("hq/door-1")), ("property", Value::from("temperature")), ("value", Value::Int(41))];
    assert_eq!((&committed[0].0.data, committed[0].1), (&Value::object(data), true), "read long ago");
    // Where our clock is an hour behind after a power cut, what was kept for half an hour says that it comes from the future.
    let ahead = format!(r#"{{"value":43,"time":{}}}"#, wall_now().millis() + 1_800_000);
    it.ingress.publish(&door, &from_door("state/temperature", &ahead)).await;
    assert!(events(&it.group)[5].1, "nobody knows when it was read");
    it.ingress.publish(&door, &from_door("state/temperature", "42")).await;
    assert!(!events(&it.group)[6].1, "read now");
    assert_eq!(it.group.state().read().counters.started, 1, "and the flow starts by it");
}

/// A device that listened in one connection and spoke in others was told to be away as soon as it had spoken.
#[tokio::test]
async fn a_device_is_here_until_its_last_connection_ends() {
    let it = fixture();
    it.ingress.connected(&reader(), 9).await;
    it.ingress.connected(&reader(), 10).await;
    let keeper = tokio::spawn(it.ingress.clone().keep_presence());
    let here = |session: u64, wanted: bool| {
        let session = (3 << 32) | session;
        it.group.logged(move |command| {
            matches!(command, Command::Presence { session: s, online, device, .. } if *s == session && *online == wanted && device.as_str() == READER)
                .then_some(())
        })
    };
    here(10, true).await;
    it.ingress.publish(&reader(), &message("state/battery", "71")).await;
    it.ingress.disconnected(&reader(), 10).await;
    it.ingress.settled().await;
    assert!(it.group.state().read().devices[&DeviceId::new(READER)].attached.is_some(), "it still listens");
    assert_eq!(it.telemetry.latest(&DeviceId::new(READER), "battery", wall_now()).quality, Quality::Live);
    it.ingress.disconnected(&reader(), 9).await;
    here(10, false).await;
    assert_eq!(it.telemetry.latest(&DeviceId::new(READER), "battery", wall_now()).quality, Quality::Stale);
    keeper.abort();
}

#[tokio::test]
async fn presence_reaches_the_log_through_a_missing_quorum_and_a_restart() {
    let it = fixture();
    // A door that an earlier start of this gateway left attached, and a reader that is nowhere.
    it.group.change(|state| {
        state.devices.get_mut(&DeviceId::new(READER)).unwrap().attached = None;
    });
    *it.group.failing.lock() = Some(ProposeError::NoQuorum("mesh".into()));
    it.ingress.connected(&reader(), 9).await;
    let keeper = tokio::spawn(it.ingress.clone().keep_presence());
    tokio::task::yield_now().await;
    *it.group.failing.lock() = None;
    let session = (3 << 32) | 9;
    it.group.logged(|command| matches!(command, Command::Presence { session: s, online: true, .. } if *s == session).then_some(())).await;
    it.group
        .logged(|command| matches!(command, Command::Presence { device, online: false, .. } if device.name() == "door-1").then_some(()))
        .await;
    // A newer connection replaces it; the late end of the old one changes nothing.
    it.ingress.connected(&reader(), 10).await;
    it.ingress.disconnected(&reader(), 9).await;
    it.group
        .logged(|command| matches!(command, Command::Presence { session: s, online: true, .. } if *s == session + 1).then_some(()))
        .await;
    // The device goes to another gateway: that one's word stands, though this end has not noticed yet.
    it.group.change(|state| {
        let elsewhere = Attachment { node: NodeId(2), session: 1, since: Timestamp(0) };
        state.devices.get_mut(&DeviceId::new(READER)).unwrap().attached = Some(elsewhere);
    });
    it.ingress.connected(&Principal { client_id: "d".into(), name: "device:hq/door-1".into() }, 11).await;
    it.group
        .logged(|command| matches!(command, Command::Presence { device, online: true, .. } if device.name() == "door-1").then_some(()))
        .await;
    let reader_here = it.group.change(|state| state.devices[&DeviceId::new(READER)].attached.as_ref().map(|at| at.node));
    assert_eq!(reader_here, Some(NodeId(2)));
    keeper.abort();
}
