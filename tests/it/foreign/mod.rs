//! Devices that speak their makers' conventions, as real clients of a real gateway. What they are told, what is made of what they
//! say, and what must never happen.

mod admission;
mod home_assistant;
mod makers;
mod stories;

use crate::PROGRAM;
use serde_json::{Value, json};
use spalla_broker::client::{ClientEvent, Version};
use spalla_broker::message::{Message, Qos};
use spalla_tests::{Device, Login, Mesh, Node, mesh::config_folder, until};

const TELL_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: tell, version: '1.0.0' }
do:
  - tell:
      call: device.command:1.0.0@default
      with: { target: '${ .device }', command: '${ .command }', args: '${ .args }' }
"#;
/// Starts once for everybody whom a controller lets through now.
const ADMITTED_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: admitted, version: '1.0.0' }
schedule: { on: { one: { with: { type: spalla.device.admitted } } } }
do:
  - note: { set: { noted: true } }
"#;

async fn building(profiles: &[&str]) -> Mesh {
    mesh_with(&["hq"], profiles).await
}

async fn mesh_with(sites: &[&str], profiles: &[&str]) -> Mesh {
    let mesh = Mesh::start(PROGRAM, sites).await;
    for profile in profiles {
        let text = std::fs::read_to_string(config_folder().join(format!("profiles/{profile}.yaml"))).expect("a profile");
        let answer = mesh.nodes[0].api.apply(&text).await;
        assert_eq!(answer.status, 200, "{profile}: {}", answer.text);
    }
    for flow in [TELL_FLOW, ADMITTED_FLOW] {
        assert_eq!(mesh.nodes[0].api.apply(flow).await.status, 200);
    }
    mesh
}

/// Declares a device and gives back its login, which is of no use for one behind a bridge.
async fn add(node: &Node, body: Value) -> Login {
    let answer = node.api.post_surely("/devices", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let text = |key: &str| answer.data()[key].as_str().unwrap_or_default().to_owned();
    Login { id: text("id"), password: text("password"), port: node.devices_port }
}

async fn subscribed(login: &Login, filters: &[&str]) -> Device {
    let device = Device::connect(login, Version::V4).await;
    for filter in filters {
        device.client.subscribe(filter, Qos::AtLeastOnce).await.unwrap_or_else(|error| panic!("{filter}: {error}"));
    }
    device
}

async fn says(device: &Device, topic: &str, payload: &str) {
    device.publish(topic, payload.as_bytes(), false).await.expect("acknowledged");
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap_or_else(|_| json!(String::from_utf8_lossy(&message.payload)))
}

/// Asks a device that is there to do something. Gives the instance.
async fn tell(node: &Node, device: &str, command: &str, args: Value) -> String {
    node.connected(device).await;
    ask(node, device, command, args).await
}

/// The same, wherever the device is.
async fn ask(node: &Node, device: &str, command: &str, args: Value) -> String {
    node.api.start("it/tell", &json!({ "device": device, "command": command, "args": args })).await
}

/// What the command gave in the end: its output, or the problem.
async fn outcome(node: &Node, instance: &str) -> Value {
    until(&format!("{instance} ends"), async || {
        let answer = node.api.get(&format!("/instances/{instance}")).await;
        let data = answer.data();
        match (data["incident"].is_object(), data["ended_at"].is_string()) {
            (true, _) => Some(data["incident"].clone()),
            (_, true) if data["problem"].is_object() => Some(data["problem"].clone()),
            (_, true) => Some(data["output"].clone()),
            _ => None,
        }
    })
    .await
}

/// A property as the gateway knows it.
async fn property(node: &Node, device: &str, name: &str, wanted: Value, quality: &str) {
    until(&format!("{device} {name} is {wanted}, {quality}"), async || {
        let answer = node.api.get(&format!("/devices/{device}")).await;
        let reading = &answer.data()["here"]["properties"][name];
        (reading["value"] == wanted && reading["quality"] == quality).then_some(())
    })
    .await;
}

/// The next message on this topic; those on others are let go.
async fn told(device: &mut Device, topic: &str) -> Message {
    loop {
        let message = device.message().await;
        if &*message.topic == topic {
            return message;
        }
    }
}

async fn cli(node: &Node, arguments: &[&str]) -> String {
    let out = node.cli(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Nothing came to the device until everything it said was acknowledged.
fn nothing_came(device: &mut Device) {
    while let Ok(event) = device.events.try_recv() {
        assert!(!matches!(event, ClientEvent::Message(_)), "{event:?}");
    }
}
