//! The rules of safety over real sockets and real gateways: what opens a way opens it now, once, and for whom it was meant. Here
//! for devices of the native contract, in every version of MQTT and every kind of session; elsewhere where another place is better:
//!
//! | rule | what must never happen | tests |
//! |---|---|---|
//! | S1 | an opening arrives late | [`s01_s03_no_opening_comes_late_whatever_the_session`], `foreign::stories` (Shelly), `device`; profiles: `spalla-shared` `convention::tests::safety` |
//! | S2 | a command is retained | [`s02_a_command_is_kept_for_nobody_who_comes_later`], `foreign::home_assistant`; broker: `tests::taking`, `tests::stored` |
//! | S3 | a resumed session brings an old opening | [`s01_s03_no_opening_comes_late_whatever_the_session`], `device`; broker: `table`, `tests::stored` |
//! | S5 | a pulse has no end, or a toggle opens | `foreign::stories` (the pulse is in each command: Shelly, Tasmota), profiles: `convention::tests::safety` |
//! | S6 | a grant is remembered, a lockdown is not | [`s06_a_lockdown_waits_for_its_door_and_a_grant_does_not`] |
//! | S7, S23 | a building alone waits for others with a fire or a lockdown | [`crate::fire`] |
//! | S10 | what ranks lower moves a door that is held | [`crate::fire`]; pair by pair: `spalla-shared` `precedence`, `site::tests` |
//! | S14, S15, S16 | a grant lives longer than it may where nobody can be reached, or by a clock that was set back | [`crate::alone`]; `spalla-shared` `site::tests` |
//! | S17 | the last value of a dead device passes for how things are | [`s17_a_device_that_falls_silent_is_stale`], `foreign::stories` (Shelly, Zigbee) |
//! | S18 | "opened" is said because a command was acknowledged | `foreign::stories` (Shelly, Zigbee), `foreign::makers` (Nuki Hub); `effects::tests` |
//! | S19 | a retained badge opens | [`s19_s20_an_old_badge_opens_nothing_not_even_after_a_restart`], `foreign::stories` (Wiegand) |
//! | S20 | a backlog or a repeated badge opens | [`s19_s20_an_old_badge_opens_nothing_not_even_after_a_restart`], `foreign::stories` (Wiegand), `foreign::makers` |
//! | S21 | a building alone gives away what the mesh shares | [`crate::alone`] |
//! | S24 | ten commands open ten times | [`s24_ten_openings_at_once_are_one`], `foreign::stories` (Shelly) |
//! | S25 | an upgrade moves a door | [`crate::rolling`] |

use crate::{ADMIT_FLOW, PROGRAM};
use futures::future::join_all;
use serde_json::{Value, json};
use spalla_broker::client::{ClientError, Version};
use spalla_shared::topic::DeviceTopic;
use spalla_tests::raw::Told;
use spalla_tests::{Device, Login, Mesh, Node, Raw, mesh::config_folder, until};
use std::time::{SystemTime, UNIX_EPOCH};

const TELL_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: tell, version: '1.0.0' }
do:
  - tell:
      call: device.command:1.0.0@default
      with: { target: '${ .device }', command: '${ .command }' }
"#;
/// Waits as long for the answer as there may be for an opening.
const OPEN_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: open, version: '1.0.0' }
do:
  - open:
      call: device.command:1.0.0@default
      with: { target: '${ .device }', command: open, ack: { within: PT10S } }
"#;
/// MQTT's level, and whether the session ends with its connection.
const SESSIONS: [(u8, bool); 4] = [(4, true), (4, false), (5, true), (5, false)];

async fn building() -> Mesh {
    let mesh = Mesh::start(PROGRAM, &["hq"]).await;
    for profile in ["qr-reader", "turnstile"] {
        let text = std::fs::read_to_string(config_folder().join(format!("profiles/{profile}.yaml"))).expect("a profile");
        assert_eq!(mesh.nodes[0].api.apply(&text).await.status, 200);
    }
    for flow in [TELL_FLOW, OPEN_FLOW, ADMIT_FLOW] {
        let answer = mesh.nodes[0].api.apply(flow).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    mesh
}

#[tokio::test]
async fn s01_s03_no_opening_comes_late_whatever_the_session() {
    let mesh = building().await;
    let node = &mesh.nodes[0];
    for (level, clean) in SESSIONS {
        let gate = mesh.add_device(0, &format!("gate-{level}-{clean}"), "turnstile").await;
        let attempts = node.api.metric("spalla_opening_attempts_total").await;
        // Gone with an opening in hand that it never acknowledged.
        let mut first = attached(node, &gate, level, clean).await;
        let in_hand = tell(node, &gate, "open").await;
        let told = first.told().await;
        assert!(!told.retain && !told.again, "{told:?}");
        drop(first);
        node.away(&gate.id).await;
        assert!(problem(node, &in_hand).await.contains("unknown-outcome"), "level {level}, clean {clean}");
        // Away: an opening does not wait.
        let away = tell(node, &gate, "open").await;
        assert!(problem(node, &away).await.contains("device-offline"), "level {level}, clean {clean}");
        // Back: neither of the two is there.
        let mut back = attached(node, &gate, level, clean).await;
        assert!(back.ping().await.is_empty(), "level {level}, clean {clean}: something waited for the gate");
        assert_eq!(node.api.metric("spalla_opening_attempts_total").await, attempts + 1);
        let fresh = tell(node, &gate, "open").await;
        let again = back.told().await;
        assert_ne!(command_id(&again), command_id(&told), "level {level}, clean {clean}: the old opening came again");
        done(&mut back, &gate, &again).await;
        assert_eq!(problem(node, &fresh).await, "null");
    }
}

#[tokio::test]
async fn s02_a_command_is_kept_for_nobody_who_comes_later() {
    let mesh = building().await;
    let node = &mesh.nodes[0];
    for (level, clean) in SESSIONS {
        let gate = mesh.add_device(0, &format!("gate-{level}-{clean}"), "turnstile").await;
        let mut raw = attached(node, &gate, level, clean).await;
        let opened = tell(node, &gate, "open").await;
        let told = raw.told().await;
        assert!(!told.retain, "{told:?}");
        done(&mut raw, &gate, &told).await;
        assert_eq!(problem(node, &opened).await, "null");
        // The device cannot leave one behind for itself either.
        let before = node.api.metric("spalla_mqtt_dropped_total").await;
        raw.publish(0x31, &gate.command_topic(), 7, br#"{"id":"x","name":"open"}"#).await;
        raw.acknowledged(7).await;
        assert_eq!(node.api.metric("spalla_mqtt_dropped_total").await, before + 1, "level {level}");
        assert_eq!(raw.subscribe(&gate.command_topic()).await, 1);
        assert!(raw.ping().await.is_empty(), "level {level}, clean {clean}: a command was kept");
        drop(raw);
        let mut later = Raw::open(node.devices_port).await;
        assert_eq!(later.login(level, &gate, true).await, Some(0));
        assert_eq!(later.subscribe(&gate.command_topic()).await, 1);
        assert!(later.ping().await.is_empty(), "level {level}, clean {clean}: a command was kept");
    }
}

#[tokio::test]
async fn s06_a_lockdown_waits_for_its_door_and_a_grant_does_not() {
    let mesh = building().await;
    let node = &mesh.nodes[0];
    let reader = reader_of(node, "gate-4-true").await;
    let token = admitted(node, &SESSIONS.map(|(level, clean)| format!("gate-{level}-{clean}"))).await;
    let badge = Device::connect(&reader, Version::V5).await;
    for (level, clean) in SESSIONS {
        let gate = new_login(node, &format!("gate-{level}-{clean}")).await;
        opens(node, &reader, &gate).await;
        drop(attached(node, &gate, level, clean).await);
        node.away(&gate.id).await;
        let lockdown = tell(node, &gate, "lockdown").await;
        // The grant is good and the door is away: refused now, and forgotten.
        badge.say("presented", &json!({ "token": token })).await.expect("acknowledged");
        until("the badge is refused", async || (decisions(node, &gate).await.iter().any(|one| one != "granted")).then_some(())).await;
        let mut back = attached(node, &gate, level, clean).await;
        let told = back.told().await;
        assert_eq!(name(&told), "lockdown", "level {level}, clean {clean}");
        done(&mut back, &gate, &told).await;
        assert_eq!(problem(node, &lockdown).await, "null");
        let rest = back.messages().await;
        assert!(rest.iter().all(|told| name(told) != "open"), "level {level}, clean {clean}: the grant came too: {rest:?}");
        assert!(decisions(node, &gate).await.iter().all(|one| one != "granted"));
    }
}

#[tokio::test]
async fn s17_a_device_that_falls_silent_is_stale() {
    let mesh = building().await;
    let node = &mesh.nodes[0];
    for (level, clean) in SESSIONS {
        let gate = mesh.add_device(0, &format!("gate-{level}-{clean}"), "turnstile").await;
        let mut raw = Raw::open(node.devices_port).await;
        // It promises to speak every other second, says how it is, and then holds the connection without a word.
        assert_eq!(raw.login_keeping_alive(level, &gate, clean, 2).await, Some(0));
        let topic = DeviceTopic::State(gate.device(), "position".into()).to_string();
        raw.publish(0x30, &topic, 1, br#""shut""#).await;
        until("its position is live", async || {
            raw.ping().await;
            is_shut(node, &gate, "live").await.then_some(())
        })
        .await;
        until("its position is stale", async || is_shut(node, &gate, "stale").await.then_some(())).await;
        node.away(&gate.id).await;
    }
}

#[tokio::test]
async fn s19_s20_an_old_badge_opens_nothing_not_even_after_a_restart() {
    let mut mesh = building().await;
    let node = &mesh.nodes[0];
    let gate = new_login(node, "gate").await;
    let reader = reader_of(node, "gate").await;
    let token = admitted(node, &["gate".to_owned()]).await;
    let badge = json!({ "id": "kept", "token": token }).to_string();
    let mut raw = attached(node, &gate, 4, false).await;

    // S19: retained, it is no event. MQTT 5 is told so, 3.1.1 has no words for it.
    for (version, client) in [(Version::V4, "four"), (Version::V5, "five")] {
        let before = node.api.metric("spalla_events_retained_total").await;
        let device = Device::connect(&reader, version).await;
        let result = device.publish(&reader.event_topic("presented"), badge.as_bytes(), true).await;
        assert_eq!(matches!(result, Err(ClientError::Refused(_))), version == Version::V5, "{client}: {result:?}");
        assert_eq!(node.api.metric("spalla_events_retained_total").await, before + 1);
        device.client.disconnect().await;
    }
    // S20: a day of backlog, by its time, and by the device's own word.
    let device = Device::connect(&reader, Version::V4).await;
    for hour in 1..=24 {
        let then = now_ms() - hour * 3_600_000;
        device.say("presented", &json!({ "id": format!("h{hour}"), "time": then, "token": token })).await.expect("acknowledged");
    }
    device.say("presented", &json!({ "id": "spooled", "historical": true, "token": token })).await.expect("acknowledged");
    until("all are refused as history", async || {
        let all = decisions(node, &gate).await;
        (all.len() == 25 && all.iter().all(|one| one == "historical")).then_some(())
    })
    .await;
    assert!(raw.ping().await.is_empty());

    mesh.nodes[0].kill();
    mesh.nodes[0].start();
    mesh.nodes[0].ready().await;
    let node = &mesh.nodes[0];
    let mut raw = attached(node, &gate, 4, false).await;
    let device = Device::connect(&reader, Version::V4).await;
    assert!(raw.ping().await.is_empty());
    assert_eq!(decisions(node, &gate).await.len(), 25, "nothing was decided anew");
    assert_eq!(node.api.metric("spalla_opening_attempts_total").await, 0);

    // The badge was good all along; told twice, it opens once.
    for _ in 0..2 {
        device.say("presented", &json!({ "id": "now", "token": token })).await.expect("acknowledged");
    }
    let told = raw.told().await;
    assert_eq!(name(&told), "open");
    done(&mut raw, &gate, &told).await;
    device.say("presented", &json!({ "id": "now", "token": token })).await.expect("acknowledged");
    until("one was granted", async || (decisions(node, &gate).await.iter().filter(|one| *one == "granted").count() == 1).then_some(()))
        .await;
    assert_eq!(node.api.metric("spalla_opening_attempts_total").await, 1);
    assert!(raw.messages().await.is_empty());
}

#[tokio::test]
async fn s24_ten_openings_at_once_are_one() {
    let mesh = building().await;
    let node = &mesh.nodes[0];
    for (level, clean) in SESSIONS {
        let gate = mesh.add_device(0, &format!("gate-{level}-{clean}"), "turnstile").await;
        let attempts = node.api.metric("spalla_opening_attempts_total").await;
        let mut raw = attached(node, &gate, level, clean).await;
        let input = json!({ "device": gate.id });
        let asked = join_all((0..10).map(|_| node.api.start("it/open", &input))).await;
        let told = raw.told().await;
        done(&mut raw, &gate, &told).await;
        for instance in &asked {
            assert_eq!(problem(node, instance).await, "null");
        }
        assert_eq!(node.api.metric("spalla_opening_attempts_total").await, attempts + 1);
        let rest = raw.messages().await;
        assert!(rest.is_empty(), "level {level}, clean {clean}: {rest:?}");
    }
}

/// Logged in, listening, and known to be there.
async fn attached(node: &Node, device: &Login, level: u8, clean: bool) -> Raw {
    let mut raw = Raw::open(node.devices_port).await;
    assert_eq!(raw.login(level, device, clean).await, Some(0));
    assert_eq!(raw.subscribe(&device.command_topic()).await, 1);
    node.connected(&device.id).await;
    raw
}

/// Declared; where it is there already, with its password, nothing changes.
async fn gate_without_login(node: &Node, name: &str) {
    let answer = node.api.apply(&format!("kind: device\nid: hq/{name}\nprofile: turnstile\n")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// A gate with a new password.
async fn new_login(node: &Node, name: &str) -> Login {
    login(node, json!({ "id": format!("hq/{name}"), "profile": "turnstile" })).await
}

async fn reader_of(node: &Node, door: &str) -> Login {
    gate_without_login(node, door).await;
    login(node, json!({ "id": "hq/reader", "profile": "qr-reader", "opens": format!("hq/{door}") })).await
}

async fn login(node: &Node, body: Value) -> Login {
    let added = node.api.post_surely("/devices", &body).await;
    assert_eq!(added.status, 200, "{}", added.text);
    let text = |key: &str| added.data()[key].as_str().expect("text").to_owned();
    Login { id: text("id"), password: text("password"), port: node.devices_port }
}

/// From now on the reader asks for this door; its login stays as it is.
async fn opens(node: &Node, reader: &Login, door: &Login) {
    let declared = format!("kind: device\nid: {}\nprofile: qr-reader\nopens: {}\n", reader.id, door.id);
    let answer = node.api.apply(&declared).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// The token of somebody whom these doors let in now.
async fn admitted(node: &Node, doors: &[String]) -> String {
    for door in doors {
        gate_without_login(node, door).await;
    }
    let all: Vec<String> = doors.iter().map(|door| format!("hq/{door}")).collect();
    let area = format!("kind: area\nname: gates\ndoors: [{}]\n", all.join(", "));
    assert_eq!(node.api.apply(&area).await.status, 200);
    let at = |offset: i64| spalla_shared::time::Timestamp(now_ms() + offset).to_rfc3339();
    let instance = node.api.start("it/admit", &json!({ "from": at(-3_600_000), "until": at(3_600_000) })).await;
    until("the credential is granted", async || {
        let shown = node.api.get(&format!("/instances/{instance}")).await;
        let waits = shown.text.contains("stay");
        let token = shown.data()["context"]["credential"]["token"].as_str().map(str::to_owned);
        token.filter(|_| waits)
    })
    .await
}

async fn tell(node: &Node, device: &Login, command: &str) -> String {
    node.api.start("it/tell", &json!({ "device": device.id, "command": command })).await
}

/// What it ended with, `null` where it completed.
async fn problem(node: &Node, instance: &str) -> String {
    until(&format!("{instance} ends"), async || {
        let answer = node.api.get(&format!("/instances/{instance}")).await;
        let data = answer.data();
        match (data["incident"].is_object(), data["ended_at"].is_string()) {
            (true, _) => Some(data["incident"].to_string()),
            (_, true) => Some(data["problem"].to_string()),
            _ => None,
        }
    })
    .await
}

/// What was decided of badges at this door: `granted`, or the reason why not.
async fn decisions(node: &Node, door: &Login) -> Vec<String> {
    let trail = node.api.get(&format!("/audit?limit=1000&subject={}", door.id.replace('/', "%2F"))).await;
    let links = trail.data().as_array().expect("links");
    let of = |link: &Value| match link["action"].as_str() {
        Some("access.granted") => Some("granted".to_owned()),
        Some("access.denied") => Some(link["data"]["reason"].as_str().unwrap_or_default().to_owned()),
        _ => None,
    };
    links.iter().filter_map(of).collect()
}

/// What its gateway knows of its position, and how well.
async fn is_shut(node: &Node, gate: &Login, quality: &str) -> bool {
    let answer = node.api.get(&format!("/devices/{}", gate.id)).await;
    let reading = &answer.data()["here"]["properties"]["position"];
    reading["value"] == "shut" && reading["quality"] == quality
}

async fn done(raw: &mut Raw, gate: &Login, told: &Told) {
    let ack = json!({ "id": command_id(told), "status": "done" }).to_string();
    raw.publish(0x30, &DeviceTopic::Ack(gate.device()).to_string(), 1, ack.as_bytes()).await;
    raw.acknowledged(1).await;
}

fn command_id(told: &Told) -> String {
    field(told, "id")
}

fn name(told: &Told) -> String {
    field(told, "name")
}

fn field(told: &Told, key: &str) -> String {
    let body: Value = serde_json::from_slice(&told.payload).expect("JSON");
    body[key].as_str().expect("text").to_owned()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the end of time")
}
