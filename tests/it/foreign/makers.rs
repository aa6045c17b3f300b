//! Every other convention of `config/profiles`, from its login to what a flow hears and what it is told, against one gateway.
//! A table: what the device says, in its own words, and what must come of it.

use super::*;
use std::time::{SystemTime, UNIX_EPOCH};

/// Notes what it hears of devices, so that the tests can see what flows are given.
const HEARD_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: heard, version: '1.0.0' }
schedule:
  on:
    any:
      - with: { type: spalla.device.object-seen }
      - with: { type: spalla.device.plate-seen }
      - with: { type: spalla.device.line-crossed }
      - with: { type: spalla.device.refused }
      - with: { type: spalla.device.entered }
do:
  - note: { set: { heard: '${ [ $workflow.input[] | { type, subject, data } ] }' } }
"#;

struct Maker {
    /// `site/name` of the login, its profile, its parameters.
    login: (&'static str, &'static str, Value),
    subscribes: &'static [&'static str],
    story: Vec<Step>,
}

/// In texts, `NOW_S`, `NOW_MS` and `NOW_RFC` are the time.
enum Step {
    Says(&'static str, &'static str),
    /// The same with the retain bit: as things are, not as they happen.
    Keeps(&'static str, &'static str),
    /// Admitted as it was proposed.
    Admits(&'static str),
    Online(&'static str, bool),
    Property(&'static str, &'static str, Value),
    Stale(&'static str, &'static str, Value),
    /// A flow hears this event of the device, with this in its data.
    Heard(&'static str, &'static str, &'static str),
    /// Of all that was said so far, flows heard this many events.
    HeardInAll(usize),
    /// The device, the command; what it is told; what it answers; what comes of it.
    Command(&'static str, &'static str, (&'static str, Value), &'static [(&'static str, &'static str)], &'static str),
}

use Step::{Admits, Command, Heard, HeardInAll, Keeps, Online, Property, Says, Stale};

fn makers() -> Vec<Maker> {
    vec![
        Maker {
            login: ("hq/frigate", "frigate", json!({})),
            subscribes: &["frigate/#"],
            story: vec![
                Keeps("frigate/available", "online"),
                Online("hq/frigate", true),
                Says("frigate/yard/status/detect", "online"),
                Admits("hq/yard"),
                Online("hq/yard", true),
                Says("frigate/yard/person", "3"),
                Property("hq/yard", "people", json!(3)),
                Says(
                    "frigate/events",
                    r#"{ "type": "new", "after": { "id": "f-1", "camera": "yard", "label": "person", "score": 0.9, "false_positive": false, "start_time": NOW_S, "current_zones": ["gate"] } }"#,
                ),
                Heard("hq/yard", "spalla.device.object-seen", "gate"),
                // The same object again, another camera's, and a guess at a plate: nothing that a flow hears of.
                Says(
                    "frigate/events",
                    r#"{ "type": "new", "after": { "id": "f-1", "camera": "yard", "label": "person", "score": 0.9, "false_positive": false, "start_time": NOW_S } }"#,
                ),
                Says(
                    "frigate/events",
                    r#"{ "type": "new", "after": { "id": "f-2", "camera": "roof", "label": "cat", "score": 0.9, "false_positive": false, "start_time": NOW_S } }"#,
                ),
                Says(
                    "frigate/tracked_object_update",
                    r#"{ "type": "lpr", "id": "f-3", "plate": "AB 1", "score": 0.2, "camera": "yard", "timestamp": NOW_S }"#,
                ),
                Says(
                    "frigate/tracked_object_update",
                    r#"{ "type": "lpr", "id": "f-4", "plate": "B-AD 42", "score": 0.93, "camera": "yard", "timestamp": NOW_S }"#,
                ),
                Heard("hq/yard", "spalla.device.plate-seen", "B-AD 42"),
                HeardInAll(2),
                Command(
                    "hq/yard",
                    "detect-off",
                    ("frigate/yard/detect/set", json!("OFF")),
                    &[("frigate/yard/detect/state", "OFF")],
                    "done",
                ),
                Keeps("frigate/available", "offline"),
                Online("hq/yard", false),
            ],
        },
        Maker {
            login: ("hq/cam", "onvif-camera", json!({ "prefix": "BoschCam1" })),
            subscribes: &[],
            story: vec![
                Online("hq/cam", true),
                Says(
                    "BoschCam1/onvif-ej/RuleEngine/LineDetector/Crossed/&1/Fence",
                    r##"{ "UtcTime": "NOW_RFC", "Source": { "Rule": "Fence" }, "Data": { "Object": { "Object": { "@ObjectId": 7, "Appearance": { "Class": { "Type": { "#text": "Person" } } } } } } }"##,
                ),
                Heard("hq/cam", "spalla.device.line-crossed", "Fence"),
                // Kept for an hour and sent now: history.
                Says(
                    "BoschCam1/onvif-ej/RuleEngine/LineDetector/Crossed/&1/Fence",
                    r#"{ "UtcTime": "2026-01-01T00:00:00.000Z", "Source": { "Rule": "Fence" }, "Data": { "Object": {} } }"#,
                ),
                HeardInAll(1),
            ],
        },
        Maker {
            login: ("hq/flat", "nuki-hub", json!({})),
            subscribes: &["nukihub/lock/action"],
            story: vec![
                Keeps("nukihub/maintenance/mqttConnectionState", "online"),
                Keeps("nukihub/lock/state", "locked"),
                Keeps("nukihub/lock/doorSensorState", "doorClosed"),
                Online("hq/flat", true),
                Property("hq/flat", "lock", json!("locked")),
                Property("hq/flat", "open", json!(false)),
                // Accepted, then completed: two topics, and only the second one is the end of it.
                Command(
                    "hq/flat",
                    "open",
                    ("nukihub/lock/action", json!("lockNgoUnlatch")),
                    &[
                        ("nukihub/lock/action", "ack"),
                        ("nukihub/lock/commandResult", "success"),
                        ("nukihub/lock/completionStatus", "success"),
                    ],
                    "done",
                ),
                Command(
                    "hq/flat",
                    "lock",
                    ("nukihub/lock/action", json!("lock")),
                    &[("nukihub/lock/completionStatus", "motorBlocked")],
                    "refused",
                ),
                // Its last word: the login is still there, and what it said of the lock is not how things are.
                Keeps("nukihub/maintenance/mqttConnectionState", "offline"),
                Stale("hq/flat", "lock", json!("locked")),
            ],
        },
        Maker {
            login: ("hq/shed", "esp-rfid", json!({ "ip": "192.0.2.7" })),
            subscribes: &["/rfid"],
            story: vec![
                Says("/rfid/send", r#"{ "type": "heartbeat", "time": NOW_S, "door": "shed" }"#),
                Online("hq/shed", true),
                Command(
                    "hq/shed",
                    "open",
                    ("/rfid", json!({ "cmd": "opendoor", "doorip": "192.0.2.7" })),
                    &[("/rfid/send", r#"{ "type": "INFO", "src": "door", "desc": "Door Open", "time": NOW_S, "door": "shed" }"#)],
                    "done",
                ),
                Property("hq/shed", "open", json!(true)),
                Says(
                    "/rfid/send",
                    r#"{ "type": "access", "time": NOW_S, "isknown": "false", "access": "Denied", "username": "", "uid": "4d7a", "door": "shed" }"#,
                ),
                Heard("hq/shed", "spalla.device.refused", "4d7a"),
                // Another controller's, and one of last year.
                Says(
                    "/rfid/send",
                    r#"{ "type": "access", "time": NOW_S, "isknown": "false", "access": "Denied", "uid": "ffff", "door": "garage" }"#,
                ),
                Says(
                    "/rfid/send",
                    r#"{ "type": "access", "time": 1605991375, "isknown": "false", "access": "Denied", "uid": "4d7a", "door": "shed" }"#,
                ),
                HeardInAll(1),
            ],
        },
        Maker {
            login: ("hq/van", "owntracks", json!({ "user": "anna" })),
            subscribes: &["owntracks/anna/van/cmd"],
            story: vec![
                Says("owntracks/anna/van", r#"{ "_type": "location", "lat": 12.97, "lon": 77.59, "acc": 10, "batt": 80, "tst": NOW_S }"#),
                Property("hq/van", "battery", json!(80)),
                Property("hq/van", "position", json!({ "lat": 12.97, "lon": 77.59, "accuracy": 10 })),
                Says("owntracks/anna/van/event", r#"{ "_type": "transition", "event": "enter", "desc": "Depot", "tst": NOW_S }"#),
                Heard("hq/van", "spalla.device.entered", "Depot"),
                // What it could not send yesterday.
                Says("owntracks/anna/van/event", r#"{ "_type": "transition", "event": "enter", "desc": "Yesterday", "tst": 1700000000 }"#),
                HeardInAll(1),
            ],
        },
    ]
}

#[tokio::test]
async fn each_maker_s_device_is_understood_and_told_in_its_own_words() {
    let profiles = ["frigate", "frigate-camera", "onvif-camera", "nuki-hub", "esp-rfid", "owntracks"];
    let mesh = building(&profiles).await;
    let node = &mesh.nodes[0];
    assert_eq!(node.api.apply(HEARD_FLOW).await.status, 200);
    for maker in makers() {
        let (id, profile, parameters) = &maker.login;
        let login = add(node, json!({ "id": id, "profile": profile, "parameters": parameters })).await;
        let mut device = subscribed(&login, maker.subscribes).await;
        let before = heard(node).await.len();
        for step in &maker.story {
            play(node, &mut device, before, step).await;
        }
    }
}

async fn play(node: &Node, device: &mut Device, before: usize, step: &Step) {
    match step {
        Says(topic, payload) => says(device, topic, &of_now(payload)).await,
        Keeps(topic, payload) => device.publish(topic, of_now(payload).as_bytes(), true).await.expect("acknowledged"),
        Admits(id) => _ = cli(node, &["device", "admit", id]).await,
        Online(id, true) => node.connected(id).await,
        Online(id, false) => node.away(id).await,
        Property(id, name, wanted) => property(node, id, name, wanted.clone(), "live").await,
        Stale(id, name, wanted) => property(node, id, name, wanted.clone(), "stale").await,
        Heard(id, kind, part) => {
            until(&format!("a flow hears {kind} of {id}"), async || {
                let all = heard(node).await;
                all.iter().any(|one| one["type"] == *kind && one["subject"] == *id && one["data"].to_string().contains(part)).then_some(())
            })
            .await;
        }
        HeardInAll(count) => {
            let all = heard(node).await;
            assert_eq!(all.len() - before, *count, "{all:?}");
        }
        Command(id, command, (topic, payload), answers, status) => {
            let instance = tell(node, id, command, json!({})).await;
            let message = told(device, topic).await;
            assert_eq!((&body(&message), message.retain), (payload, false), "{id} {command}");
            for (topic, payload) in *answers {
                says(device, topic, &of_now(payload)).await;
            }
            let outcome = outcome(node, &instance).await;
            let is = outcome["status"] == *status || outcome.to_string().contains(status);
            assert!(is, "{id} {command}: {outcome}");
        }
    }
}

/// What flows were given so far.
async fn heard(node: &Node) -> Vec<Value> {
    let answer = node.api.get("/instances?status=completed&flow=it/heard&limit=200").await;
    let mut all = Vec::new();
    for instance in answer.data().as_array().expect("a list") {
        let id = instance["id"].as_str().or(instance["instance"].as_str()).expect("an id");
        let shown = node.api.get(&format!("/instances/{id}")).await;
        all.extend(shown.data()["output"]["heard"].as_array().cloned().unwrap_or_default());
    }
    all
}

fn of_now(text: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let millis = i64::try_from(now.as_millis()).expect("before the end of time");
    text.replace("NOW_S", &now.as_secs().to_string())
        .replace("NOW_MS", &millis.to_string())
        .replace("NOW_RFC", &spalla_shared::time::Timestamp(millis).to_rfc3339())
}
