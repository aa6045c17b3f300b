//! Who lets a proposed device in: a person at any gateway, or the policy of its bridge. And who takes it out again, from anywhere.

use super::*;
use std::time::Duration;

const ZIGBEE: [&str; 4] = ["zigbee2mqtt-bridge", "zigbee2mqtt-lock", "zigbee2mqtt-contact", "zigbee2mqtt-climate"];

/// What Zigbee2MQTT says of a lock and two sensors.
fn zigbee_devices() -> String {
    let device = |name: &str, exposes: Value| json!({ "type": "EndDevice", "supported": true, "friendly_name": name, "definition": { "description": name, "exposes": exposes } });
    let feature = |property: &str| json!([{ "type": "binary", "property": property }]);
    let lock = json!([{ "type": "lock", "features": [{ "property": "state" }] }]);
    json!([device("bolt", lock), device("window", feature("contact")), device("air", feature("temperature"))]).to_string()
}

#[tokio::test]
async fn a_policy_admits_the_kinds_that_it_names_and_nothing_that_opens_a_way() {
    let mesh = building(&ZIGBEE).await;
    let node = &mesh.nodes[0];
    for (declared, says) in [
        ("kind: device\nid: hq/z2m\nprofile: zigbee2mqtt-bridge\nadmits: [lock]\n", "admits"),
        ("kind: device\nid: hq/z2m\nprofile: zigbee2mqtt-climate\nadmits: [sensor]\n", "proposes none"),
    ] {
        let answer = node.api.apply(declared).await;
        assert!(answer.status == 400 && answer.text.contains(says), "{declared}: {}", answer.text);
    }
    let login = add(node, json!({ "id": "hq/z2m", "profile": "zigbee2mqtt-bridge" })).await;
    let bridge = subscribed(&login, &["zigbee2mqtt/#"]).await;
    // The default is a person.
    bridge.publish("zigbee2mqtt/bridge/devices", zigbee_devices().as_bytes(), true).await.expect("acknowledged");
    assert_eq!(node.api.get("/devices/proposals").await.data().as_array().map(Vec::len), Some(3));
    let declared = node.api.apply("kind: device\nid: hq/z2m\nprofile: zigbee2mqtt-bridge\nadmits: [sensor]\n").await;
    assert_eq!(declared.status, 200, "{}", declared.text);
    bridge.publish("zigbee2mqtt/bridge/devices", zigbee_devices().as_bytes(), true).await.expect("acknowledged");
    node.connected("hq/window").await;
    node.connected("hq/air").await;
    let open = node.api.get("/devices/proposals").await;
    assert_eq!((open.data().as_array().map(Vec::len), &open.data()[0]["id"]), (Some(1), &json!("hq/bolt")), "{}", open.text);
    assert_eq!(node.api.get("/devices/hq/bolt").await.status, 404);
    until("who let it in is in the trail", async || {
        let trail = node.api.get("/audit?limit=100&subject=device%20hq%2Fair").await;
        trail.text.contains("policy:hq/z2m").then_some(())
    })
    .await;
    says(&bridge, "zigbee2mqtt/air", r#"{ "temperature": 20.5, "humidity": 40 }"#).await;
    property(node, "hq/air", "temperature", json!(20.5), "live").await;
}

#[tokio::test]
async fn a_new_shelly_is_found_by_the_login_for_newcomers_and_gets_one_of_its_own() {
    let mesh = building(&["shelly-strike", "shelly-enrolment"]).await;
    let node = &mesh.nodes[0];
    let newcomers = add(node, json!({ "id": "hq/newcomers", "profile": "shelly-enrolment" })).await;
    let new = subscribed(&newcomers, &["shellies/door-9/rpc"]).await;
    let status = r#"{ "src": "shellyplus1-a8", "method": "NotifyFullStatus", "params": { "input:0": { "state": false } } }"#;
    says(&new, "shellies/door-9/events/rpc", status).await;
    let proposed = node.api.get("/devices/proposals").await;
    let one = &proposed.data()[0];
    assert_eq!((&one["id"], &one["own_login"], &one["title"]), (&json!("hq/door-9"), &json!(true), &json!("shellyplus1-a8")), "{one}");
    let admitted = cli(node, &["device", "admit", "hq/door-9", "--id", "hq/cellar", "--json"]).await;
    let admitted: Value = serde_json::from_str(&admitted).expect("JSON");
    let password = admitted["password"].as_str().expect("a password").to_owned();
    assert_eq!((&admitted["username"], &admitted["bridge"]), (&json!("hq/cellar"), &Value::Null), "{admitted}");
    // As long as the old password is on the device it speaks for nobody and is not proposed again.
    says(&new, "shellies/door-9/events/rpc", status).await;
    assert_eq!(node.api.get("/devices/proposals").await.data(), &json!([]));
    let own = Device::connect(&Login { id: "hq/cellar".into(), password, port: node.devices_port }, Version::V4).await;
    says(&own, "shellies/door-9/events/rpc", status).await;
    property(node, "hq/cellar", "open", json!(false), "live").await;
}

#[tokio::test]
async fn what_one_gateway_knows_of_its_devices_is_seen_and_done_from_another() {
    let mut mesh = mesh_with(&crate::SITES, &ZIGBEE).await;
    let (hq, plant) = (&mesh.nodes[0], &mesh.nodes[1]);
    let login = Login { port: plant.devices_port, ..add(hq, json!({ "id": "plant/z2m", "profile": "zigbee2mqtt-bridge" })).await };
    let mut bridge = subscribed_when_known(plant, &login).await;
    let mut watched = Watched::begin(hq).await;
    bridge.publish("zigbee2mqtt/bridge/devices", zigbee_devices().as_bytes(), true).await.expect("acknowledged");
    let heard = watched.next("message").await;
    assert_eq!((&heard["topic"], &heard["node"]), (&json!("zigbee2mqtt/bridge/devices"), &json!(plant.number)), "{heard}");

    let proposals = cli(hq, &["device", "proposals"]).await;
    assert!(proposals.contains("plant/bolt") && proposals.contains("friendly_name=air"), "{proposals}");
    cli(hq, &["device", "admit", "plant/air"]).await;
    // The gateway of the plant lets it speak as soon as it has heard of that itself.
    hq.connected("plant/air").await;
    says(&bridge, "zigbee2mqtt/air", r#"{ "temperature": 20.5 }"#).await;
    // The readings are those of the gateway that it is connected to.
    property(hq, "plant/air", "temperature", json!(20.5), "live").await;
    let left = hq.api.get("/devices/proposals").await;
    assert_eq!((left.data().as_array().map(Vec::len), &left.body["unreachable"]), (Some(2), &json!([])), "{}", left.text);

    // Taken back at one gateway, gone at the other.
    cli(hq, &["device", "revoke", "plant/z2m"]).await;
    bridge.refused().await;
    hq.away("plant/air").await;

    // A gateway that does not answer is named.
    let depot = mesh.nodes[2].number;
    mesh.nodes[2].kill();
    while watched.next("unreachable").await["node"] != depot {}
    let partial = mesh.nodes[0].api.get("/devices/proposals").await;
    assert_eq!((partial.status, &partial.body["unreachable"]), (200, &json!([depot])), "{}", partial.text);
}

/// The other gateway may hear of the login a moment later.
async fn subscribed_when_known(node: &Node, login: &Login) -> Device {
    until("the login is known there", async || {
        let answer = node.api.get(&format!("/devices/{}", login.id)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    subscribed(login, &["zigbee2mqtt/#"]).await
}

/// The stream of `device watch`.
struct Watched {
    stream: reqwest::Response,
    text: String,
}

impl Watched {
    /// From when this returns, nothing that is said at any gateway is missed.
    async fn begin(node: &Node) -> Self {
        let request = node.api.request("GET", "/api/v1/devices/watch").timeout(Duration::from_secs(120));
        let stream = request.send().await.expect("a stream");
        assert_eq!(stream.status(), 200);
        Self { stream, text: String::new() }
    }

    /// The data of the next event of this kind.
    async fn next(&mut self, kind: &str) -> Value {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.lines().any(|line| line == format!("event: {kind}") || line == format!("event:{kind}")) {
                    let data = event.lines().find_map(|line| line.strip_prefix("data:")).expect("data");
                    return serde_json::from_str(data).expect("JSON");
                }
            }
            self.text.push_str(&String::from_utf8_lossy(&self.stream.chunk().await.expect("a chunk").expect("more")));
        }
    }
}
