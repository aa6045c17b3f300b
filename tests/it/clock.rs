//! Wall clocks that leap while gateways run. The mesh's time goes on: nothing waits until a clock that was ahead is met again, and nothing
//! opens late because it was.
#![cfg(target_os = "linux")]

use crate::{NOTE_FLOW, PROGRAM, SITES};
use serde_json::{Value, json};
use spalla_broker::client::Version;
use spalla_tests::chaos::machine::Machine;
use spalla_tests::mesh::config_folder;
use spalla_tests::{Device, Mesh, until};
use std::time::Duration;

const HOURS_2_MS: i64 = 2 * 60 * 60 * 1000;
/// How long the opening of these stories may be on its way.
const EXPIRES: Duration = Duration::from_secs(2);

const FLOWS: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: waits, version: '1.0.0' }
do:
  - waits: { wait: { milliseconds: 700 } }
---
document: { dsl: '1.0.3', namespace: it, name: opens, version: '1.0.0' }
do:
  - opens:
      try:
        - lets: { call: device.command:1.0.0@default, with: { target: hq/barrier, command: open, expires: PT2S } }
      catch: { as: problem, do: [ { tells: { set: { why: '${ $problem.title }' } } } ] }
"#;

#[tokio::test]
async fn timers_fire_and_openings_expire_behind_a_clock_that_leapt_ahead_and_back() {
    let (mut mesh, machines) = on_such_machines().await;
    let barrier = mesh.add_device(0, "barrier", "parking-barrier").await;
    let device = Device::connect(&barrier, Version::V5).await;
    device.listen().await.expect("it may");
    mesh.nodes[0].connected("hq/barrier").await;

    // The leader's clock takes the log two hours ahead, and goes back.
    let leader = mesh.leader().await;
    let before = clock(&mesh, leader).await;
    machines[leader].set_clock_ms(HOURS_2_MS);
    start(&mesh, leader, "it/note", "ahead").await;
    assert!(clock(&mesh, leader).await > before, "it follows a clock that is set forward");
    machines[leader].set_clock_ms(0);

    let id = start(&mesh, leader, "it/waits", "behind").await;
    ended(&mesh, leader, &id).await;

    // Its device is away, and comes back when it is too late.
    drop(device);
    mesh.nodes[0].away("hq/barrier").await;
    let id = start(&mesh, leader, "it/opens", "late").await;
    tokio::time::sleep(EXPIRES * 2).await;
    opens_nothing(&mesh, &barrier, &id).await;

    // All of them were down, and nobody can say for how long: what was to open then does not open now.
    mesh.nodes[0].away("hq/barrier").await;
    let id = start(&mesh, 0, "it/opens", "down").await;
    mesh.kill_all();
    tokio::time::sleep(EXPIRES * 2).await;
    for (node, machine) in mesh.nodes.iter_mut().zip(&machines) {
        node.start_with(&machine.variables());
    }
    mesh.ready().await;
    opens_nothing(&mesh, &barrier, &id).await;
    mesh.agreed().await;
}

/// The device comes and listens; the flow has ended and nothing was sent.
async fn opens_nothing(mesh: &Mesh, login: &spalla_tests::Login, id: &str) {
    let mut device = Device::connect(login, Version::V5).await;
    device.listen().await.expect("it may");
    mesh.nodes[0].connected(&login.id).await;
    let row = ended(mesh, 0, id).await;
    assert!(row["output"]["why"].is_string(), "{row}");
    while let Ok(event) = device.events.try_recv() {
        assert!(!matches!(event, spalla_broker::client::ClientEvent::Message(_)), "{event:?}");
    }
}

async fn on_such_machines() -> (Mesh, Vec<Machine>) {
    let mut mesh = Mesh::init(PROGRAM, &SITES);
    let library = Machine::library(mesh.folder.path());
    let machines: Vec<_> = SITES.iter().map(|site| Machine::new(mesh.folder.path(), &format!("machine-of-{site}"), &library)).collect();
    for (node, machine) in mesh.nodes.iter_mut().zip(&machines) {
        node.start_with(&machine.variables());
    }
    mesh.ready().await;
    let profile = std::fs::read_to_string(config_folder().join("profiles/parking-barrier.yaml")).expect("a profile");
    for text in [&*profile, NOTE_FLOW, FLOWS] {
        let applied = mesh.nodes[0].api.apply(text).await;
        assert_eq!(applied.status, 200, "{}", applied.text);
    }
    (mesh, machines)
}

async fn clock(mesh: &Mesh, place: usize) -> String {
    mesh.nodes[place].api.get("/status").await.data()["clock"].as_str().expect("an instant").to_owned()
}

async fn start(mesh: &Mesh, place: usize, flow: &str, key: &str) -> String {
    let body = json!({ "flow": flow, "input": { "about": "clocks" }, "key": key });
    until("a flow is started", async || {
        let answer = mesh.nodes[place].api.post("/instances", &body).await;
        assert!(matches!(answer.status, 200 | 503 | 504), "{}", answer.text);
        (answer.status == 200).then(|| answer.data()["instance"].as_str().expect("an instance").to_owned())
    })
    .await
}

async fn ended(mesh: &Mesh, place: usize, id: &str) -> Value {
    until("the flow ends", async || {
        let answer = mesh.nodes[place].api.try_get(&format!("/instances/{id}")).await?;
        (answer.data()["status"] == "completed").then(|| answer.data().clone())
    })
    .await
}
