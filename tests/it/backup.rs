//! The worst days: a mesh begun again from a backup, and from the one gateway that is left.

use crate::alone::{level, same_copies};
use crate::buildings::{GO_FLOW, STAY_FLOW, completed, leads};
use crate::members::{write, write_flow};
use crate::{LEAVE_FLOW, PROGRAM, SITES};
use serde_json::{Value, json};
use spalla_tests::mesh::parsed;
use spalla_tests::{Api, Mesh, until};
use std::path::Path;

const WAITING_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: wait, version: '1.0.0' }
do:
  - rest: { listen: { to: { one: { with: { type: it.leave } } } } }
"#;

#[tokio::test]
async fn a_backup_is_whole_and_a_new_mesh_goes_on_from_it() {
    let mesh = Mesh::start(PROGRAM, &SITES).await;
    write_flow(&mesh).await;
    for flow in [WAITING_FLOW, LEAVE_FLOW, STAY_FLOW, GO_FLOW] {
        assert_eq!(mesh.nodes[0].api.apply(flow).await.status, 200);
    }
    let waiting = mesh.nodes[0].api.start("it/wait", &json!({})).await;
    level(&mesh, "plant", &[1]).await;
    let of_plant = mesh.nodes[1].api.start("it/stay", &json!({})).await;
    until("every copy of the building's group has it", async || {
        let listed = futures::future::join_all(mesh.nodes.iter().map(|node| node.api.try_get("/instances?group=site:plant"))).await;
        listed.into_iter().all(|answer| answer.is_some_and(|answer| answer.text.contains(&of_plant))).then_some(())
    })
    .await;
    let mut before = Vec::new();
    for number in 0..20 {
        before.push(write(&mesh.nodes[number % 3], &format!("before-{number}")).await);
    }
    mesh.agreed().await;
    let follower = (mesh.leader().await + 1) % 3;
    let file = mesh.folder.path().join("mesh.backup");
    let path = file.display().to_string();
    let taken = parsed(&mesh.nodes[follower].cli(&["backup", "--out", &path, "--json"]));
    assert!(taken["audit_links"].as_u64() > Some(20), "{taken}");
    let again = mesh.nodes[follower].cli(&["backup", "--out", &path]);
    assert_eq!(again.status.code(), Some(2), "nothing is overwritten: {again:?}");
    let after = write(&mesh.nodes[0], "after the backup").await;
    let ended = mesh.agreed().await;

    // All three burn. A new mesh of one gateway begins from the file; a damaged file begins nothing.
    let mut new = Mesh::init(PROGRAM, &SITES[..1]);
    let (copy, copy_path) = copied(&new, &taken);
    drop(mesh);
    let mut bytes = std::fs::read(&copy).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = new.folder.path().join("damaged");
    std::fs::write(&damaged, bytes).expect("written");
    let refused = new.nodes[0].cli(&["restore", &damaged.display().to_string(), "--reason", "fire"]);
    assert!(!refused.status.success() && !new.nodes[0].data.exists(), "{refused:?}");
    let blank = new.nodes[0].cli(&["restore", &copy_path, "--reason", " "]);
    assert!(String::from_utf8_lossy(&blank.stderr).contains("--reason") && !new.nodes[0].data.exists(), "{blank:?}");
    parsed(&new.nodes[0].cli(&["restore", &copy_path, "--reason", "fire", "--json"]));
    let twice = new.nodes[0].cli(&["restore", &copy_path, "--reason", "fire"]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("not empty"), "{twice:?}");
    new.start_all();
    new.ready().await;
    new.agreed().await;
    let ids = all(&new.nodes[0].api).await;
    assert!(before.iter().all(|id| ids.contains(id)) && !ids.contains(&after), "{ids:?}");
    // The building's own group goes on from its state, in a life of its own, and its trail is whole.
    leads(&new.nodes[0], "site:hq", 1).await;
    until("the building's trail is whole", async || {
        let node = &new.nodes[0].api;
        let digest = node.try_get("/state/digest?group=site:hq").await?;
        let stored = node.try_get("/audit/verify?group=site:hq").await?;
        (digest.data()["applied"].as_u64()? > 1 << 31 && stored.data()["head"] == digest.data()["audit_head"]).then_some(())
    })
    .await;
    let history = new.nodes[0].data.join("history.db").display().to_string();
    let listed = parsed(&new.nodes[0].cli(&["audit", "tail", "--file", &history, "--group", "site:hq", "--json"]));
    assert!(listed["data"].as_array().is_some_and(|links| !links.is_empty()), "{listed}");
    // A file says what its gateway says.
    let tail = ["audit", "tail", "--after", "0", "-n", "4", "--action", "resource", "--json"];
    let (asked, read) = (parsed(&new.nodes[0].cli(&tail)), parsed(&new.nodes[0].cli(&[&tail[..], &["--file", &history]].concat())));
    assert!(asked["data"].as_array().is_some_and(|links| links.len() > 1) && asked["data"] == read["data"], "{asked} {read}");
    // Ids are made of the log's index: none that the old mesh gave behind the backup is given again.
    let (old, now) = (ended["applied"].as_u64().expect("an index"), new.agreed().await["applied"].as_u64().expect("an index"));
    assert!(now > old + (1 << 31), "{now} after {old}");
    let second = new.join(0, "plant", &[]).await;
    assert!(new.nodes[second].number > 3, "ids of the old mesh never come back");
    new.nodes[second].start();
    new.nodes[second].ready().await;
    new.agreed().await;
    // What was in flight goes on, in the building too, and the trail tells of the fire.
    let plant = new.nodes[second].number;
    leads(&new.nodes[second], "site:plant", plant).await;
    new.nodes[second].api.start("it/go", &json!({})).await;
    completed(&new.nodes[second], &of_plant).await;
    let leave = json!({ "flow": "it/leave", "input": {}, "key": "leave" });
    assert_eq!(new.nodes[second].api.post_surely("/instances", &leave).await.status, 200);
    until("the instance ends", async || {
        (new.nodes[0].api.try_get(&format!("/instances/{waiting}")).await?.data()["status"] == "completed").then_some(())
    })
    .await;
    let trail = new.nodes[second].api.get("/audit?limit=100").await.text;
    assert!(trail.contains("mesh.recovered") && trail.contains("fire"), "{trail}");
}

/// The file, which outlives the mesh that it was taken of.
/// Its numbers began with 1 again, and the mesh took what it owed for what it had taken before.
#[tokio::test]
async fn a_building_that_the_backup_does_not_hold_begins_where_it_never_was() {
    let mesh = Mesh::start(PROGRAM, &["hq", "plant", "depot", "lab"]).await;
    write_flow(&mesh).await;
    until("all buildings have their copies", async || {
        for site in ["hq", "plant", "depot", "lab"] {
            let node = mesh.nodes.iter().find(|node| node.site == site)?;
            let members = node.api.try_get(&format!("/mesh?site={site}")).await?.data()["members"].as_array()?.len();
            (members == 3).then_some(())?;
        }
        Some(())
    })
    .await;
    let mut lacking = None;
    for (place, node) in mesh.nodes.iter().enumerate() {
        let groups = node.api.get("/mesh").await.data()["groups"].to_string();
        let not_here = mesh.nodes.iter().map(|node| node.site.clone()).find(|site| !groups.contains(&format!("\"site:{site}\"")));
        lacking = lacking.or(not_here.map(|site| (place, site)));
    }
    let (place, site) = lacking.expect("eight copies for twelve places");
    let site = site.as_str();
    let path = mesh.folder.path().join("mesh.backup").display().to_string();
    let taken = parsed(&mesh.nodes[place].cli(&["backup", "--out", &path, "--json"]));
    let mut new = Mesh::init(PROGRAM, &[site]);
    let (_copy, copy_path) = copied(&new, &taken);
    drop(mesh);
    parsed(&new.nodes[0].cli(&["restore", &copy_path, "--reason", "fire", "--json"]));
    new.start_all();
    new.ready().await;
    let group = format!("site:{site}");
    leads(&new.nodes[0], &group, 1).await;
    until("it counts from where it never was", async || {
        let digest = new.nodes[0].api.try_get(&format!("/state/digest?group={group}")).await?;
        (digest.data()["applied"].as_u64()? > 1 << 39).then_some(())
    })
    .await;
}

fn copied(new: &Mesh, taken: &Value) -> (std::path::PathBuf, String) {
    let copy = new.folder.path().join("copy.backup");
    std::fs::copy(Path::new(taken["file"].as_str().expect("a path")), &copy).expect("copied");
    let path = copy.display().to_string();
    (copy, path)
}

#[tokio::test]
async fn one_gateway_is_left_and_the_lost_ones_cannot_come_back() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    write_flow(&mesh).await;
    let mut confirmed = Vec::new();
    for number in 0..10 {
        confirmed.push(write(&mesh.nodes[number % 3], &format!("before-{number}")).await);
    }
    mesh.agreed().await;
    mesh.kill_all();
    // Without the mesh's name nothing happens but a look.
    let asked = mesh.nodes[2].cli(&["recover"]);
    let told = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(2), "{told}");
    assert!(told.contains("--confirm campus") && told.contains("removes them all"), "{told}");
    let wrong = mesh.nodes[2].cli(&["recover", "--confirm", "other", "--reason", "fire"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let blank = mesh.nodes[2].cli(&["recover", "--confirm", "campus", "--reason", ""]);
    assert!(!blank.status.success() && String::from_utf8_lossy(&blank.stderr).contains("--reason"), "{blank:?}");
    let begun = parsed(&mesh.nodes[2].cli(&["recover", "--confirm", "campus", "--reason", "both others burnt", "--json"]));
    assert_eq!(begun["node"], 3, "{begun}");

    mesh.nodes[2].start();
    mesh.nodes[2].ready().await;
    confirmed.push(write(&mesh.nodes[2], "alone").await);
    // What has just ended is in the history a moment later.
    until("all that was confirmed is there", async || {
        let ids = all(&mesh.nodes[2].api).await;
        confirmed.iter().all(|id| ids.contains(id)).then_some(())
    })
    .await;
    assert_eq!(mesh.nodes[2].api.get("/audit/verify").await.data()["result"], "verified");
    let look = crate::members::look(&mesh.nodes[2]).await;
    assert_eq!((&look["epoch"], &look["groups"][0]["voters"]), (&json!(1), &json!([3])), "{look}");

    // The two that were thought to be lost have a quorum of their own, and are told as soon as they say a word.
    mesh.nodes[0].start();
    mesh.nodes[1].start();
    for place in [0, 1] {
        assert!(!mesh.nodes[place].ended().await.success());
        assert!(mesh.nodes[place].log().contains("was removed from this mesh"), "{}", mesh.nodes[place].log());
    }
    let alone = mesh.nodes.remove(2);
    mesh.nodes.clear();
    mesh.nodes.push(alone);
    // A building has its group again as soon as it has a gateway.
    leads(&mesh.nodes[0], "site:depot", 3).await;
    let second = mesh.join(0, "hq", &[]).await;
    assert_eq!(mesh.nodes[second].number, 4);
    mesh.nodes[second].start();
    mesh.nodes[second].ready().await;
    write(&mesh.nodes[second], "two again").await;
    mesh.agreed().await;
    leads(&mesh.nodes[second], "site:hq", 4).await;
    same_copies(&mesh, "site:hq").await;
}

async fn all(api: &Api) -> Vec<Value> {
    let listed = api.get("/instances?status=all&limit=1000").await;
    listed.data().as_array().expect("a list").iter().map(|row| row["id"].clone()).collect()
}
