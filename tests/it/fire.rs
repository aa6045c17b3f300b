//! Fire in a building that reaches nobody: its doors open at once and stay open, whatever else holds them, until people in it say so.

use crate::ADMIT_FLOW;
use crate::alone::{LOCKDOWN_FLOW, admitted, apply, attached, campus, decisions, ended, entrance, level, login, name};
use serde_json::json;
use spalla_broker::client::Version;
use spalla_tests::{Device, Login, Node, mesh::config_folder, until};

const CHIEFS: &str = "
kind: person
id: max@example.com
roles: [ fire-chief ]
---
kind: person
id: cleo@example.com
roles: [ fire-chief ]
";

#[tokio::test]
async fn s07_s10_s23_fire_opens_a_building_alone_and_outranks_everything() {
    let mesh = campus(&["hq", "plant", "depot"]).await;
    let hq = &mesh.nodes[0];
    for file in ["profiles/fire-panel.yaml", "profiles/lift.yaml", "site-flows/fire-release.yaml"] {
        apply(hq, &std::fs::read_to_string(config_folder().join(file)).expect("a file")).await;
    }
    for text in [CHIEFS, LOCKDOWN_FLOW, ADMIT_FLOW] {
        apply(hq, text).await;
    }
    let (reader, gate) = entrance(hq).await;
    let (panel, lift) = fire_devices(hq, &gate).await;
    let token = admitted(hq).await;
    level(&mesh, "hq", &[0]).await;
    let badge = Device::connect(&reader, Version::V5).await;
    let alarm = Device::connect(&panel, Version::V5).await;
    let mut arms = Device::connect(&gate, Version::V5).await;
    let mut cabin = Device::connect(&lift, Version::V5).await;
    for device in [&arms, &cabin] {
        device.listen().await.expect("listens");
    }
    for device in [&gate, &lift] {
        attached(hq, "site:hq", device).await;
    }
    mesh.cut_off(&[0]);
    until("hq says that it is cut off", async || hq.api.get("/status").await.is_stale().then_some(())).await;

    // S23: a lockdown needs nobody outside, and a badge does not end it.
    badge.say("panic", &json!({ "id": "help", "gate": gate.id })).await.expect("acknowledged");
    carries_out(&mut arms, "lockdown", 1).await;
    ended(hq, "it/lockdown", 1).await;

    // S7: fire opens against it, with nobody to ask.
    alarm.say("fire-confirmed", &json!({ "id": "fire", "zone": "hall" })).await.expect("acknowledged with no network at all");
    tokio::join!(carries_out(&mut arms, "release", 1), carries_out(&mut cabin, "recallToGround", 1));
    // S10: nothing shuts the gate again while the fire lasts.
    badge.say("panic", &json!({ "id": "again", "gate": gate.id })).await.expect("acknowledged");
    until("the second lockdown is refused", async || {
        let stuck = hq.api.get("/instances?status=incident&flow=it/lockdown&site=hq").await;
        stuck.text.contains("refused").then_some(())
    })
    .await;

    // Two people end it; then the lockdown is still there.
    let item = until("the chiefs are asked", async || {
        let items = hq.api.get("/tasks?site=hq").await;
        items.data().as_array()?.iter().find_map(|item| Some(item["id"].as_str()?.to_owned()))
    })
    .await;
    for chief in ["max@example.com", "cleo@example.com"] {
        says_clear(hq, &item, chief).await;
    }
    // What was refused never came.
    carries_out(&mut arms, "resume", 1).await;
    ended(hq, "spalla/fire-release", 1).await;
    badge.say("presented", &json!({ "id": "visit", "token": token })).await.expect("acknowledged");
    until("the badge is refused", async || (decisions(hq, "site:hq").await == ["refused"]).then_some(())).await;
}

#[tokio::test]
async fn the_building_and_the_mesh_release_the_same_doors_and_lock_them_again() {
    let mesh = campus(&["hq", "plant", "depot"]).await;
    let hq = &mesh.nodes[0];
    let flows = ["site-flows/fire-release.yaml", "flows/evacuate-building.yaml", "flows/evacuation.yaml"];
    for file in [&["profiles/fire-panel.yaml", "profiles/lift.yaml"], &flows[..]].concat() {
        apply(hq, &std::fs::read_to_string(config_folder().join(file)).expect("a file")).await;
    }
    apply(hq, CHIEFS).await;
    let (_, gate) = entrance(hq).await;
    let (panel, lift) = fire_devices(hq, &gate).await;
    level(&mesh, "hq", &[0]).await;
    let alarm = Device::connect(&panel, Version::V5).await;
    let mut arms = Device::connect(&gate, Version::V5).await;
    let mut cabin = Device::connect(&lift, Version::V5).await;
    for (device, login) in [(&arms, &gate), (&cabin, &lift)] {
        device.listen().await.expect("listens");
        for group in ["mesh", "site:hq"] {
            attached(hq, group, login).await;
        }
    }
    alarm.say("fire-confirmed", &json!({ "id": "fire", "zone": "hall" })).await.expect("acknowledged");
    // For the building and for the mesh. No device waits for the other: a release has three seconds for its answer.
    tokio::join!(carries_out(&mut arms, "release", 2), carries_out(&mut cabin, "recallToGround", 2));
    // The others have no doors here: there somebody is asked to look, in hq nobody.
    let item = until("the mesh's chiefs are asked", async || {
        let items = hq.api.get("/tasks?group=mesh").await;
        let items = items.data().as_array()?.clone();
        assert!(!items.iter().any(|item| item.to_string().contains("by hand in hq")), "{items:?}");
        items.iter().find(|item| item.to_string().contains("re-entry")).and_then(|item| Some(item["id"].as_str()?.to_owned()))
    })
    .await;
    for chief in ["max@example.com", "cleo@example.com"] {
        says_clear(hq, &item, chief).await;
    }
    carries_out(&mut arms, "resume", 2).await;
    ended(hq, "spalla/fire-release", 1).await;
    until("the evacuation is closed", async || {
        let closed = hq.api.get("/instances?status=completed&flow=spalla/evacuation").await;
        (closed.data().as_array()?.len() == 1).then_some(())
    })
    .await;
}

/// The gate is one of the doors that open in a fire; and a panel, and a lift.
async fn fire_devices(node: &Node, gate: &Login) -> (Login, Login) {
    let body = json!({ "id": gate.id, "groups": ["doors", "hq/doors"], "password": gate.password });
    let grouped = node.api.post_surely("/devices", &body).await;
    assert_eq!(grouped.status, 200, "{}", grouped.text);
    let panel = login(node, json!({ "id": "hq/fire-panel", "profile": "fire-panel" })).await;
    let lift = login(node, json!({ "id": "hq/lift", "profile": "lift", "groups": ["lifts", "hq/lifts"] })).await;
    (panel, lift)
}

/// Does what it is told, so many times.
async fn carries_out(device: &mut Device, wanted: &str, times: usize) {
    for _ in 0..times {
        let told = device.command().await;
        assert_eq!(name(&told), wanted);
        device.done(&told).await;
    }
}

async fn says_clear(node: &Node, item: &str, chief: &str) {
    let mut asked = 0;
    until(&format!("{chief} is heard"), async || {
        asked += 1;
        let request = node.api.request("POST", &format!("/api/v1/tasks/{item}/complete"));
        let request = request.header("x-spalla-actor", format!("user:{chief}")).json(&json!({ "choice": "all-clear" }));
        let answer = node.api.send(request).await.expect("an answer");
        // The last word closes the item: where it was taken and the answer was lost, the item is gone.
        let taken = answer.status == 200 || (asked > 1 && answer.status == 404);
        assert!(taken || answer.is_undecided(), "{}", answer.text);
        taken.then_some(())
    })
    .await;
}
