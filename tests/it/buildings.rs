//! A building's group follows its gateways: who joins takes part, who is removed leaves, and a building whose only gateway was replaced
//! goes on with what a copy elsewhere kept of it.

use crate::alone::{LOCKDOWN_FLOW, apply, attached, level, login, name, profiles, same_copies, shown};
use crate::members::look;
use crate::{PROGRAM, SITES};
use serde_json::{Value, json};
use spalla_broker::client::Version;
use spalla_tests::mesh::{lacks_history, parsed};
use spalla_tests::{Device, Login, Mesh, Node, until};

/// Lives in the buildings, and waits until somebody says `it.go` there.
pub const STAY_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: stay, version: '1.0.0', metadata: { spalla/scope: site } }
do:
  - stay: { listen: { to: { one: { with: { type: it.go } } } } }
"#;
/// Says it.
pub const GO_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: go, version: '1.0.0', metadata: { spalla/scope: site } }
do:
  - go: { emit: { event: { with: { source: /it, type: it.go } } } }
"#;

#[tokio::test]
async fn a_building_whose_only_gateway_is_replaced_goes_on_with_what_it_had() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    let hq = &mesh.nodes[0];
    profiles(hq).await;
    for flow in [LOCKDOWN_FLOW, STAY_FLOW, GO_FLOW] {
        apply(hq, flow).await;
    }
    let gate = login(hq, json!({ "id": "plant/gate", "profile": "turnstile" })).await;
    let reader = login(hq, json!({ "id": "plant/reader", "profile": "qr-reader", "opens": "plant/gate" })).await;
    level(&mesh, "plant", &[1]).await;
    let waits = mesh.nodes[1].api.start("it/stay", &json!({})).await;
    until("a copy elsewhere has it", async || {
        let listed = mesh.nodes[0].api.try_get("/instances?group=site:plant").await?;
        listed.text.contains(&waits).then_some(())
    })
    .await;

    mesh.nodes[1].kill();
    let new = mesh.join(0, "plant", &["--site", "plant"]).await;
    mesh.nodes[new].start();
    mesh.nodes[new].ready().await;
    // The dead one may come back, as long as nobody says that it does not.
    assert_eq!(shown(&mesh.nodes[0], &waits).await["status"], "running");
    parsed(&mesh.nodes[0].cli(&["mesh", "remove", "2", "--json"]));
    leads(&mesh.nodes[new], "site:plant", 4).await;
    let members = until("the copies elsewhere are its own now", async || {
        let members = members_of(&mesh.nodes[new], "site:plant").await?;
        (members.len() == 3).then_some(members)
    })
    .await;
    assert_eq!(members.iter().filter(|(_, voter)| *voter).collect::<Vec<_>>(), [&(4, true)], "{members:?}");
    let trail = mesh.nodes[0].api.get("/audit?limit=100&action=site.begun").await;
    assert_eq!(trail.data()[0]["data"]["founder"], 4, "{}", trail.text);

    // Nobody else is there: what waited goes on, and a panic button locks the gate.
    drop(mesh.nodes.remove(1));
    let new = new - 1;
    mesh.nodes[0].kill();
    mesh.nodes[1].kill();
    let plant = &mesh.nodes[new];
    let here = |login: &Login| Login { port: plant.devices_port, ..login.clone() };
    let button = Device::connect(&here(&reader), Version::V5).await;
    let mut arms = Device::connect(&here(&gate), Version::V5).await;
    arms.listen().await.expect("listens");
    attached(plant, "site:plant", &gate).await;
    button.say("panic", &json!({ "id": "help", "gate": gate.id })).await.expect("acknowledged");
    let told = arms.command().await;
    assert_eq!(name(&told), "lockdown");
    arms.done(&told).await;
    plant.api.start("it/go", &json!({})).await;
    completed(plant, &waits).await;

    // The copies have all of it, and so do the histories.
    mesh.nodes[0].start();
    mesh.nodes[1].start();
    mesh.ready().await;
    same_copies(&mesh, "site:plant").await;
    for node in &mesh.nodes {
        let whole = "the trail of the building is whole, and says who was forgotten";
        until(whole, async || {
            let verified = node.api.try_get("/audit/verify?group=site:plant").await?;
            let trail = node.api.try_get("/audit?group=site:plant&limit=1000").await?;
            (verified.data()["result"] == "verified" && trail.text.contains("gateway.forgotten")).then_some(())
        })
        .await;
    }
    until("no traces are missing, and none of entries that never were", async || {
        let status = mesh.nodes[0].api.try_get("/mesh/status").await?;
        (!lacks_history(status.data())).then_some(())
    })
    .await;
}

/// It says so before it goes, so no copy has to begin a new life without what it decided at last.
#[tokio::test]
async fn a_working_gateway_hands_its_building_on_before_it_is_removed() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    for flow in [STAY_FLOW, GO_FLOW] {
        apply(&mesh.nodes[0], flow).await;
    }
    level(&mesh, "plant", &[1]).await;
    until("copies elsewhere", async || (members_of(&mesh.nodes[1], "site:plant").await?.len() == 3).then_some(())).await;
    let waits = mesh.nodes[1].api.start("it/stay", &json!({})).await;
    let said = parsed(&mesh.nodes[0].cli(&["mesh", "remove", "2", "--json"]));
    assert!(!said["warning"].as_str().unwrap_or_default().contains("lost"), "{said}");
    let removed = mesh.nodes[1].ended().await;
    assert!(!removed.success() && mesh.nodes[1].log().contains("was removed"));
    drop(mesh.nodes.remove(1));
    let heir = until("a copy votes for the building", async || {
        let members = members_of(&mesh.nodes[0], "site:plant").await?;
        let voters: Vec<u64> = members.iter().filter(|(_, voter)| *voter).map(|(node, _)| *node).collect();
        (voters.len() == 1 && !members.iter().any(|(node, _)| *node == 2)).then(|| voters[0])
    })
    .await;
    leads(&mesh.nodes[0], "site:plant", heir).await;
    assert_eq!(shown(&mesh.nodes[0], &waits).await["status"], "running");

    let new = mesh.join(0, "plant", &["--site", "plant"]).await;
    mesh.nodes[new].start();
    mesh.nodes[new].ready().await;
    leads(&mesh.nodes[new], "site:plant", 4).await;
    level(&mesh, "plant", &[new]).await;
    mesh.nodes[new].api.start("it/go", &json!({})).await;
    completed(&mesh.nodes[new], &waits).await;
    same_copies(&mesh, "site:plant").await;
    let trail = mesh.nodes[0].api.get("/audit?limit=100&action=site.begun").await;
    assert_eq!(*trail.data(), json!([]), "the group is the same one");
}

#[tokio::test]
async fn a_second_gateway_of_a_building_takes_its_part_and_then_its_place() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    for flow in [STAY_FLOW, GO_FLOW] {
        apply(&mesh.nodes[0], flow).await;
    }
    let second = mesh.join(1, "hq", &["--site", "hq"]).await;
    mesh.nodes[second].start();
    mesh.nodes[second].ready().await;
    let voters = until("both vote, with a third voice elsewhere", async || {
        let members = members_of(&mesh.nodes[second], "site:hq").await?;
        let voters: Vec<u64> = members.into_iter().filter(|(_, voter)| *voter).map(|(node, _)| node).collect();
        (voters.len() == 3).then_some(voters)
    })
    .await;
    assert!(voters.contains(&1) && voters.contains(&4), "{voters:?}");
    level(&mesh, "hq", &[0, second]).await;
    let waits = mesh.nodes[0].api.start("it/stay", &json!({})).await;

    mesh.nodes[0].kill();
    let left = &mesh.nodes[second];
    left.api.start("it/go", &json!({})).await;
    completed(left, &waits).await;

    // It is taken out for good: the other one is the building's own.
    mesh.leader().await;
    parsed(&mesh.nodes[1].cli(&["mesh", "remove", "1", "--json"]));
    until("it votes alone, and nobody else is missed", async || {
        let members = members_of(&mesh.nodes[second], "site:hq").await?;
        let alone = members.iter().filter(|(_, voter)| *voter).map(|(node, _)| *node).eq([4]);
        (alone && !members.iter().any(|(node, _)| *node == 1)).then_some(())
    })
    .await;
    drop(mesh.nodes.remove(0));
    same_copies(&mesh, "site:hq").await;
}

#[tokio::test]
async fn a_new_building_gets_a_group_of_its_own_with_copies_elsewhere() {
    let mut mesh = Mesh::start(PROGRAM, &SITES[..2]).await;
    for flow in [STAY_FLOW, GO_FLOW] {
        apply(&mesh.nodes[0], flow).await;
    }
    let lab = mesh.join(0, "lab", &[]).await;
    mesh.nodes[lab].start();
    mesh.nodes[lab].ready().await;
    leads(&mesh.nodes[lab], "site:lab", 3).await;
    level(&mesh, "lab", &[lab]).await;
    let waits = mesh.nodes[lab].api.start("it/stay", &json!({})).await;
    mesh.nodes[lab].api.start("it/go", &json!({})).await;
    completed(&mesh.nodes[lab], &waits).await;
    // Gateways that never heard of the building hold copies of its group, and say so.
    until("two copies elsewhere", async || (members_of(&mesh.nodes[lab], "site:lab").await?.len() == 3).then_some(())).await;
    for place in [0, 1] {
        until("the copy is listed", async || {
            let groups = look(&mesh.nodes[place]).await["groups"].clone();
            groups.as_array()?.iter().any(|group| group["group"] == "site:lab").then_some(())
        })
        .await;
        completed(&mesh.nodes[place], &waits).await;
    }
    same_copies(&mesh, "site:lab").await;

    // A copy is lost for good, and made again at the next best gateway.
    let store = mesh.join(0, "store", &[]).await;
    mesh.nodes[store].start();
    mesh.nodes[store].ready().await;
    mesh.nodes[1].kill();
    mesh.leader().await;
    parsed(&mesh.nodes[0].cli(&["mesh", "remove", "2", "--json"]));
    until("the new gateway has the copy", async || {
        let members = members_of(&mesh.nodes[lab], "site:lab").await?;
        let mut nodes: Vec<u64> = members.into_iter().map(|(node, _)| node).collect();
        nodes.sort_unstable();
        (nodes == [1, 3, 4]).then_some(())
    })
    .await;
    drop(mesh.nodes.remove(1));
    same_copies(&mesh, "site:lab").await;
    completed(&mesh.nodes[store - 1], &waits).await;
}

/// The members of a group as a gateway that has it says: number, and whether it votes.
async fn members_of(node: &Node, group: &str) -> Option<Vec<(u64, bool)>> {
    let answer = node.api.try_get(&format!("/mesh?group={group}")).await.filter(|answer| answer.status == 200)?;
    let member = |row: &Value| Some((row["node"].as_u64()?, row["voter"] == true));
    answer.data()["members"].as_array()?.iter().map(member).collect()
}

pub async fn leads(node: &Node, group: &str, number: u64) {
    until(&format!("gateway {number} leads {group}"), async || {
        let answer = node.api.try_get(&format!("/mesh?group={group}")).await?;
        (answer.data()["leader"] == number).then_some(())
    })
    .await;
}

pub async fn completed(node: &Node, instance: &str) {
    until(&format!("{instance} completes"), async || {
        let answer = node.api.try_get(&format!("/instances/{instance}")).await?;
        (answer.data()["status"] == "completed").then_some(())
    })
    .await;
}
