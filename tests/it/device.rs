//! Devices that do what they may not, and commands for devices that are not there. Others do not notice.

use crate::PROGRAM;
use serde_json::{Value, json};
use spalla_broker::client::{ClientError, ClientEvent, Version};
use spalla_tests::{Device, Login, Mesh, Node, Raw, mesh::config_folder, until};

const SEEN_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: seen, version: '1.0.0' }
schedule: { on: { one: { with: { type: spalla.device.seen } } } }
do:
  - note: { set: { seen: true } }
"#;
const TELL_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: tell, version: '1.0.0' }
do:
  - tell:
      call: device.command:1.0.0@default
      with: { target: '${ .device }', command: '${ .command }', ack: { within: '${ .within }' } }
"#;
/// As long as there may be for the answer to an opening.
const PATIENT: &str = "PT10S";

async fn one_building() -> Mesh {
    let mesh = Mesh::start(PROGRAM, &["hq"]).await;
    for profile in ["qr-reader", "turnstile"] {
        let text = std::fs::read_to_string(config_folder().join(format!("profiles/{profile}.yaml"))).expect("a profile");
        assert_eq!(mesh.nodes[0].api.apply(&text).await.status, 200);
    }
    for flow in [SEEN_FLOW, TELL_FLOW] {
        let answer = mesh.nodes[0].api.apply(flow).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    mesh
}

#[tokio::test]
async fn what_a_device_may_not_do_is_refused_and_counted_and_disturbs_nobody() {
    let mesh = one_building().await;
    let node = &mesh.nodes[0];
    let good = mesh.add_device(0, "good", "qr-reader").await;
    let rogue = mesh.add_device(0, "rogue", "qr-reader").await;
    let mut witness = Device::connect(&good, Version::V5).await;
    witness.say("seen", &json!({ "id": "before" })).await.expect("acknowledged");

    who_may_come_in(node, &rogue).await;
    for version in [Version::V4, Version::V5] {
        what_it_may_say(node, &rogue, &good, version).await;
    }
    bytes_that_are_no_mqtt(node, &rogue).await;

    // Only the witness's events became instances, and its connection was never touched.
    witness.say("seen", &json!({ "id": "after" })).await.expect("acknowledged");
    until("both events are instances", async || (started(node).await == 2).then_some(())).await;
    while let Ok(event) = witness.events.try_recv() {
        assert!(!matches!(event, ClientEvent::Disconnected { .. }), "{event:?}");
    }
    assert!(witness.client.is_connected());
    let devices = node.api.get("/devices").await;
    let online: Vec<&Value> = devices.data().as_array().expect("a list").iter().filter(|device| device["online"] == true).collect();
    assert!(online.iter().any(|device| device["id"] == good.id), "{}", devices.text);
}

async fn started(node: &Node) -> u64 {
    node.api.get("/status").await.data()["instances"]["started"].as_u64().expect("a number")
}

async fn who_may_come_in(node: &Node, login: &Login) {
    let before = node.api.metric("spalla_bad_credentials_total").await;
    let wrong_password = Login { password: "not-the-password".into(), ..login.clone() };
    let unknown = Login { id: "hq/nobody".into(), ..login.clone() };
    // Nobody learns from the answer which devices there are.
    for stranger in [&wrong_password, &unknown] {
        for (level, code) in [(4, 4), (5, 0x86)] {
            let mut raw = Raw::open(node.devices_port).await;
            assert_eq!(raw.login(level, stranger, true).await, Some(code), "{} at level {level}", stranger.id);
            assert!(raw.packet().await.is_none(), "the connection stays open");
        }
    }
    // No password at all: a CONNECT without the two flags.
    let mut raw = Raw::open(node.devices_port).await;
    raw.send(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x").await;
    assert_eq!(raw.packet().await, Some((0x20, vec![0, 5])));
    assert_eq!(node.api.metric("spalla_bad_credentials_total").await, before + 5);
}

async fn what_it_may_say(node: &Node, rogue: &Login, good: &Login, version: Version) {
    let device = Device::connect(rogue, version).await;
    // v5 says why; 3.1.1 has no words for it: taken off the wire, dropped and counted.
    let refused = |result: Result<(), ClientError>, what: &str| match version {
        Version::V5 => assert!(matches!(&result, Err(ClientError::Refused(_))), "{what}: {result:?}"),
        Version::V4 => assert_eq!(result, Ok(()), "{what}"),
    };
    let seen = rogue.event_topic("seen");
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(70_000));
    let cases: [(&str, &str, &[u8], bool); 6] = [
        ("spalla_mqtt_dropped_total", &good.event_topic("seen"), b"{}", false),
        ("spalla_mqtt_dropped_total", &good.command_topic(), b"{}", false),
        ("spalla_mqtt_dropped_total", &rogue.command_topic(), b"{}", false),
        ("spalla_undecodable_total", &seen, b"\xff\xfe\x00", false),
        ("spalla_oversize_total", &seen, large.as_bytes(), false),
        ("spalla_events_retained_total", &seen, b"{}", true),
    ];
    for (counter, topic, payload, retain) in cases {
        let before = node.api.metric(counter).await;
        refused(device.publish(topic, payload, retain).await, topic);
        assert_eq!(node.api.metric(counter).await, before + 1, "{counter} of {topic} at {version:?}");
    }
    for filter in [&*good.command_topic(), "#", "spalla/#", "spalla/v1/hq/+/command", "$share/all/spalla/#"] {
        let result = device.client.subscribe(filter, spalla_broker::message::Qos::AtLeastOnce).await;
        assert!(matches!(result, Err(ClientError::Refused(_))), "{filter}: {result:?}");
    }
    device.listen().await.expect("its own commands");
    device.client.disconnect().await;
}

async fn bytes_that_are_no_mqtt(node: &Node, login: &Login) {
    let before = node.api.metric("spalla_mqtt_refused_total").await;
    let openings: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\xff", b"\x00\x00", b"\xc0\x00"];
    for bytes in openings {
        let mut raw = Raw::open(node.devices_port).await;
        raw.send(bytes).await;
        assert!(raw.packet().await.is_none(), "{bytes:?} was answered");
    }
    until("each is counted", async || (node.api.metric("spalla_mqtt_refused_total").await == before + 4).then_some(())).await;
    // After a good login: v5 is told the reason, 3.1.1 only finds the connection ended.
    let too_large = [&b"\x32\x80\x80\x80\x08"[..], &[0; 64]].concat();
    let malformed: [(&[u8], u8); 2] = [(b"\x36\x02\x00\x00", 0x81), (&too_large, 0x95)];
    for (bytes, reason) in malformed {
        for level in [4, 5] {
            let mut raw = Raw::open(node.devices_port).await;
            assert_eq!(raw.login(level, login, true).await, Some(0));
            raw.send(bytes).await;
            let last = raw.packet().await;
            let told = last.as_ref().map(|(kind, body)| (*kind, body.first().copied()));
            assert_eq!(told, if level == 5 { Some((0xE0, Some(reason))) } else { None }, "{bytes:?} at level {level}: {last:?}");
        }
    }
}

#[tokio::test]
async fn no_command_reaches_a_device_that_comes_back_too_late() {
    let mesh = one_building().await;
    let node = &mesh.nodes[0];
    let reader = mesh.add_device(0, "reader", "qr-reader").await;
    let gates = [(4, mesh.add_device(0, "gate-4", "turnstile").await), (5, mesh.add_device(0, "gate-5", "turnstile").await)];

    // Away from the start: an opening does not wait at all, another command waits no longer than its deadline.
    let problem = ended(node, &tell(node, &gates[0].1, "open", PATIENT).await).await;
    assert!(problem.to_string().contains("device-offline"), "{problem}");
    assert_eq!(node.api.metric("spalla_opening_attempts_total").await, 0);
    ended(node, &tell(node, &reader, "show", "PT2S").await).await;
    let mut back = Device::connect(&reader, Version::V5).await;
    back.listen().await.expect("granted");
    node.connected(&reader.id).await;
    // What waited would come before what is asked for now.
    let shown = tell(node, &reader, "show", PATIENT).await;
    let message = back.message().await;
    assert!(!message.retain && message.expires_at.is_some(), "{message:?}");
    ended(node, &shown).await;
    while let Ok(event) = back.events.try_recv() {
        assert!(!matches!(event, ClientEvent::Message(_)), "{event:?}");
    }

    // Gone with an opening in hand, unacknowledged, in a session that the broker keeps: it must not come again.
    for (level, gate) in &gates {
        let attempts = node.api.metric("spalla_opening_attempts_total").await;
        let mut raw = Raw::open(node.devices_port).await;
        assert_eq!(raw.login(*level, gate, false).await, Some(0));
        assert_eq!(raw.subscribe(&gate.command_topic()).await, 1);
        node.connected(&gate.id).await;
        // Nobody answers: so long does it take until that is known.
        let instance = tell(node, gate, "open", "PT4S").await;
        let first = raw.told().await;
        assert!(!first.retain && first.topic == gate.command_topic(), "{first:?}");
        drop(raw);
        node.away(&gate.id).await;
        let problem = ended(node, &instance).await;
        assert!(problem.to_string().contains("unknown-outcome"), "{problem}");

        let mut raw = Raw::open(node.devices_port).await;
        assert_eq!(raw.login(*level, gate, false).await, Some(0));
        assert_eq!(raw.subscribe(&gate.command_topic()).await, 1);
        assert!(raw.ping().await.is_empty(), "level {level}: something waited for the device");
        node.connected(&gate.id).await;
        let second = tell(node, gate, "open", PATIENT).await;
        let told = raw.told().await;
        assert!(!told.again && !told.retain, "{told:?}");
        let id = |payload: &[u8]| serde_json::from_slice::<Value>(payload).expect("JSON")["id"].as_str().expect("an id").to_owned();
        assert_ne!(id(&told.payload), id(&first.payload), "level {level}: the old opening came again");
        let ack = json!({ "id": id(&told.payload), "status": "done" }).to_string();
        let topic = spalla_shared::topic::DeviceTopic::Ack(gate.device()).to_string();
        raw.publish(0x30, &topic, 1, ack.as_bytes()).await;
        assert_eq!(ended(node, &second).await, Value::Null);
        assert_eq!(node.api.metric("spalla_opening_attempts_total").await, attempts + 2);
        let trail = node.api.get(&format!("/audit?limit=100&subject={}", gate.id)).await;
        let actions: Vec<&str> = trail.data().as_array().expect("links").iter().filter_map(|link| link["action"].as_str()).collect();
        assert!(actions.contains(&"effect.unknown") && actions.contains(&"effect.done"), "{}", trail.text);
    }
}

async fn tell(node: &Node, device: &Login, command: &str, within: &str) -> String {
    node.api.start("it/tell", &json!({ "device": device.id, "command": command, "within": within })).await
}

/// Waits until the instance has ended and gives back its problem, null where it completed.
async fn ended(node: &Node, instance: &str) -> Value {
    until(&format!("{instance} ends"), async || {
        let answer = node.api.get(&format!("/instances/{instance}")).await;
        let data = answer.data();
        let over = data["incident"].is_object() || data["ended_at"].is_string();
        over.then(|| if data["incident"].is_object() { data["incident"].clone() } else { data["problem"].clone() })
    })
    .await
}
