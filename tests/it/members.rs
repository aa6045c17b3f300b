//! Gateways come and go while the mesh works: join, remove, replace, hand over. Nothing that was confirmed is lost, and who left
//! never comes back under its old id.

use crate::{NOTE_FLOW, PROGRAM, SITES};
use serde_json::{Value, json};
use spalla_broker::client::Version;
use spalla_tests::mesh::{config_folder, parsed};
use spalla_tests::{Device, Mesh, Node, until};

#[tokio::test]
async fn a_gateway_joins_a_running_mesh_and_votes_when_it_is_level() {
    let mut mesh = Mesh::start(PROGRAM, &SITES[..2]).await;
    assert_eq!(mesh.nodes[0].api.apply(NOTE_FLOW).await.status, 200);
    for number in 0..20 {
        write(&mesh.nodes[0], &format!("before-{number}")).await;
    }
    // A witness in a third place makes two buildings safe.
    let witness = mesh.join(1, "elsewhere", &["--site", "elsewhere"]).await;
    assert_eq!(mesh.nodes[witness].number, 3, "the next id");
    mesh.nodes[witness].start();
    mesh.nodes[witness].ready().await;
    voters(&mesh.nodes[0], &[1, 2, 3]).await;
    mesh.agreed().await;

    // One building dies, and the other goes on with the witness.
    let leader = mesh.leader().await;
    let lost = if leader == witness { 0 } else { leader };
    mesh.nodes[lost].kill();
    let left = 1 - lost;
    write(&mesh.nodes[left], "one building is gone").await;
    mesh.nodes[lost].start();
    mesh.ready().await;

    // A second gateway of a site learns; all of them start again with the settings that they have, and find each other.
    let second = mesh.join(0, "hq", &[]).await;
    mesh.nodes[second].start();
    mesh.nodes[second].ready().await;
    mesh.agreed().await;
    mesh.kill_all();
    mesh.start_all();
    mesh.ready().await;
    write(&mesh.nodes[second], "after all went down").await;
    mesh.agreed().await;
    voters(&mesh.nodes[second], &[1, 2, 3]).await;
    until("all four answer", async || {
        let looks = look(&mesh.nodes[witness]).await;
        let members = looks["members"].as_array()?;
        (members.len() == 4 && members.iter().all(|member| !member["vitals"].is_null())).then_some(())
    })
    .await;
    for word in ["plant", "elsewhere", "leads", "heard", "semantics", "GB"] {
        until(&format!("`mesh status` says `{word}`"), async || {
            let said = mesh.nodes[second].cli(&["mesh", "status"]);
            String::from_utf8_lossy(&said.stdout).contains(word).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_invitation_is_used_once_and_never_with_a_foreign_authority() {
    let mut mesh = Mesh::start(PROGRAM, &SITES[..1]).await;
    let node = &mesh.nodes[0];
    let token = parsed(&node.cli(&["mesh", "invite", "--site", "plant", "--json"]))["token"].as_str().expect("a token").to_owned();
    let authority = std::fs::read_to_string(mesh.authority().join("ca.pem")).expect("an authority");
    let join = async |site: &str, token: &str, ca: &str, port: u16| {
        let body = json!({ "site": site, "address": format!("127.0.0.1:{port}"), "ca": ca });
        let answer =
            node.api.send(node.api.anonymous("POST", "/api/v1/mesh/join").bearer_auth(token).json(&body)).await.expect("an answer");
        (answer.status, answer.code().to_owned())
    };
    assert_eq!(join("plant", &"0".repeat(64), &authority, 1).await, (403, "forbidden".into()));
    assert_eq!(join("depot", &token, &authority, 1).await, (403, "forbidden".into()), "another site");
    assert_eq!(join("plant", &token, "-----BEGIN", 1).await, (409, "conflict".into()));
    assert_eq!(join("plant", &token, &authority, 1).await.0, 200);
    assert_eq!(join("plant", &token, &authority, 2).await, (403, "forbidden".into()), "twice");
    // Who invited and what came of it stands in the audit trail, without the token.
    let trail = node.api.get("/audit?limit=20").await.text;
    assert!(trail.contains("mesh.invited") && trail.contains("mesh.joined") && !trail.contains(&token), "{trail}");
    // A gateway that never starts holds nothing up, and can be removed.
    write_flow(&mesh).await;
    assert_eq!(node.api.request("DELETE", "/api/v1/mesh/members/2").send().await.expect("an answer").status(), 200);
    mesh.nodes[0].stop().await;
}

#[tokio::test]
async fn a_dead_gateway_is_replaced_and_never_comes_back() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    write_flow(&mesh).await;
    let profile = std::fs::read_to_string(config_folder().join("profiles/qr-reader.yaml")).expect("a profile");
    assert_eq!(mesh.nodes[0].api.apply(&profile).await.status, 200);
    let login = mesh.add_device(2, "reader-9", "qr-reader").await;
    let reader = Device::connect(&login, Version::V5).await;
    mesh.nodes[0].connected("depot/reader-9").await;
    mesh.nodes[2].kill();
    drop(reader);
    write(&mesh.nodes[0], "while it is dead").await;

    let removed = parsed(&mesh.nodes[1].cli(&["mesh", "remove", "3", "--json"]));
    assert_eq!(removed["node"], 3, "{removed}");
    // Else it goes on by itself, and who votes then is not known yet.
    if removed["done"] == true {
        assert!(removed["warning"].as_str().is_some_and(|warning| warning.contains("witness")), "{removed}");
    }
    gone(&mesh.nodes[0], 3).await;
    voters(&mesh.nodes[0], &[1, 2]).await;
    // Nobody else could say that its devices are away.
    mesh.nodes[0].away("depot/reader-9").await;
    let status = mesh.nodes[0].api.get("/status").await;
    let nodes: Vec<&Value> = status.data()["nodes"].as_array().expect("nodes").iter().map(|node| &node["node"]).collect();
    assert!(!nodes.contains(&&json!(3)), "it holds nothing back any more: {nodes:?}");

    let replacement = mesh.join(1, "depot", &[]).await;
    assert_eq!(mesh.nodes[replacement].number, 4);
    mesh.nodes[replacement].start();
    mesh.nodes[replacement].ready().await;
    voters(&mesh.nodes[0], &[1, 2, 4]).await;

    // The dead one rises, with all its old state, and is told.
    mesh.nodes[2].start();
    assert!(!mesh.nodes[2].ended().await.success());
    assert!(mesh.nodes[2].log().contains("was removed from this mesh"), "{}", mesh.nodes[2].log());
    let dead = mesh.nodes.remove(2);
    drop(dead);
    write(&mesh.nodes[2], "after it rose").await;
    mesh.agreed().await;
}

#[tokio::test]
async fn the_leader_itself_can_be_removed_and_what_would_lose_the_quorum_cannot() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    write_flow(&mesh).await;
    let leader = mesh.leader().await;
    let number = mesh.nodes[leader].number;
    // Asked at the leader, in the middle of work.
    let removed = parsed(&mesh.nodes[leader].cli(&["mesh", "remove", &number.to_string(), "--json"]));
    assert_eq!(removed["node"], number, "{removed}");
    let status = mesh.nodes[leader].ended().await;
    assert!(!status.success() && mesh.nodes[leader].log().contains("was removed"), "it stops by itself: {}", mesh.nodes[leader].log());
    mesh.nodes.remove(leader);
    gone(&mesh.nodes[0], number).await;
    write(&mesh.nodes[0], "without the old leader").await;
    mesh.agreed().await;

    // Two are left, and a third joins. With one of the two silent, the third cannot be taken away.
    let third = mesh.join(0, "fourth", &[]).await;
    mesh.nodes[third].start();
    mesh.nodes[third].ready().await;
    three_vote(&mesh.nodes[0]).await;
    // On the way from two voters to three a majority of the two has to agree as well, so of both: held now, it would block the change.
    for about in ["the change is under way", "the change is done"] {
        write(&mesh.nodes[0], about).await;
    }
    mesh.agreed().await;
    let leader = mesh.leader().await;
    let silent = usize::from(leader == 0);
    let (other, silent_number) = (1 - silent, mesh.nodes[silent].number);
    mesh.nodes[silent].hold();
    until("the leader misses the one that is held", async || {
        let looks = look(&mesh.nodes[leader]).await;
        let held = looks["members"].as_array()?.iter().find(|member| member["node"] == silent_number)?.clone();
        // Who leads only since then has never heard of it.
        let missed = |words: &str| words.contains("silent for") || words.contains("not heard of yet");
        held["words"].as_str().is_some_and(missed).then_some(())
    })
    .await;
    let refused = mesh.nodes[leader].cli(&["mesh", "remove", &mesh.nodes[third].number.to_string()]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("only 1 of 2 voters") && why.contains("--force"), "{why}");
    mesh.nodes[silent].go_on();
    // The silent one itself may go at any time; and the last one never.
    parsed(&mesh.nodes[other].cli(&["mesh", "remove", &silent_number.to_string(), "--json"]));
    mesh.nodes[silent].ended().await;
    let again = mesh.nodes[other].cli(&["mesh", "remove", "77"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("no member"), "{again:?}");
}

/// Once the log says it, the others refuse every word of the gateway that is to go, while its own request still waits for the
/// groups to let it go. It used to stop there and then, and whoever had asked heard nothing.
#[tokio::test]
async fn who_is_asked_to_remove_itself_answers_before_it_stops() {
    let mut mesh = Mesh::init(PROGRAM, &SITES);
    // For the leader to be patient with the one that is held.
    mesh.set_timing("wan");
    mesh.start_all();
    mesh.ready().await;
    write_flow(&mesh).await;
    mesh.agreed().await;
    let leader = mesh.leader().await;
    let (goes, held) = ((leader + 1) % 3, (leader + 2) % 3);
    let number = mesh.nodes[goes].number.to_string();
    // The two that stay have to agree on the new voters, so that takes until the held one goes on.
    mesh.nodes[held].hold();
    let told = async {
        until("the one that goes was told by the leader", async || {
            // It asks the others how they are, and the leader refuses to say.
            mesh.nodes[goes].api.try_get("/mesh/status").await;
            mesh.nodes[goes].log().contains("was removed").then_some(())
        })
        .await;
        mesh.nodes[held].go_on();
    };
    let arguments = ["mesh", "remove", &number, "--force", "--json"];
    let (asked, ()) = tokio::join!(mesh.nodes[goes].cli_meanwhile(&arguments), told);
    let removed = parsed(&asked);
    assert_eq!(removed["node"], mesh.nodes[goes].number, "{removed}");
    assert!(!mesh.nodes[goes].ended().await.success());
}

#[tokio::test]
async fn a_wiped_gateway_is_refused_and_joins_under_a_new_id() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    write_flow(&mesh).await;
    mesh.agreed().await;
    let wiped = (mesh.leader().await + 1) % 3;
    let (site, number) = (mesh.nodes[wiped].site.clone(), mesh.nodes[wiped].number.to_string());
    mesh.nodes[wiped].kill();
    std::fs::remove_dir_all(&mesh.nodes[wiped].data).expect("wiped");
    mesh.nodes[wiped].start();
    assert!(!mesh.nodes[wiped].ended().await.success());
    let log = mesh.nodes[wiped].log();
    assert!(log.contains("its folder is new") && log.contains("mesh remove") && log.contains("mesh join"), "{log}");

    mesh.nodes.remove(wiped);
    parsed(&mesh.nodes[0].cli(&["mesh", "remove", &number, "--json"]));
    let again = mesh.join(0, &site, &[]).await;
    assert_eq!(mesh.nodes[again].number, 4);
    mesh.nodes[again].start();
    mesh.nodes[again].ready().await;
    mesh.agreed().await;
    three_vote(&mesh.nodes[0]).await;
}

#[tokio::test]
async fn leadership_goes_where_it_is_told_and_nobody_waits() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    write_flow(&mesh).await;
    let leader = mesh.leader().await;
    let to = (leader + 1) % 3;
    let number = mesh.nodes[to].number.to_string();
    // Asked at the third one; once more where the next leader was too busy to take over in its time.
    until("leadership is where it was told to go", async || {
        let asked = mesh.nodes[(leader + 2) % 3].cli(&["mesh", "transfer", &number, "--json"]);
        if asked.status.success() {
            let done = parsed(&asked);
            println!("handed over in {} ms", done["took_ms"]);
            return (done["to"] == mesh.nodes[to].number).then_some(());
        }
        let why = String::from_utf8_lossy(&asked.stderr).into_owned();
        let busy = ["did not take over in time", "is not level", "no gateway leads"];
        let leads = why.contains("leads already");
        assert!(leads || busy.iter().any(|part| why.contains(part)), "{why}");
        leads.then_some(())
    })
    .await;
    write(&mesh.nodes[leader], "under the new leader").await;
    let leader = mesh.leader().await;
    let refused = mesh.nodes[leader].cli(&["mesh", "transfer", &mesh.nodes[leader].number.to_string()]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("leads already"), "{refused:?}");

    // A leader that is asked to stop hands over first.
    let leader = mesh.leader().await;
    assert!(mesh.nodes[leader].stop().await.success());
    assert!(mesh.nodes[leader].log().contains("leadership handed over"), "{}", mesh.nodes[leader].log());
    write(&mesh.nodes[(leader + 1) % 3], "while it is down").await;
    mesh.nodes[leader].start();
    mesh.ready().await;
    mesh.agreed().await;
}

pub async fn write_flow(mesh: &Mesh) {
    assert_eq!(mesh.nodes[0].api.apply(NOTE_FLOW).await.status, 200);
    write(&mesh.nodes[0], "first").await;
}

/// Starts the small flow, over the time in which there may be no leader. The key makes repeating safe.
pub async fn write(node: &Node, about: &str) -> Value {
    let body = json!({ "flow": "it/note", "input": { "about": about }, "key": about });
    let answer = until(&format!("a write is taken: {about}"), async || {
        let answer = node.api.post("/instances", &body).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    answer.data()["instance"].clone()
}

pub async fn look(node: &Node) -> Value {
    node.api.get("/mesh/status").await.data().clone()
}

/// Waits until it is a member no more.
pub async fn gone(node: &Node, number: u64) {
    until(&format!("gateway {number} is gone"), async || {
        let looks = look(node).await;
        let members = looks["members"].as_array()?;
        (!members.is_empty() && members.iter().all(|member| member["node"] != number)).then_some(())
    })
    .await;
}

/// Waits until exactly these vote.
pub async fn voters(node: &Node, numbers: &[u64]) {
    settled(node, &format!("{numbers:?} vote"), |voters| *voters == json!(numbers)).await;
}

async fn three_vote(node: &Node) {
    settled(node, "three vote", |voters| voters.as_array().is_some_and(|voters| voters.len() == 3)).await;
}

/// Until a change is done, the old voters have to agree as well.
async fn settled(node: &Node, what: &str, wanted: impl Fn(&Value) -> bool) {
    until(what, async || {
        let group = look(node).await["groups"][0].clone();
        (group["changing"] == false && wanted(&group["voters"])).then_some(())
    })
    .await;
}
