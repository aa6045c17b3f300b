//! All gateways are started again with a newer build, one after the other, with instances in flight (rule S25): no door moves, nothing
//! that was confirmed is lost, writing goes on, and what only the newer build knows waits for the last of them.

use crate::members::{look, write, write_flow};
use crate::{LEAVE_FLOW, PROGRAM, SITES};
use serde_json::json;
use spalla_broker::client::{ClientEvent, Version};
use spalla_shared::engine::state::SEMANTICS_VERSION;
use spalla_tests::mesh::config_folder;
use spalla_tests::{Device, Login, Mesh, until};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const HELD_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: held, version: '1.0.0' }
do:
  - open:
      call: device.command:1.0.0@default
      with: { target: '${ .device }', command: open, ack: { within: PT10S } }
  - stay: { listen: { to: { one: { with: { type: it.leave } } } } }
  - says: { set: { left: true } }
"#;

/// What only the newer build knows.
const NEWER: &str = "kind: area\nname: floor\ndoors: [hq/gate]\nanti_passback: { rule: hard }\n";

#[tokio::test]
async fn s25_a_rolling_upgrade_moves_no_door_and_loses_nothing() {
    let mut mesh = Mesh::init(PROGRAM, &SITES);
    for node in &mut mesh.nodes {
        node.start_with(&[("TEST_KNOWS_SEMANTICS", Path::new("2"))]);
    }
    mesh.ready().await;
    write_flow(&mesh).await;
    let profile = std::fs::read_to_string(config_folder().join("profiles/turnstile.yaml")).expect("a profile");
    for text in [&profile, HELD_FLOW, LEAVE_FLOW] {
        let answer = mesh.nodes[0].api.apply(text).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let edges = Arc::new(AtomicU64::new(0));
    let (mut gates, mut held) = (Vec::new(), Vec::new());
    for place in 0..SITES.len() {
        let login = mesh.add_device(place, "gate", "turnstile").await;
        gates.push(tokio::spawn(gate(login.clone(), edges.clone())));
        mesh.nodes[0].connected(&login.id).await;
        let body = json!({ "flow": "it/held", "input": { "device": login.id }, "key": login.id });
        let started = mesh.nodes[0].api.post_surely("/instances", &body).await;
        held.push(started.data()["instance"].as_str().expect("an instance").to_owned());
    }
    until("each gate has opened once", async || (edges.load(Ordering::Relaxed) == 3).then_some(())).await;
    // And each instance has the answer: nothing is under way any more.
    for id in &held {
        until("an instance waits behind its opening", async || {
            let shown = mesh.nodes[0].api.try_get(&format!("/instances/{id}")).await?;
            shown.data()["positions"].to_string().contains("stay").then_some(())
        })
        .await;
    }
    let attempts = mesh.nodes[0].api.metric("spalla_opening_attempts_total").await;

    // Somebody writes all the while, at whichever gateway answers.
    let stop = Arc::new(AtomicBool::new(false));
    let apis: Vec<_> = mesh.nodes.iter().map(|node| node.api.clone()).collect();
    let stopping = stop.clone();
    let writer = tokio::spawn(async move {
        let (mut confirmed, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
        for number in 0u64.. {
            let key = format!("rolling-{number}");
            let body = json!({ "flow": "it/note", "input": { "about": key }, "key": key });
            for api in apis.iter().cycle().skip(usize::try_from(number % 3).expect("small")) {
                match api.send(api.request("POST", "/api/v1/instances").json(&body)).await {
                    Some(answer) if answer.status == 200 => {
                        confirmed.push(answer.data()["instance"].clone());
                        break;
                    }
                    // The next one; a gateway that is down refuses at once.
                    _ => tokio::task::yield_now().await,
                }
            }
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        (confirmed, longest)
    });
    for (place, site) in SITES.iter().enumerate() {
        let id = format!("{site}/gate");
        // Old and new builds side by side speak as the oldest does.
        until("all speak as the oldest", async || (look(&mesh.nodes[place]).await["semantics"] == 2).then_some(())).await;
        let refused = mesh.nodes[place].api.apply(NEWER).await;
        assert!(refused.status == 409 && refused.text.contains("has an older one"), "{}", refused.text);
        assert!(mesh.nodes[place].stop().await.success());
        mesh.nodes[place].start();
        mesh.nodes[place].ready().await;
        mesh.nodes[0].connected(&id).await;
    }
    until("the newer meaning is switched on", async || (look(&mesh.nodes[0]).await["semantics"] == SEMANTICS_VERSION).then_some(())).await;
    assert_eq!(mesh.nodes[0].api.apply(NEWER).await.status, 200);
    // The first of them may have been handed leadership again: that one once more.
    let leader = mesh.leader().await;
    assert!(mesh.nodes[leader].stop().await.success());
    mesh.nodes[leader].start();
    mesh.ready().await;
    stop.store(true, Ordering::Relaxed);
    let (confirmed, longest) = writer.await.expect("the writer ends");
    println!("rolling restart: {} writes confirmed, longest gap {longest:?}", confirmed.len());
    mesh.agreed().await;

    // What was in flight goes on and ends.
    let leave = json!({ "flow": "it/leave", "input": {}, "key": "leave" });
    assert_eq!(mesh.nodes[1].api.post_surely("/instances", &leave).await.status, 200);
    for id in &held {
        until("an instance ends", async || {
            let row = mesh.nodes[2].api.try_get(&format!("/instances/{id}")).await?.data().clone();
            (row["status"] == "completed").then_some(())
        })
        .await;
    }
    write(&mesh.nodes[0], "last").await;
    mesh.agreed().await;
    for id in &confirmed {
        let answer = mesh.nodes[0].api.get(&format!("/instances/{}", id.as_str().expect("an id"))).await;
        assert_eq!(answer.status, 200, "lost: {id}");
    }
    assert_eq!(edges.load(Ordering::Relaxed), 3, "a relay moved");
    assert_eq!(mesh.nodes[0].api.metric("spalla_opening_attempts_total").await, attempts);
    gates.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A gate that counts each command that would move its relay, and comes back by itself.
async fn gate(login: Login, edges: Arc<AtomicU64>) {
    let mut device = Device::begin(&login, Version::V5);
    while let Some(event) = device.events.recv().await {
        match event {
            ClientEvent::Connected { .. } => drop(device.listen().await),
            ClientEvent::Message(command) => {
                edges.fetch_add(1, Ordering::Relaxed);
                device.done(&command).await;
            }
            _ => {}
        }
    }
}
