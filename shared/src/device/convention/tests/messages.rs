//! What messages of real devices mean by the profiles of `config/profiles`, and what commands look like on the wire.

use crate::device::convention::{Compiled, Incoming, Meaning, Order, Speaker};
use crate::resource::{Device, Resource, read};
use crate::time::Timestamp;
use crate::value::Value;
use std::path::Path;
use std::sync::Arc;

fn speaker(profile: &str, id: &str, parameters: &[(&str, &str)]) -> Speaker {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../config/profiles/{profile}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let resources = read(&text).unwrap_or_else(|found| panic!("{profile}: {found:?}"));
    let profile = resources.iter().find_map(|one| if let Resource::Profile(profile) = one { Some(profile) } else { None });
    let compiled = Compiled::of(profile.unwrap()).unwrap().unwrap();
    let parameters = parameters.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect();
    Speaker::bind(Arc::new(compiled), &Device { parameters, ..Device::new(id.into()) }).unwrap()
}

fn words(meaning: &Meaning) -> String {
    let at = |time: &Option<Timestamp>| time.map_or_else(String::new, |at| format!(" @{}", at.millis()));
    match meaning {
        Meaning::Online { part, online } => format!("online.{part} {online}"),
        Meaning::State { property, value, time } => format!("{property}={value}{}", at(time)),
        Meaning::Event { name, id, time, data } => format!("{name}#{}{} {data}", id.as_deref().unwrap_or("-"), at(time)),
        Meaning::Answer { command, id, status, detail } => {
            format!("{command}<-{status:?}#{} {detail}", id.as_deref().unwrap_or("last"))
        }
        Meaning::Proposal(proposal) => {
            let parameters: Vec<String> = proposal.parameters.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            format!("{} is {} [{}]", proposal.name, proposal.profile, parameters.join(" "))
        }
    }
}

/// Each message with what it means; a problem shows as `!…`.
fn means(speaker: &Speaker, cases: &[(&str, &str, &[&str])]) {
    for (topic, payload, expected) in cases {
        let understood = speaker.understand(&Incoming { topic, payload: payload.as_bytes(), retained: false });
        let mut told: Vec<String> = understood.meanings.iter().map(words).collect();
        told.extend(understood.problems.iter().map(|problem| format!("!{problem}")));
        assert_eq!(told, *expected, "{topic} {payload}");
    }
}

/// The topic and the payload of a command `k1`, issued at 1 s, expiring at 4 s.
fn sent(speaker: &Speaker, name: &str, args: &str) -> String {
    let args = Value::from_json(args).unwrap();
    let order = Order { id: "k1", name, args: &args, issued_at: Timestamp(1_000), expires_at: Timestamp(4_000) };
    let encoded = speaker.encode(&order).unwrap();
    format!("{} {}", encoded.topic, String::from_utf8(encoded.payload).unwrap())
}

#[test]
fn shelly_gen2_rpc() {
    let strike = speaker("shelly-strike", "hq/door-1", &[("prefix", "shellies/door-1")]);
    let delta = |params: &str| format!(r#"{{"src":"shellyplus1-a8","dst":"x","method":"NotifyStatus","params":{params}}}"#);
    means(
        &strike,
        &[
            ("shellies/door-1/online", "true", &["online.0 true"]),
            ("shellies/door-1/online", "false", &["online.0 false"]),
            ("shellies/door-1/status/switch:0", r#"{"id":0,"output":true}"#, &["lock=\"unlocked\""]),
            ("shellies/door-1/status/input:0", r#"{"id":0,"state":true}"#, &["open=true"]),
            (
                "shellies/door-1/events/rpc",
                &delta(r#"{"ts":1631186545.04,"switch:0":{"id":0,"output":false}}"#),
                &["lock=\"locked\" @1631186545040"],
            ),
            // A delta that says nothing of it leaves it as it is; so does a key that went away.
            ("shellies/door-1/events/rpc", &delta(r#"{"ts":1631186545.04,"cloud":{"connected":false}}"#), &[]),
            ("shellies/door-1/events/rpc", &delta(r#"{"ts":1.5,"switch:0":null,"input:0":{"state":true}}"#), &["open=true @1500"]),
            (
                "shellies/door-1/spalla/rpc",
                r#"{"id":"k1","src":"s","result":{"was_on":false}}"#,
                &["lock<-Done#k1 {\"was_on\":false}", "unlock<-Accepted#k1 {\"was_on\":false}"],
            ),
            (
                "shellies/door-1/spalla/rpc",
                r#"{"id":"k1","error":{"code":-105,"message":"no such switch"}}"#,
                &["lock<-Failed#k1 \"no such switch\"", "unlock<-Failed#k1 \"no such switch\""],
            ),
            ("shellies/door-2/status/switch:0", r#"{"output":true}"#, &[]),
            ("shellies/door-1/status/switch:0", "\u{1}{", &["!state `lock`: Cannot index string with \"output\""]),
        ],
    );
    assert_eq!(
        sent(&strike, "unlock", r#"{"seconds":2}"#),
        r#"shellies/door-1/rpc {"id":"k1","method":"Switch.Set","params":{"id":0,"on":true,"toggle_after":2},"src":"shellies/door-1/spalla"}"#
    );
    assert!(sent(&strike, "unlock", r#"{"seconds":3600}"#).contains("\"toggle_after\":10}"), "the pulse has a bound whatever is asked");
    assert!(strike.may_publish("shellies/door-1/debug/log") && !strike.may_publish("shellies/door-2/online"));
    assert!(!strike.may_publish("shellies/door-1/rpc"), "nobody but the gateway sends commands");
    for (filter, may) in
        [("shellies/door-1/rpc", true), ("shellies/door-1/command/#", true), ("shellies/#", false), ("shellies/+/rpc", false)]
    {
        assert_eq!(strike.may_subscribe(filter), may, "{filter}");
    }
}

#[test]
fn zigbee2mqtt() {
    // Friendly names hold slashes and spaces.
    let lock = speaker("zigbee2mqtt-lock", "hq/front", &[("friendly_name", "hall/Front Door Lock")]);
    means(
        &lock,
        &[
            ("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#, &["online.0 true"]),
            ("zigbee2mqtt/bridge/state", "offline", &["online.0 false"]),
            ("zigbee2mqtt/hall/Front Door Lock/availability", r#"{"state":"offline"}"#, &["online.1 false"]),
            // What was asked for (`state`) is not what the bolt does (`lock_state`).
            (
                "zigbee2mqtt/hall/Front Door Lock",
                r#"{"action":null,"battery":36,"lock_state":"unlocked","state":"LOCK"}"#,
                &["battery=36", "lock=\"unlocked\""],
            ),
            ("zigbee2mqtt/hall/Front Door Lock", r#"{"lock_state":"not_fully_locked"}"#, &["lock=\"jammed\""]),
            ("zigbee2mqtt/hall/Front Door Lock/set", r#"{"state":"UNLOCK"}"#, &[]),
        ],
    );
    assert_eq!(sent(&lock, "unlock", "{}"), r#"zigbee2mqtt/hall/Front Door Lock/set {"state":"UNLOCK"}"#);
    let contact = speaker("zigbee2mqtt-contact", "hq/contact-1", &[]);
    means(
        &contact,
        &[
            ("zigbee2mqtt/contact-1", r#"{"contact":true,"tamper":false,"battery":97}"#, &["battery=97", "open=false"]),
            ("zigbee2mqtt/contact-1", r#"{"contact":false,"tamper":true}"#, &["open=true", "tampered#- {\"tamper\":true}"]),
            ("zigbee2mqtt/contact-1", r#"{"battery":96}"#, &["battery=96"]),
        ],
    );
    let climate = speaker("zigbee2mqtt-climate", "hq/my_sensor", &[]);
    means(&climate, &[("zigbee2mqtt/my_sensor", r#"{"temperature":27.34,"humidity":44.72}"#, &["humidity=44.72", "temperature=27.34"])]);
    let bridge = speaker("zigbee2mqtt-bridge", "hq/z2m", &[]);
    means(
        &bridge,
        &[
            ("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#, &["state=\"online\""]),
            (
                "zigbee2mqtt/bridge/devices",
                r#"[{"type":"Coordinator","friendly_name":"Coordinator"},
                    {"type":"EndDevice","supported":true,"friendly_name":"hall/Front Door Lock","definition":{"description":"Lock",
                     "exposes":[{"type":"lock","features":[{"property":"state"}]}]}},
                    {"type":"EndDevice","supported":true,"friendly_name":"c1","definition":{"exposes":[{"type":"binary","property":"contact"}]}}]"#,
                &[
                    "hall-Front-Door-Lock is zigbee2mqtt-lock [base:zigbee2mqtt friendly_name:hall/Front Door Lock]",
                    "c1 is zigbee2mqtt-contact [base:zigbee2mqtt friendly_name:c1]",
                ],
            ),
        ],
    );
    assert!(bridge.may_subscribe("zigbee2mqtt/#") && !bridge.may_subscribe("#"));
}

#[test]
fn tasmota() {
    let strike = speaker("tasmota-strike", "hq/strike_1", &[]);
    means(
        &strike,
        &[
            ("tele/strike_1/LWT", "Online", &["online.0 true"]),
            ("tele/strike_1/LWT", "Offline", &["online.0 false"]),
            ("stat/strike_1/POWER", "ON", &["lock=\"unlocked\""]),
            ("tele/strike_1/STATE", r#"{"Time":"2026-11-23T10:13:52","POWER":"OFF"}"#, &["lock=\"locked\""]),
            ("stat/strike_1/RESULT", r#"{"POWER":"ON"}"#, &["unlock<-Done#last null"]),
            ("stat/strike_1/RESULT", r#"{"POWER":"OFF"}"#, &["lock<-Done#last null"]),
            ("stat/strike_1/RESULT", r#"{"PulseTime1":{"Set":30,"Remaining":0}}"#, &[]),
            ("tele/strike_1/SENSOR", r#"{"Time":"2026-11-23T10:13:52"}"#, &[]),
        ],
    );
    assert_eq!(sent(&strike, "unlock", "{}"), "cmnd/strike_1/Backlog PulseTime1 30; Power1 ON");
    assert_eq!(sent(&strike, "unlock", r#"{"seconds":0.05}"#), "cmnd/strike_1/Backlog PulseTime1 1; Power1 ON");
    assert_eq!(sent(&strike, "unlock", r#"{"seconds":600}"#), "cmnd/strike_1/Backlog PulseTime1 100; Power1 ON");
    assert_eq!(sent(&strike, "lock", "{}"), "cmnd/strike_1/Power1 OFF");
}

#[test]
fn uhppoted() {
    let door = speaker("uhppoted-door", "hq/side", &[("controller", "405419896"), ("door", "1"), ("utc_offset", "-07:00")]);
    let event = |fields: &str| {
        format!(
            r#"{{"device-id":405419896,"event-id":24,"door-id":1,"card-number":8165533,"direction-text":"in","timestamp":"2019-07-24 20:31:24 PDT",{fields}}}"#
        )
    };
    let admitted = event(r#""event-type":1,"access-granted":true"#);
    let data = "{\"card\":\"8165533\",\"direction\":\"in\",\"reason\":null}";
    means(
        &door,
        &[
            ("uhppoted/gateway/events", &admitted, &[&format!("admitted#405419896-24 @1564025484000 {data}")]),
            (
                "uhppoted/gateway/events/live",
                &format!(r#"{{"message":{{"event":{admitted}}}}}"#),
                &[&format!("admitted#405419896-24 @1564025484000 {data}")],
            ),
            (
                "uhppoted/gateway/events",
                &event(r#""event-type":1,"access-granted":false"#),
                &[&format!("refused#405419896-24 @1564025484000 {data}")],
            ),
            (
                "uhppoted/gateway/events",
                &event(r#""event-type":2,"access-granted":true"#),
                &["opened#405419896-24 @1564025484000 {\"reason\":null}"],
            ),
            ("uhppoted/gateway/events", &admitted.replace("\"door-id\":1", "\"door-id\":2"), &[]),
            ("uhppoted/gateway/events", &admitted.replace("405419896", "303986753"), &[]),
            (
                "uhppoted/reply/hq/side",
                r#"{"message":{"reply":{"request-id":"k1","method":"open-door","response":{"door":1,"opened":true}}}}"#,
                &["unlock<-Done#k1 {\"door\":1,\"opened\":true}"],
            ),
            (
                "uhppoted/reply/hq/side",
                r#"{"message":{"reply":{"request-id":"k1","response":{"opened":false}}}}"#,
                &["unlock<-Failed#k1 {\"opened\":false}"],
            ),
        ],
    );
    assert_eq!(
        sent(&door, "unlock", r#"{"card":8165533}"#),
        "uhppoted/gateway/requests/device/door/lock:open {\"message\":{\"request\":{\"card-number\":8165533,\"client-id\":\"spalla\",\
         \"device-id\":405419896,\"door\":1,\"reply-to\":\"uhppoted/reply/hq/side\",\"request-id\":\"k1\"}}}"
    );
    let gateway = speaker("uhppoted-gateway", "hq/uhppoted", &[]);
    means(
        &gateway,
        &[(
            "uhppoted/reply/hq/uhppoted",
            r#"{"message":{"reply":{"method":"get-devices","response":{"devices":{"405419896":{}}}}}}"#,
            &[1, 2, 3, 4].map(|n| format!("controller-405419896-door-{n} is uhppoted-door [controller:405419896 door:{n} replies:uhppoted/reply root:uhppoted/gateway]")).each_ref().map(|text| text.as_str()),
        )],
    );
}

#[test]
fn frigate() {
    let camera = speaker("frigate-camera", "hq/gate", &[("camera", "front_door")]);
    let tracked = |kind: &str, camera: &str| {
        format!(
            r#"{{"type":"{kind}","before":{{}},"after":{{"id":"160.4-mx","camera":"{camera}","label":"person","score":0.88,"false_positive":false,
                "start_time":1607123955.475377,"current_zones":["yard"],"recognized_license_plate":null}}}}"#
        )
    };
    means(
        &camera,
        &[
            ("frigate/available", "online", &["online.0 true"]),
            ("frigate/available", "stopped", &["online.0 false"]),
            ("frigate/front_door/status/detect", "disabled", &["online.1 true"]),
            ("frigate/front_door/status/detect", "offline", &["online.1 false"]),
            ("frigate/front_door/person", "3", &["people=3"]),
            (
                "frigate/events",
                &tracked("new", "front_door"),
                &["object-seen#160.4-mx @1607123955475 {\"label\":\"person\",\"plate\":null,\"score\":0.88,\"zones\":[\"yard\"]}"],
            ),
            ("frigate/events", &tracked("update", "front_door"), &[]),
            ("frigate/events", &tracked("new", "back_door"), &[]),
            (
                "frigate/tracked_object_update",
                r#"{"type":"lpr","id":"160.4-mx","name":"Ann","plate":"123ABC","score":0.95,"camera":"front_door","timestamp":1607123958.748393}"#,
                &["plate-seen#160.4-mx-123ABC @1607123958748 {\"confidence\":0.95,\"name\":\"Ann\",\"plate\":\"123ABC\"}"],
            ),
            // A guess is not told.
            (
                "frigate/tracked_object_update",
                r#"{"type":"lpr","id":"1","plate":"1","score":0.4,"camera":"front_door","timestamp":1}"#,
                &[],
            ),
            ("frigate/front_door/detect/state", "ON", &["detect=true", "detect-on<-Done#last null"]),
        ],
    );
    assert_eq!(sent(&camera, "detect-off", "{}"), "frigate/front_door/detect/set OFF");
    let server = speaker("frigate", "hq/frigate", &[]);
    means(&server, &[("frigate/yard/status/detect", "online", &["yard is frigate-camera [camera:yard root:frigate]"])]);
}

#[test]
fn onvif_json_of_either_shape() {
    let camera = speaker("onvif-camera", "hq/cam", &[("prefix", "BoschCam1")]);
    let topic = "BoschCam1/onvif-ej/RuleEngine/LineDetector/Crossed/&1/Crossing_line_1";
    let crossed = |object: &str| {
        format!(r#"{{"UtcTime":"2026-01-01T00:00:00.000Z","Source":{{"VideoSource":"1","Rule":"Line1"}},"Data":{{"Object":{object}}}}}"#)
    };
    let is = "line-crossed#- @1767225600000 {\"class\":\"Person\",\"object\":7,\"rule\":\"Line1\"}";
    means(
        &camera,
        &[
            (
                topic,
                &crossed(r##"{"Object":{"@ObjectId":7,"Appearance":{"Class":{"Type":{"@Likelihood":0.91,"#text":"Person"}}}}}"##),
                &[is],
            ),
            (topic, &crossed(r##"[{"Object":[{"@ObjectId":7,"Appearance":{"Class":{"Type":[{"#text":"Person"}]}}}]}]"##), &[is]),
            (topic, &crossed(r#"{"Object":{"@ObjectId":7,"Appearance":{"Class":{"Type":"Person"}}}}"#), &[is]),
        ],
    );
}

#[test]
fn nuki_hub_says_three_separate_things_of_a_command() {
    let lock = speaker("nuki-hub", "hq/flat", &[]);
    means(
        &lock,
        &[
            ("nukihub/maintenance/mqttConnectionState", "online", &["online.0 true"]),
            ("nukihub/lock/state", "locked", &["lock=\"locked\""]),
            ("nukihub/lock/doorSensorState", "doorClosed", &["open=false"]),
            ("nukihub/lock/action", "ack", &[]),
            ("nukihub/lock/commandResult", "success", &["lock<-Accepted#last \"success\"", "open<-Accepted#last \"success\""]),
            ("nukihub/lock/commandResult", "working", &[]),
            ("nukihub/lock/completionStatus", "success", &["lock<-Done#last \"success\"", "open<-Done#last \"success\""]),
            (
                "nukihub/lock/completionStatus",
                "motorBlocked",
                &["lock<-Failed#last \"motorBlocked\"", "open<-Failed#last \"motorBlocked\""],
            ),
        ],
    );
    assert_eq!(sent(&lock, "open", "{}"), "nukihub/lock/action lockNgoUnlatch");
}

#[test]
fn esp_rfid_by_the_door_inside_the_payload() {
    let door = speaker("esp-rfid", "hq/shed", &[("ip", "192.0.2.7")]);
    let access = |known: &str, access: &str, door: &str| {
        format!(
            r#"{{"type":"access","time":1605991375,"isknown":"{known}","access":"{access}","username":"Ann","uid":"4d7a","door":"{door}"}}"#
        )
    };
    means(
        &door,
        &[
            ("/rfid/send", r#"{"type":"heartbeat","time":1605991375,"ip":"192.0.2.7","door":"shed"}"#, &["online.0 true"]),
            (
                "/rfid/send",
                &access("true", "Always", "shed"),
                &["admitted#1605991375-4d7a @1605991375000 {\"card\":\"4d7a\",\"name\":\"Ann\"}"],
            ),
            (
                "/rfid/send",
                &access("false", "Denied", "shed"),
                &["refused#1605991375-4d7a @1605991375000 {\"card\":\"4d7a\",\"name\":\"Ann\"}"],
            ),
            ("/rfid/send", &access("true", "Always", "garage"), &[]),
            (
                "/rfid/send",
                r#"{"type":"INFO","src":"door","desc":"Door Open","data":"","time":1605991375,"cmd":"event","door":"shed"}"#,
                &["open=true @1605991375000"],
            ),
        ],
    );
    assert_eq!(sent(&door, "open", "{}"), r#"/rfid {"cmd":"opendoor","doorip":"192.0.2.7"}"#);
}

#[test]
fn owntracks() {
    let van = speaker("owntracks", "hq/van", &[("user", "anna")]);
    means(
        &van,
        &[
            (
                "owntracks/anna/van",
                r#"{"_type":"location","lat":12.97,"lon":77.59,"tst":1700000000,"batt":80,"acc":10,"tid":"T1"}"#,
                &["battery=80 @1700000000000", "position={\"accuracy\":10,\"lat\":12.97,\"lon\":77.59} @1700000000000"],
            ),
            (
                "owntracks/anna/van/event",
                r#"{"_type":"transition","event":"enter","desc":"Depot","tst":1700000000}"#,
                &["entered#1700000000-enter-Depot @1700000000000 {\"region\":\"Depot\"}"],
            ),
            ("owntracks/ben/van", r#"{"_type":"location","lat":1,"lon":1,"tst":1}"#, &[]),
        ],
    );
}

#[test]
fn a_retained_answer_without_an_id_is_taken_only_where_the_profile_says_so() {
    let understand = |speaker: &Speaker, topic: &str, payload: &str| {
        speaker.understand(&Incoming { topic, payload: payload.as_bytes(), retained: true }).meanings.iter().map(words).collect::<Vec<_>>()
    };
    let (tasmota, nuki) = (speaker("tasmota-strike", "hq/strike_1", &[]), speaker("nuki-hub", "hq/flat", &[]));
    assert!(understand(&tasmota, "stat/strike_1/RESULT", r#"{"POWER":"ON"}"#).is_empty());
    assert_eq!(understand(&nuki, "nukihub/lock/completionStatus", "success").len(), 2);
    // An id proves that it is of now.
    let shelly = speaker("shelly-strike", "hq/door-1", &[]);
    assert_eq!(understand(&shelly, "shelly-door-1/spalla/rpc", r#"{"id":"k1","result":{}}"#).len(), 2);
}

#[test]
fn a_parameter_cannot_widen_what_a_device_may_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/profiles/shelly-strike.yaml");
    let Resource::Profile(profile) = read(&std::fs::read_to_string(path).unwrap()).unwrap().remove(0) else { panic!("a profile") };
    let compiled = Arc::new(Compiled::of(&profile).unwrap().unwrap());
    for bad in ["", "#", "+", "a/#", "spalla/v1/hq/door-2", "$SYS", "a\nb", &"x".repeat(300)] {
        let parameters = [(Arc::from("prefix"), Arc::from(bad))].into();
        let device = Device { parameters, ..Device::new("hq/door-1".into()) };
        assert!(Speaker::bind(compiled.clone(), &device).is_err(), "{bad:?}");
    }
    let device = Device { parameters: [("perfix".into(), "a".into())].into(), ..Device::new("hq/door-1".into()) };
    assert_eq!(Speaker::bind(compiled, &device).err().as_deref(), Some("the profile has no parameter `perfix`; it has: prefix"));
}
