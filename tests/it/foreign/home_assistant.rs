//! Devices that announce themselves as Home Assistant's MQTT discovery has it: one component at a time, and a whole device.

use super::*;

const LOCK: &str = r#"{ "~": "esp/front", "stat_t": "~/state", "cmd_t": "~/command", "avty_t": "~/status", "ret": true,
    "val_tpl": "{{ value_json.bolt | upper }}", "cmd_tpl": "{\"do\": \"{{ value | lower }}\"}", "dev": { "ids": "a", "name": "Front door" } }"#;
const CLIMATE: &str = r#"{ "dev": { "ids": "b", "name": "Hall" }, "o": { "name": "it" }, "stat_t": "esp/hall/state", "cmps": {
    "warmth": { "p": "sensor", "unit_of_meas": "Cel", "val_tpl": "{{ value_json.t | float | round(1) }}" },
    "window": { "p": "binary_sensor", "val_tpl": "{{ value_json.open }}", "pl_on": true, "pl_off": false } } }"#;

#[tokio::test]
async fn a_lock_and_a_sensor_announce_themselves_and_are_admitted_by_a_person() {
    let mesh = building(&["home-assistant"]).await;
    let node = &mesh.nodes[0];
    let login = add(node, json!({ "id": "hq/esp", "profile": "home-assistant" })).await;
    let mut esp = subscribed(&login, &["esp/#", "homeassistant/status"]).await;
    // Somebody listens: devices announce themselves.
    assert_eq!(&told(&mut esp, "homeassistant/status").await.payload[..], b"online");
    esp.publish("homeassistant/lock/front/config", LOCK.as_bytes(), true).await.expect("acknowledged");
    esp.publish("homeassistant/device/hall/config", CLIMATE.as_bytes(), true).await.expect("acknowledged");
    let proposed = node.api.get("/devices/proposals").await;
    let ids: Vec<&str> = proposed.data().as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, ["hq/front", "hq/hall"], "{}", proposed.text);

    // What it does without power is nothing that a lock announces.
    let refused = node.api.post("/devices/proposals/hq/front/admit", &json!({})).await;
    assert!(refused.status == 400 && refused.message().contains("fail_mode"), "{}", refused.text);
    cli(node, &["device", "admit", "hq/front", "--fail-mode", "secure"]).await;
    cli(node, &["device", "admit", "hq/hall", "--id", "hq/hall-climate"]).await;
    assert_eq!(node.api.get("/devices/proposals").await.data(), &json!([]));
    // And now they say how they are.
    assert_eq!(&told(&mut esp, "homeassistant/status").await.payload[..], b"online");
    node.connected("hq/front").await;

    the_lock_is_opened(node, &mut esp).await;
    says(&esp, "esp/hall/state", r#"{ "t": "21.46", "open": true }"#).await;
    property(node, "hq/hall-climate", "warmth", json!(21.5), "live").await;
    property(node, "hq/hall-climate", "window", json!(true), "live").await;
    what_is_taken_back_is_gone(node, &esp).await;
    what_is_hostile_harms_nobody(node, &esp).await;
    property(node, "hq/hall-climate", "warmth", json!(21.5), "live").await;
}

async fn the_lock_is_opened(node: &Node, esp: &mut Device) {
    says(esp, "esp/front/status", "online").await;
    says(esp, "esp/front/state", r#"{ "bolt": "locked" }"#).await;
    property(node, "hq/front", "front", json!("locked"), "live").await;
    let unlock = tell(node, "hq/front", "unlock-front", json!({})).await;
    let message = told(esp, "esp/front/command").await;
    // Its announcement asked for `retain`: never.
    assert_eq!((body(&message), message.retain), (json!({ "do": "unlock" }), false));
    says(esp, "esp/front/state", r#"{ "bolt": "unlocked" }"#).await;
    let done = outcome(node, &unlock).await;
    assert_eq!((&done["status"], &done["confirmed"]), (&json!("done"), &json!(true)), "{done}");
}

/// An empty announcement, as it deletes the retained one.
async fn what_is_taken_back_is_gone(node: &Node, esp: &Device) {
    esp.publish("homeassistant/sensor/t/config", br#"{ "stat_t": "esp/t" }"#, true).await.expect("acknowledged");
    assert_eq!(node.api.get("/devices/proposals").await.data()[0]["id"], "hq/t");
    esp.publish("homeassistant/sensor/t/config", b"", true).await.expect("acknowledged");
    assert_eq!(node.api.get("/devices/proposals").await.data(), &json!([]));
    // One that was admitted stays declared and is away until it announces itself again.
    esp.publish("homeassistant/lock/front/config", b"", true).await.expect("acknowledged");
    node.away("hq/front").await;
    let refused = ask(node, "hq/front", "unlock-front", json!({})).await;
    assert!(outcome(node, &refused).await.to_string().contains("device-offline"));
    esp.publish("homeassistant/lock/front/config", LOCK.as_bytes(), true).await.expect("acknowledged");
    node.connected("hq/front").await;
    assert_eq!(node.api.get("/devices/proposals").await.data(), &json!([]), "it is declared already");
}

async fn what_is_hostile_harms_nobody(node: &Node, esp: &Device) {
    let doubling = format!("{{% set x = value %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(40));
    let hostile = [
        json!({ "stat_t": "esp/x", "val_tpl": "{% include 'secret' %}" }).to_string(),
        json!({ "stat_t": "esp/x", "val_tpl": "{{ value." }).to_string(),
        json!({ "stat_t": "esp/x", "val_tpl": "x".repeat(5_000) }).to_string(),
        json!({ "stat_t": "spalla/v1/hq/esp/state/x" }).to_string(),
        json!({ "stat_t": "#" }).to_string(),
        "{".repeat(5_000),
    ];
    for config in &hostile {
        let before = node.api.metric("spalla_undecodable_total").await;
        says(esp, "homeassistant/sensor/x/config", config).await;
        assert_eq!(node.api.metric("spalla_undecodable_total").await, before + 1, "{config:.80}");
    }
    assert_eq!(node.api.get("/devices/proposals").await.data(), &json!([]));
    // A template that would grow for ever is a template: it runs out of fuel each time, and says nothing.
    says(esp, "homeassistant/sensor/x/config", &json!({ "stat_t": "esp/x", "val_tpl": doubling }).to_string()).await;
    cli(node, &["device", "admit", "hq/x"]).await;
    let before = node.api.metric("spalla_undecodable_total").await;
    says(esp, "esp/x", &"y".repeat(1_000)).await;
    assert_eq!(node.api.metric("spalla_undecodable_total").await, before + 1);
    let shown = node.api.get("/devices/hq/x").await;
    assert!(shown.data()["here"]["properties"]["x"].is_null(), "{}", shown.text);
}
