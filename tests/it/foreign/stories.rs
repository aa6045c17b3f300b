//! A relay, a Zigbee bridge, a Tasmota, and Wiegand controllers, each from its login to the rules of safety, by number.

use super::*;
use futures::future::join_all;
use spalla_broker::client::ClientError;
use std::time::Duration;

#[tokio::test]
async fn a_shelly_relay_opens_a_door_and_a_door_that_stays_shut_is_unconfirmed() {
    let mesh = building(&["shelly-strike"]).await;
    let node = &mesh.nodes[0];
    let login = add(node, json!({ "id": "hq/door-1", "profile": "shelly-strike", "parameters": { "prefix": "shellies/door-1" } })).await;
    let other = add(node, json!({ "id": "hq/door-2", "profile": "shelly-strike" })).await;
    what_it_may_not_do(node, &login, &other).await;
    let mut relay = subscribed(&login, &["shellies/door-1/rpc", "shellies/door-1/command/#"]).await;
    says(&relay, "shellies/door-1/online", "true").await;
    says(&relay, "shellies/door-1/status/input:0", r#"{"id":0,"state":false}"#).await;
    property(node, &login.id, "open", json!(false), "live").await;

    // Told in its own words, once, with the pulse in the command; done because the door moved, not because the relay said so.
    let unlock = tell(node, &login.id, "unlock", json!({ "seconds": 2 })).await;
    let message = relay.message().await;
    let rpc = body(&message);
    assert_eq!((&*message.topic, message.retain), ("shellies/door-1/rpc", false));
    assert_eq!((&rpc["method"], &rpc["params"]), (&json!("Switch.Set"), &json!({ "id": 0, "on": true, "toggle_after": 2 })));
    let reply = |rpc: &Value| {
        (
            format!("{}/rpc", rpc["src"].as_str().expect("where to answer")),
            json!({ "id": rpc["id"], "src": "shellyplus1", "result": { "was_on": false } }),
        )
    };
    let (topic, answer) = reply(&rpc);
    says(&relay, &topic, &answer.to_string()).await;
    let delta = r#"{"src":"shellyplus1","method":"NotifyStatus","params":{"input:0":{"id":0,"state":true}}}"#;
    says(&relay, "shellies/door-1/events/rpc", delta).await;
    let done = outcome(node, &unlock).await;
    assert_eq!((&done["status"], &done["confirmed"]), (&json!("done"), &json!(true)), "{done}");

    s18_it_acknowledges_and_the_door_stays_shut(node, &login, &mut relay, reply).await;
    s24_ten_commands_at_once_open_once(node, &login, &mut relay, reply).await;
    s17_what_a_dead_device_said_is_stale(node, &login, relay).await;
    revoked(node, &login).await;
}

async fn what_it_may_not_do(node: &Node, login: &Login, other: &Login) {
    let rogue = Device::connect(login, Version::V5).await;
    let before = node.api.metric("spalla_mqtt_dropped_total").await;
    let topics = ["shelly-door-2/online", "shellies/door-1/rpc", &login.event_topic("opened"), &other.event_topic("opened"), "anything"];
    for topic in topics {
        let result = rogue.publish(topic, b"true", false).await;
        assert!(matches!(result, Err(ClientError::Refused(_))), "{topic}: {result:?}");
    }
    assert_eq!(node.api.metric("spalla_mqtt_dropped_total").await, before + topics.len() as u64);
    for filter in ["#", "shellies/#", "shelly-door-2/rpc", "+/door-1/rpc", &login.command_topic(), "$share/g/shellies/#"] {
        let result = rogue.client.subscribe(filter, Qos::AtLeastOnce).await;
        assert!(matches!(result, Err(ClientError::Refused(_))), "{filter}: {result:?}");
    }
    rogue.client.disconnect().await;
}

async fn s18_it_acknowledges_and_the_door_stays_shut(
    node: &Node,
    login: &Login,
    relay: &mut Device,
    reply: impl Fn(&Value) -> (String, Value),
) {
    says(relay, "shellies/door-1/status/input:0", r#"{"id":0,"state":false}"#).await;
    let unlock = tell(node, &login.id, "unlock", json!({ "seconds": 1 })).await;
    let (topic, answer) = reply(&body(&relay.message().await));
    says(relay, &topic, &answer.to_string()).await;
    let seen = outcome(node, &unlock).await;
    assert_eq!((&seen["status"], &seen["said"], &seen["confirmed"]), (&json!("unconfirmed"), &json!("accepted"), &json!(false)), "{seen}");
}

async fn s24_ten_commands_at_once_open_once(node: &Node, login: &Login, relay: &mut Device, reply: impl Fn(&Value) -> (String, Value)) {
    let attempts = node.api.metric("spalla_opening_attempts_total").await;
    node.connected(&login.id).await;
    let asked = join_all((0..10).map(|_| ask(node, &login.id, "unlock", json!({ "seconds": 3 })))).await;
    let (topic, answer) = reply(&body(&relay.message().await));
    says(relay, &topic, &answer.to_string()).await;
    says(relay, "shellies/door-1/status/input:0", r#"{"id":0,"state":true}"#).await;
    for instance in asked {
        assert_eq!(outcome(node, &instance).await["status"], "done");
    }
    assert_eq!(node.api.metric("spalla_opening_attempts_total").await, attempts + 1);
    nothing_came(relay);
}

async fn s17_what_a_dead_device_said_is_stale(node: &Node, login: &Login, relay: Device) {
    property(node, &login.id, "open", json!(true), "live").await;
    relay.client.cut();
    drop(relay);
    node.away(&login.id).await;
    property(node, &login.id, "open", json!(true), "stale").await;
    // S1: an opening for it does not wait, and nothing is there when it comes back.
    let unlock = ask(node, &login.id, "unlock", json!({ "seconds": 4 })).await;
    assert!(outcome(node, &unlock).await.to_string().contains("device-offline"));
    let mut back = subscribed(login, &["shellies/door-1/rpc"]).await;
    says(&back, "shellies/door-1/online", "true").await;
    nothing_came(&mut back);
}

async fn revoked(node: &Node, login: &Login) {
    let mut live = Device::connect(login, Version::V5).await;
    node.connected(&login.id).await;
    let out = node.cli(&["device", "revoke", &login.id]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    live.refused().await;
    // It tries again by itself and does not come in.
    let why = live.refused().await;
    assert!(!live.client.is_connected(), "{why}");
    assert_eq!(node.api.get(&format!("/devices/{}", login.id)).await.data()["login"], "revoked");
    assert!(node.api.metric("spalla_logins_cut_total").await >= 1);
    until("that it was revoked is in the trail", async || {
        let trail = node.api.get(&format!("/audit?limit=100&subject=device%20{}", login.id.replace('/', "%2F"))).await;
        trail.text.contains("\"login\":\"revoked\"").then_some(())
    })
    .await;
    // A new password lets it in again.
    let rotated = node.api.post_surely(&format!("/devices/{}/rotate", login.id), &json!({})).await;
    let password = rotated.data()["password"].as_str().expect("a password").to_owned();
    Device::connect(&Login { password, ..login.clone() }, Version::V4).await;
}

#[tokio::test]
async fn a_zigbee_lock_behind_its_bridge_is_found_admitted_and_opened() {
    let mesh = building(&["zigbee2mqtt-bridge", "zigbee2mqtt-lock", "zigbee2mqtt-contact", "zigbee2mqtt-climate"]).await;
    let node = &mesh.nodes[0];
    let login = add(node, json!({ "id": "hq/z2m", "profile": "zigbee2mqtt-bridge" })).await;
    let mut bridge = subscribed(&login, &["zigbee2mqtt/#"]).await;
    let devices = json!([
        { "type": "Coordinator", "friendly_name": "Coordinator" },
        { "type": "EndDevice", "supported": true, "friendly_name": "Front Door Lock",
          "definition": { "description": "Lock", "exposes": [{ "type": "lock", "features": [{ "property": "state" }] }] } },
    ]);
    bridge.publish("zigbee2mqtt/bridge/devices", devices.to_string().as_bytes(), true).await.expect("acknowledged");
    let proposed = node.api.get("/devices/proposals").await;
    assert_eq!(proposed.data()[0]["id"], "hq/Front-Door-Lock", "{}", proposed.text);
    // Nothing is read of a device that nobody admitted.
    says(&bridge, "zigbee2mqtt/Front Door Lock", r#"{"lock_state":"locked"}"#).await;
    assert_eq!(node.api.get("/devices/hq/front").await.status, 404);
    let out = node.cli(&["device", "admit", "hq/Front-Door-Lock", "--id", "hq/front"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(node.api.get("/devices/proposals").await.data(), &json!([]));
    node.connected("hq/front").await;

    // Zigbee2MQTT acknowledges nothing: the bolt's own state is the answer. What was asked for is not what is.
    says(&bridge, "zigbee2mqtt/Front Door Lock", r#"{"lock_state":"locked","state":"LOCK"}"#).await;
    let unlock = tell(node, "hq/front", "unlock", json!({})).await;
    let message = bridge.message().await;
    assert_eq!((&*message.topic, body(&message)), ("zigbee2mqtt/Front Door Lock/set", json!({ "state": "UNLOCK" })));
    says(&bridge, "zigbee2mqtt/Front Door Lock", r#"{"lock_state":"locked","state":"UNLOCK"}"#).await;
    says(&bridge, "zigbee2mqtt/Front Door Lock", r#"{"lock_state":"unlocked","state":"UNLOCK"}"#).await;
    let done = outcome(node, &unlock).await;
    assert_eq!((&done["status"], &done["confirmed"]), (&json!("done"), &json!(true)), "{done}");

    // The bridge says that the lock is gone, while itself it is there.
    bridge.publish("zigbee2mqtt/Front Door Lock/availability", br#"{"state":"offline"}"#, true).await.expect("acknowledged");
    node.away("hq/front").await;
    property(node, "hq/front", "lock", json!("unlocked"), "stale").await;
    let refused = ask(node, "hq/front", "unlock", json!({ "again": 1 })).await;
    assert!(outcome(node, &refused).await.to_string().contains("device-offline"));
    node.connected("hq/z2m").await;
    says(&bridge, "zigbee2mqtt/Front Door Lock/availability", r#"{"state":"online"}"#).await;
    node.connected("hq/front").await;
    // With the bridge go all behind it.
    bridge.client.cut();
    drop(bridge);
    node.away("hq/front").await;

    // Only a bridge speaks for others, and what stands behind it has no login.
    let text = std::fs::read_to_string(config_folder().join("profiles/qr-reader.yaml")).expect("a profile");
    assert_eq!(node.api.apply(&text).await.status, 200);
    for (body, says) in [
        (json!({ "id": "hq/x", "profile": "zigbee2mqtt-lock", "bridge": "hq/front" }), "speaks for no other devices"),
        (json!({ "id": "hq/x", "profile": "zigbee2mqtt-lock", "bridge": "hq/nobody" }), "is no device"),
        (json!({ "id": "hq/x", "profile": "qr-reader", "bridge": "hq/z2m" }), "needs a profile with a `convention`"),
        (json!({ "id": "hq/x", "profile": "zigbee2mqtt-lock", "bridge": "hq/z2m", "password": "long-enough" }), "has no login"),
        (
            json!({ "id": "hq/x", "profile": "zigbee2mqtt-lock", "bridge": "hq/z2m", "parameters": { "friendly_name": "#" } }),
            "friendly_name",
        ),
        (json!({ "id": "hq/x", "profile": "qr-reader", "parameters": { "prefix": "a" } }), "asks for no parameters"),
    ] {
        let answer = node.api.post("/devices", &body).await;
        assert!(answer.status == 400 && answer.message().contains(says), "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_tasmota_relay_is_told_its_pulse_and_answers_without_an_id() {
    let mesh = building(&["tasmota-strike"]).await;
    let node = &mesh.nodes[0];
    let login = add(node, json!({ "id": "hq/strike", "profile": "tasmota-strike", "parameters": { "topic": "strike_1" } })).await;
    let mut relay = subscribed(&login, &["cmnd/strike_1/#"]).await;
    relay.publish("tele/strike_1/LWT", b"Online", true).await.expect("acknowledged");
    says(&relay, "stat/strike_1/POWER", "OFF").await;
    property(node, &login.id, "lock", json!("locked"), "live").await;

    // S5: the relay drops by itself, whatever becomes of the gateway.
    let unlock = tell(node, &login.id, "unlock", json!({})).await;
    let message = relay.message().await;
    assert_eq!((&*message.topic, body(&message), message.retain), ("cmnd/strike_1/Backlog", json!("PulseTime1 30; Power1 ON"), false));
    says(&relay, "stat/strike_1/RESULT", r#"{"PulseTime1":{"Set":30,"Remaining":0}}"#).await;
    says(&relay, "stat/strike_1/RESULT", r#"{"POWER":"ON"}"#).await;
    assert_eq!(outcome(node, &unlock).await["status"], "done");

    // An answer to another command ends nothing; a retained one may be of yesterday.
    let lock = tell(node, &login.id, "lock", json!({})).await;
    let message = relay.message().await;
    assert_eq!((&*message.topic, &message.payload[..]), ("cmnd/strike_1/Power1", &b"OFF"[..]));
    let unmatched = node.api.metric("spalla_acks_unmatched_total").await;
    says(&relay, "stat/strike_1/RESULT", r#"{"POWER":"ON"}"#).await;
    assert_eq!(node.api.metric("spalla_acks_unmatched_total").await, unmatched + 1);
    relay.publish("stat/strike_1/RESULT", br#"{"POWER":"OFF"}"#, true).await.expect("acknowledged");
    let running = node.api.get(&format!("/instances/{lock}")).await;
    assert!(running.data()["ended_at"].is_null(), "{}", running.text);
    says(&relay, "stat/strike_1/RESULT", r#"{"POWER":"OFF"}"#).await;
    assert_eq!(outcome(node, &lock).await["status"], "done");
}

#[tokio::test]
async fn wiegand_controllers_open_once_and_their_backlog_opens_nothing() {
    let mesh = building(&["uhppoted-gateway", "uhppoted-door"]).await;
    let node = &mesh.nodes[0];
    let login = add(node, json!({ "id": "hq/uhppoted", "profile": "uhppoted-gateway" })).await;
    for door in ["1", "2"] {
        let body = json!({ "id": format!("hq/side-{door}"), "profile": "uhppoted-door", "bridge": "hq/uhppoted",
            "parameters": { "controller": "405419896", "door": door } });
        add(node, body).await;
    }
    let mut controllers = subscribed(&login, &["uhppoted/gateway/requests/#"]).await;
    node.connected("hq/side-2").await;

    // Two doors at one login: each request reaches its own door, each reply its own request.
    let first = tell(node, "hq/side-1", "unlock", json!({ "card": 8165533 })).await;
    let asked_first = body(&controllers.message().await)["message"]["request"].clone();
    let second = tell(node, "hq/side-2", "unlock", json!({})).await;
    let asked_second = body(&controllers.message().await)["message"]["request"].clone();
    assert_eq!((&asked_first["door"], &asked_first["device-id"], &asked_second["door"]), (&json!(1), &json!(405_419_896), &json!(2)));
    for (asked, opened) in [(&asked_second, false), (&asked_first, true)] {
        let reply = json!({ "message": { "reply": { "request-id": asked["request-id"], "method": "open-door",
            "response": { "device-id": 405_419_896, "door": asked["door"], "opened": opened } } } });
        says(&controllers, asked["reply-to"].as_str().expect("where to answer"), &reply.to_string()).await;
    }
    assert_eq!(outcome(node, &first).await["status"], "done");
    assert!(outcome(node, &second).await.to_string().contains("refused"));

    // S20: a day of backlog is recorded as history and starts nothing. S19: a retained event is not an event.
    let started = async || node.api.get("/status").await.data()["instances"]["started"].as_u64().expect("a number");
    let before = started().await;
    let swipe = |id: u32, at: &str| {
        json!({ "device-id": 405_419_896, "event-id": id, "event-type": 1, "access-granted": true, "door-id": 1, "direction-text": "in",
            "card-number": 8_165_533, "timestamp": at, "event-reason-text": "" })
        .to_string()
    };
    for hour in 0..24 {
        says(&controllers, "uhppoted/gateway/events", &swipe(hour, &format!("2026-01-01 {hour:02}:00:00 UTC"))).await;
    }
    let retained = node.api.metric("spalla_events_retained_total").await;
    controllers.publish("uhppoted/gateway/events", swipe(100, &controller_now()).as_bytes(), true).await.expect("acknowledged");
    assert_eq!(node.api.metric("spalla_events_retained_total").await, retained + 1);
    assert_eq!(started().await, before);
    until("each of them is late", async || {
        let trail = node.api.get("/audit?limit=100").await;
        let late = trail.data().as_array()?.iter().filter(|link| link["action"] == "event.late").count();
        assert!(late <= 24, "{}", trail.text);
        (late == 24).then_some(())
    })
    .await;

    // One swipe, told twice on two topics: one event.
    let now = controller_now();
    says(&controllers, "uhppoted/gateway/events", &swipe(101, &now)).await;
    says(&controllers, "uhppoted/gateway/events/live", &swipe(101, &now)).await;
    until("the swipe starts its flow", async || (started().await > before).then_some(())).await;
    says(&controllers, "uhppoted/gateway/events", &swipe(101, &now)).await;
    assert_eq!(started().await, before + 1);
}

/// Now as a controller writes it.
fn controller_now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let now = spalla_shared::time::Timestamp(i64::try_from(since.as_millis()).expect("before the end of time")).to_rfc3339();
    format!("{} {} UTC", &now[..10], &now[11..19])
}

#[tokio::test]
async fn whoever_watches_sees_what_was_said_and_what_was_understood() {
    let mesh = building(&["shelly-strike"]).await;
    let node = &mesh.nodes[0];
    let login = add(node, json!({ "id": "hq/door-1", "profile": "shelly-strike" })).await;
    let relay = Device::connect(&login, Version::V5).await;
    let request = node.api.request("GET", "/api/v1/devices/watch?device=hq/door-1").timeout(Duration::from_secs(60));
    let mut stream = request.send().await.expect("a stream");
    assert_eq!(stream.status(), 200);
    says(&relay, "shelly-door-1/status/input:0", r#"{"id":0,"state":true}"#).await;
    let mut text = String::new();
    while !text.contains("\n\n") {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.expect("a chunk").expect("more")));
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data:")).expect("data");
    let heard: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!((&heard["topic"], &heard["verdict"]), (&json!("shelly-door-1/status/input:0"), &json!("taken")), "{heard}");
    assert_eq!(heard["understood"][0], json!({ "device": "hq/door-1", "is": "state", "property": "open", "value": true, "time": null }));
}
