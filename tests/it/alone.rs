//! Buildings that go on alone: what a building does while nobody can be reached, and what becomes of it when the link returns.
//!
//! | rule | what must never happen | tests |
//! |---|---|---|
//! | S10, S23 | a lockdown waits for a quorum, or a grant opens against it | [`a_building_that_is_cut_off_goes_on_by_itself`], `engine::site::tests` |
//! | S12, S21 | two sides give the same thing away | [`s21_a_building_alone_gives_nothing_away_that_the_mesh_shares`] |
//! | S13 | who went in while cut off is not known to be inside afterwards | [`a_building_that_is_cut_off_goes_on_by_itself`] |
//! | S14, S15, S16 | a grant outlives its end, a revocation never arrives, a clock that goes back | `spalla-shared`: `engine::site::tests` |

use crate::{ADMIT_FLOW, PROGRAM};
use serde_json::{Value, json};
use spalla_broker::client::Version;
use spalla_shared::device::{Command, Format};
use spalla_shared::time::Timestamp;
use spalla_tests::{Device, Login, Mesh, Node, mesh::config_folder, until};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lives in every building: a panic button locks a gate, and the mesh is told.
pub const LOCKDOWN_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: lockdown, version: '1.0.0', metadata: { spalla/scope: site } }
schedule: { on: { one: { with: { type: spalla.device.panic } } } }
do:
  - told: { emit: { event: { with: { type: it.lockdown.begins, data: '${ .[0].data }' } } } }
  - lock:
      call: device.command:1.0.0@default
      with: { target: '${ $workflow.input[0].data.gate }', command: lockdown }
  - locked: { emit: { event: { with: { type: it.lockdown.stands, data: '${ $workflow.input[0].data }' } } } }
"#;
/// Lives in the mesh and hears of it.
const HEAR_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: hear, version: '1.0.0' }
do:
  - begins: { listen: { to: { one: { with: { type: it.lockdown.begins } } } } }
  - stands: { listen: { to: { one: { with: { type: it.lockdown.stands } } } } }
output: { as: '{ heard: true }' }
"#;
/// Lives in the buildings and wants a unit that the mesh shares.
const TAKE_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: take, version: '1.0.0', metadata: { spalla/scope: site } }
do:
  - take:
      call: resource.allocate:1.0.0@default
      with: { pool: spots, holder: somebody }
"#;

#[tokio::test]
async fn a_building_that_is_cut_off_goes_on_by_itself() {
    let mut mesh = campus(&["hq", "plant", "depot"]).await;
    let (hq, plant) = (&mesh.nodes[0], &mesh.nodes[1]);
    for flow in [LOCKDOWN_FLOW, HEAR_FLOW, ADMIT_FLOW] {
        apply(hq, flow).await;
    }
    let (reader, gate) = entrance(hq).await;
    let token = admitted(hq).await;
    let hears = plant.api.start("it/hear", &json!({})).await;
    level(&mesh, "hq", &[0]).await;
    let badge = Device::connect(&reader, Version::V5).await;
    let mut arms = Device::connect(&gate, Version::V5).await;
    arms.listen().await.expect("listens");
    for group in ["mesh", "site:hq"] {
        attached(hq, group, &gate).await;
    }

    mesh.cut_off(&[0]);
    until("hq says that it is cut off", async || hq.api.get("/status").await.is_stale().then_some(())).await;

    // Whom the mesh let in last is let in, by nobody's leave but the building's own.
    badge.say("presented", &json!({ "id": "alone", "token": token })).await.expect("acknowledged with no network at all");
    let told = arms.command().await;
    assert_eq!(name(&told), "open");
    arms.done(&told).await;
    arms.say("passed", &json!({ "id": "in", "direction": "in", "holder": "vera" })).await.expect("acknowledged");
    until("it is decided in the building's group", async || (decisions(hq, "site:hq").await == ["granted"]).then_some(())).await;
    assert!(decisions(hq, "mesh").await.is_empty(), "the mesh cannot have been asked");

    // It starts again with no peers, and goes on.
    drop((badge, arms));
    mesh.nodes[0].kill();
    mesh.nodes[0].start();
    let (hq, plant) = (&mesh.nodes[0], &mesh.nodes[1]);
    until("the gateway of hq answers", async || hq.api.try_get("/status").await.map(drop)).await;
    let badge = Device::connect(&reader, Version::V5).await;
    let mut arms = Device::connect(&gate, Version::V5).await;
    arms.listen().await.expect("listens");
    attached(hq, "site:hq", &gate).await;

    // A lockdown begins, is carried out, and outranks the badge.
    badge.say("panic", &json!({ "id": "help", "gate": gate.id })).await.expect("acknowledged");
    let told = arms.command().await;
    assert_eq!(name(&told), "lockdown");
    arms.done(&told).await;
    ended(hq, "it/lockdown", 1).await;
    // By now it knows that there is nobody to ask.
    until("hq has been up for a while", async || hq.api.get("/status").await.data()["uptime_s"].as_u64().filter(|up| *up > 5)).await;
    badge.say("presented", &json!({ "id": "late", "token": token })).await.expect("acknowledged");
    until("the badge is refused", async || (decisions(hq, "site:hq").await == ["granted", "refused"]).then_some(())).await;

    // The others go on without the building.
    let elsewhere = until("the mesh takes a flow without hq", async || {
        let answer = plant.api.post("/instances", &json!({ "flow": "it/hear", "input": {}, "key": "elsewhere" })).await;
        (answer.status == 200).then(|| answer.data()["instance"].as_str().expect("an id").to_owned())
    })
    .await;
    assert!(plant.api.get("/instances?flow=it/lockdown&status=all&group=site:plant").await.data().as_array().is_some_and(Vec::is_empty));
    assert_eq!(shown(plant, &hears).await["status"], "running");

    mesh.heal();
    for instance in [&hears, &elsewhere] {
        until("the mesh's flow hears both, in order", async || (shown(plant, instance).await["status"] == "completed").then_some(())).await;
    }
    until("the mesh has what the building took in its place, each once", async || {
        let trail = plant.api.get("/audit?limit=1000&action=event").await;
        let links: Vec<&Value> =
            trail.data().as_array()?.iter().filter(|link| link["subject"].as_str().is_some_and(|on| on.contains("/hq/"))).collect();
        let ids: Vec<&str> = links.iter().filter_map(|link| link["data"]["id"].as_str()).collect();
        (ids == ["alone", "in", "late"]).then_some(())
    })
    .await;
    let inside = plant.api.get("/audit?limit=1000&action=access").await;
    assert!(inside.data().as_array().expect("links").iter().all(|link| link["action"] == "access.grant"), "decided once: {}", inside.text);
    // Nothing opened late: the gate is still locked down, for the mesh as well.
    let mut shows = 0;
    until("the mesh's own decision is held up at the gate", async || {
        // The mesh hears a moment later than the link is there that the gate is connected: it is asked again.
        shows += 1;
        badge.say("presented", &json!({ "id": format!("after-{shows}"), "token": token })).await.expect("acknowledged");
        let trail = hq.api.get("/audit?limit=1000&action=effect.failed").await;
        trail.text.contains(&gate.id).then_some(())
    })
    .await;
    for group in ["mesh", "site:hq"] {
        let verified = hq.api.get(&format!("/audit/verify?group={group}")).await;
        assert_eq!(verified.data()["result"], "verified", "{group}: {}", verified.text);
    }
    same_copies(&mesh, "site:hq").await;
}

#[tokio::test]
async fn s21_a_building_alone_gives_nothing_away_that_the_mesh_shares() {
    let mesh = campus(&["hq", "plant", "depot"]).await;
    let hq = &mesh.nodes[0];
    apply(hq, TAKE_FLOW).await;
    apply(hq, "kind: pool\nname: spots\nunits: [{ name: only }]\n").await;
    level(&mesh, "hq", &[0]).await;
    mesh.cut_off(&[0]);
    until("hq says that it is cut off", async || hq.api.get("/status").await.is_stale().then_some(())).await;
    let took = hq.api.start("it/take", &json!({})).await;
    let stands = until("the flow stands", async || {
        let instance = shown(hq, &took).await;
        instance["incident"].is_object().then_some(instance)
    })
    .await;
    assert_eq!(stands["group"], "site:hq");
    assert!(stands["incident"].to_string().contains("not-found"), "{stands}");
}

#[tokio::test]
async fn the_other_gateway_of_a_building_takes_over() {
    let mut mesh = campus(&["hq", "hq#2", "plant"]).await;
    for flow in [LOCKDOWN_FLOW, HEAR_FLOW] {
        apply(&mesh.nodes[2], flow).await;
    }
    let (reader, gate) = entrance(&mesh.nodes[0]).await;
    level(&mesh, "hq", &[0, 1]).await;
    mesh.nodes[0].kill();
    let at_second = |login: &Login| Login { port: mesh.nodes[1].devices_port, ..login.clone() };
    let (reader, gate) = (at_second(&reader), at_second(&gate));
    let badge = Device::connect(&reader, Version::V5).await;
    let mut arms = Device::connect(&gate, Version::V5).await;
    arms.listen().await.expect("listens");
    attached(&mesh.nodes[1], "site:hq", &gate).await;
    badge.say("panic", &json!({ "id": "help", "gate": gate.id })).await.expect("acknowledged");
    let told = arms.command().await;
    assert_eq!(name(&told), "lockdown");
    arms.done(&told).await;
    ended(&mesh.nodes[1], "it/lockdown", 1).await;
}

/// Gateways with links that can be cut, and the profiles of an entrance.
pub async fn campus(sites: &[&str]) -> Mesh {
    let mut mesh = Mesh::init_linked(PROGRAM, sites).await;
    mesh.start_all();
    mesh.ready().await;
    profiles(&mesh.nodes[0]).await;
    mesh
}

/// Those of an entrance.
pub async fn profiles(node: &Node) {
    for profile in ["qr-reader", "turnstile"] {
        apply(node, &std::fs::read_to_string(config_folder().join(format!("profiles/{profile}.yaml"))).expect("a profile")).await;
    }
}

pub async fn apply(node: &Node, text: &str) {
    let answer = node.api.apply(text).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// A reader and the gate that it opens, of the first building.
pub async fn entrance(node: &Node) -> (Login, Login) {
    let gate = login(node, json!({ "id": "hq/gate", "profile": "turnstile" })).await;
    let reader = login(node, json!({ "id": "hq/reader", "profile": "qr-reader", "opens": "hq/gate" })).await;
    apply(node, "kind: area\nname: gates\ndoors: [hq/gate]\n").await;
    (reader, gate)
}

pub async fn login(node: &Node, body: Value) -> Login {
    let added = node.api.post_surely("/devices", &body).await;
    assert_eq!(added.status, 200, "{}", added.text);
    let text = |key: &str| added.data()[key].as_str().expect("text").to_owned();
    Login { id: text("id"), password: text("password"), port: node.devices_port }
}

/// The token of somebody whom the gates let in now.
pub async fn admitted(node: &Node) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let at = |offset: i64| Timestamp(i64::try_from(now.as_millis()).expect("a time") + offset).to_rfc3339();
    let instance = node.api.start("it/admit", &json!({ "from": at(-3_600_000), "until": at(3_600_000) })).await;
    until("the credential is granted", async || {
        let instance = shown(node, &instance).await;
        let token = instance["context"]["credential"]["token"].as_str().map(str::to_owned);
        token.filter(|_| instance["positions"].to_string().contains("stay"))
    })
    .await
}

pub async fn shown(node: &Node, instance: &str) -> Value {
    node.api.get(&format!("/instances/{instance}")).await.data().clone()
}

/// The building's group has all that the mesh declares for it, at these gateways.
pub async fn level(mesh: &Mesh, site: &str, places: &[usize]) {
    let mut declared_at = 0;
    for node in &mesh.nodes {
        let groups = node.api.get("/mesh").await.data()["groups"].clone();
        let newest =
            groups.as_array().into_iter().flatten().filter_map(|line| line["declared_at"].as_u64().filter(|_| line["group"] == "mesh"));
        declared_at = newest.max().unwrap_or(0).max(declared_at);
    }
    for place in places {
        let node = &mesh.nodes[*place];
        until(&format!("the group of {site} is level with the mesh"), async || {
            let answer = node.api.try_get(&format!("/mesh?site={site}")).await?;
            let of = |group: &str| answer.data()["groups"].as_array()?.iter().find(|line| line["group"] == group).cloned();
            let (own, mesh) = (of(&format!("site:{site}"))?, of("mesh")?);
            let whole = [&own["mirrored"], &mesh["declared_at"]].iter().all(|at| **at == declared_at);
            (whole && own["mesh_heard_at"].is_string()).then_some(())
        })
        .await;
    }
}

/// The group knows that the device is connected.
pub async fn attached(node: &Node, group: &str, device: &Login) {
    until(&format!("{} is known to be there in {group}", device.id), async || {
        let listed = node.api.try_get(&format!("/devices?group={group}")).await?;
        listed.data().as_array()?.iter().any(|row| row["id"] == device.id && row["online"] == true).then_some(())
    })
    .await;
}

/// What was decided of badges at the gate of hq: `granted`, or the reason why not.
pub async fn decisions(node: &Node, group: &str) -> Vec<String> {
    decided(node, group, "hq/gate").await
}

/// The same of any door; `granted, WARNING` where there was one.
pub async fn decided(node: &Node, group: &str, door: &str) -> Vec<String> {
    let trail = node.api.get(&format!("/audit?limit=1000&subject={}&group={group}", door.replace('/', "%2F"))).await;
    let of = |link: &Value| match link["action"].as_str() {
        Some("access.granted") => {
            Some(link["data"]["warning"].as_str().map_or("granted".to_owned(), |warning| format!("granted, {warning}")))
        }
        Some("access.denied") => Some(link["data"]["reason"].as_str().unwrap_or_default().to_owned()),
        _ => None,
    };
    trail.data().as_array().expect("links").iter().filter_map(of).collect()
}

pub async fn ended(node: &Node, flow: &str, count: usize) {
    until(&format!("{count} of {flow} completed"), async || {
        let listed = node.api.get(&format!("/instances?status=completed&flow={flow}&site=hq")).await;
        (listed.data().as_array()?.len() == count).then_some(())
    })
    .await;
}

/// Every gateway with a copy of the group has the same.
pub async fn same_copies(mesh: &Mesh, group: &str) {
    until(&format!("equal copies of {group}"), async || {
        let mut first = None;
        for node in &mesh.nodes {
            let answer = node.api.try_get(&format!("/state/digest?group={group}")).await?;
            if answer.status == 200 && *answer.data() != *first.get_or_insert_with(|| answer.data().clone()) {
                return None;
            }
        }
        first
    })
    .await;
}

pub fn name(told: &spalla_broker::message::Message) -> String {
    Format::read::<Command>(&told.payload).expect("a command").1.name
}
