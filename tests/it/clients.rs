//! Service clients at a real gateway: what their rules let them see and do, and where what they were not let do is written down.

use crate::PROGRAM;
use serde_json::{Value, json};
use spalla_broker::client::{ClientError, Version};
use spalla_broker::message::Qos;
use spalla_tests::{Device, Login, Mesh, Node, mesh::config_folder, until};

const SIGN_PROFILE: &str = r"
kind: profile
name: sign
version: 1
capabilities:
  - id: sign
    type: display
    state: { text: {} }
    commands: { show: { class: neutral, ack: none } }
";
const BOARD: &str = r"
kind: client
name: board
subscribe: [ 'spalla/v1/hq/+/state/#', 'group:lobby', '$SYS/broker/#' ]
publish: [ 'house/#', 'shellies/#', 'cmnd/#', '+/x' ]
commands: [ hq/sign ]
speaks_for: [ hq/spoken ]
";

async fn login(node: &Node) -> Login {
    let added = node.cli(&["client", "add", "board", "--json"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let told: Value = serde_json::from_slice(&added.stdout).expect("JSON");
    assert_eq!(told["subscribe"].as_array().map(Vec::len), Some(3), "the rules of the file stay");
    let text = |key: &str| told[key].as_str().expect("text").to_owned();
    Login { id: text("username"), password: text("password"), port: node.devices_port }
}

async fn audited(node: &Node, subject: &str) -> Vec<(String, Value)> {
    let trail = node.api.get(&format!("/audit?limit=1000&subject={subject}")).await;
    let links = trail.data().as_array().expect("links").clone();
    links.into_iter().map(|link| (link["action"].as_str().expect("an action").to_owned(), link["data"].clone())).collect()
}

#[tokio::test]
async fn a_service_client_does_what_its_rules_say_and_nothing_else() {
    let mesh = Mesh::start(PROGRAM, &["hq"]).await;
    let node = &mesh.nodes[0];
    for profile in ["turnstile", "qr-reader", "shelly-strike", "tasmota-strike"] {
        let text = std::fs::read_to_string(config_folder().join(format!("profiles/{profile}.yaml"))).expect("a profile");
        assert_eq!(node.api.apply(&text).await.status, 200);
    }
    assert_eq!(node.api.apply(SIGN_PROFILE).await.status, 200);
    let (gate, sign) = (mesh.add_device(0, "gate", "turnstile").await, mesh.add_device(0, "sign", "sign").await);
    let (reader, _spoken) = (mesh.add_device(0, "reader", "qr-reader").await, mesh.add_device(0, "spoken", "sign").await);
    let grouped = json!({ "id": reader.id, "groups": ["lobby"], "password": reader.password });
    assert_eq!(node.api.post_surely("/devices", &grouped).await.status, 200);
    for (name, profile, parameters) in
        [("strike", "shelly-strike", json!({ "prefix": "shellies/strike" })), ("bolt", "tasmota-strike", json!({ "topic": "bolt" }))]
    {
        let body = json!({ "id": format!("hq/{name}"), "profile": profile, "parameters": parameters });
        assert_eq!(node.api.post_surely("/devices", &body).await.status, 200);
    }
    let opening = node.api.apply(&BOARD.replace("commands: [ hq/sign ]", "commands: [ hq/gate ]")).await;
    assert!(opening.message().contains("can open something"), "{}", opening.text);
    assert_eq!(node.api.apply(BOARD).await.status, 200);
    let board_login = login(node).await;
    let mut board = Device::connect(&board_login, Version::V5).await;

    // Seeing.
    for (filter, may) in [
        ("spalla/v1/hq/gate/state/#", true),
        ("$SYS/broker/uptime", true),
        (&*format!("spalla/v1/{}/event/#", reader.id), true),
        ("$share/all/spalla/v1/hq/+/state/#", true),
        ("#", false),
        ("spalla/v1/hq/gate/event/#", false),
        ("spalla/v1/+/+/state/#", false),
        (&*gate.command_topic(), false),
    ] {
        let answer = board.client.subscribe(filter, Qos::AtLeastOnce).await;
        assert_eq!(answer.is_ok(), may, "{filter}: {answer:?}");
    }
    board.client.unsubscribe("$share/all/spalla/v1/hq/+/state/#").await;
    board.client.unsubscribe("$SYS/broker/uptime").await;
    let from_reader = Device::connect(&reader, Version::V5).await;
    // A credential is nobody's to see; what comes after it is.
    from_reader.say("presented", &json!({ "token": "secret" })).await.expect("acknowledged");
    from_reader.say("seen", &json!({ "plate": "x" })).await.expect("acknowledged");
    let seen = loop {
        let message = board.message().await;
        if !message.topic.starts_with("$SYS") {
            break message;
        }
    };
    assert_eq!(seen.topic, reader.event_topic("seen"), "{seen:?}");

    // Doing.
    let mut at_sign = Device::connect(&sign, Version::V5).await;
    at_sign.listen().await.expect("granted");
    let now = spalla_shared::time::Timestamp(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64,
    );
    let command = |expires_at: i64| json!({ "id": "c1", "name": "show", "args": { "text": "hello" }, "issued_at": now.millis(), "expires_at": expires_at });
    let late = board.publish(&sign.command_topic(), command(now.millis() - 1).to_string().as_bytes(), false).await;
    assert!(matches!(late, Err(ClientError::Refused(_))), "{late:?}");
    board.publish(&sign.command_topic(), command(now.millis() + 60_000).to_string().as_bytes(), false).await.expect("its rules say so");
    let told = at_sign.message().await;
    assert_eq!((told.topic, told.retain), (sign.command_topic(), false));
    board.publish("house/lights", b"on", false).await.expect("its rules say so");
    board.publish("spalla/v1/hq/spoken/state/text", b"\"hi\"", false).await.expect("its rules say so");
    until("what was said for it is its state", async || {
        let shown = node.api.get("/devices/hq/spoken").await;
        (shown.data()["here"]["properties"]["text"]["value"] == "hi").then_some(())
    })
    .await;
    for (topic, retain) in [
        (gate.command_topic(), false),
        (sign.command_topic(), true),
        ("spalla/v1/hq/gate/state/open".into(), false),
        ("spalla/v1/hq/nobody/command".into(), false),
        ("elsewhere".into(), false),
        // A relay has more ways to be opened than the one that its profile uses: this one opened it.
        ("shellies/strike/command/switch:0".into(), false),
        ("cmnd/bolt/Power".into(), false),
    ] {
        let refused = board.publish(&topic, b"{}", retain).await;
        assert!(matches!(refused, Err(ClientError::Refused(_))), "{topic}: {refused:?}");
    }

    // Written down: the first of each kind at once, the others as one number.
    let trail = until("denials in the audit trail", async || {
        let trail = audited(node, "board").await;
        let all = ["denied.subscribe", "denied.publish", "client.commanded"];
        all.iter().all(|wanted| trail.iter().any(|(action, _)| action == wanted)).then_some(trail)
    })
    .await;
    let (_, first) = trail.iter().find(|(action, _)| action == "denied.subscribe").expect("there");
    assert_eq!(first["filter"], "#", "{trail:?}");
    let before = (node.api.metric("spalla_mqtt_dropped_total").await, trail.len());
    for _ in 0..300 {
        board.publish("elsewhere", b"{}", false).await.expect_err("refused");
    }
    assert_eq!(node.api.metric("spalla_mqtt_dropped_total").await, before.0 + 300, "each is counted");
    // Whatever was still to be told has been proposed before this.
    assert_eq!(node.api.post("/clients/board/rotate", &json!({})).await.status, 200);
    assert!(audited(node, "board").await.len() <= before.1 + 1, "a flood is no flood of links");
    assert!(board.refused().await.contains("changed"), "a new password ends the sessions of the old one");
    let wrong = Device::begin(&board_login, Version::V5).refused().await;
    assert!(wrong.contains("BadUserNamePassword"), "{wrong}");
    until("a refused login is written down", async || {
        audited(node, "board").await.iter().any(|(action, _)| action == "denied.login").then_some(())
    })
    .await;
    mesh.agreed().await;
}
