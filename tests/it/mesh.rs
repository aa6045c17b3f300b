//! Three gateways from `init` make a mesh, do what they are told wherever it is said, and lose nothing that they confirmed.

use crate::{NOTE_FLOW, PROGRAM, SITES};
use serde_json::{Value, json};
use spalla_tests::{Mesh, Node, mesh::config_folder, until};

#[tokio::test]
async fn three_gateways_agree_and_lose_nothing() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    everything_by_the_command_line(&mesh).await;
    let mut started = Vec::new();
    for node in &mesh.nodes {
        started.push(start(node, &format!("at {}", node.site)).await);
    }
    mesh.agreed().await;

    // The leader dies; the others go on, and it catches up.
    let leader = mesh.leader().await;
    let before = mesh.nodes[leader].api.get("/mesh").await.data()["term"].as_u64().expect("a term");
    mesh.nodes[leader].kill();
    let other = (leader + 1) % 3;
    started.push(start(&mesh.nodes[other], "without the leader").await);
    let status = mesh.nodes[other].api.get("/mesh").await;
    assert!(status.data()["term"].as_u64() > Some(before), "a new term: {status:?}");
    assert_ne!(status.data()["leader"], json!(mesh.nodes[leader].number));
    mesh.nodes[leader].start();
    mesh.ready().await;
    mesh.agreed().await;

    // All die at once in the middle of writes; what was confirmed is there afterwards.
    let api = mesh.nodes[other].api.clone();
    let writer = tokio::spawn(async move {
        let mut confirmed = Vec::new();
        loop {
            let key = format!("storm-{}", confirmed.len());
            let body = json!({ "flow": "it/note", "input": { "about": "storm" }, "key": key });
            match api.try_post("/instances", &body).await {
                Some(answer) if answer.status == 200 => confirmed.push(answer.data()["instance"].clone()),
                // The same again.
                Some(answer) => assert!(answer.is_undecided(), "{answer:?}"),
                None => return confirmed,
            }
        }
    });
    until("some writes are confirmed", async || (started_total(&mesh.nodes[other]).await? > 12).then_some(())).await;
    mesh.kill_all();
    let confirmed = writer.await.expect("the writer ends");
    assert!(confirmed.len() >= 8, "{confirmed:?}");
    mesh.start_all();
    mesh.ready().await;
    mesh.agreed().await;
    started.extend(confirmed);
    for node in &mesh.nodes {
        let listed = node.api.get("/instances?status=all&limit=1000").await;
        let ids: Vec<&Value> = listed.data().as_array().expect("a list").iter().map(|row| &row["id"]).collect();
        let lost: Vec<&Value> = started.iter().filter(|id| !ids.contains(id)).collect();
        assert!(lost.is_empty(), "{} lost {lost:?}", node.site);
    }
    // An asked-for end is a clean one.
    assert!(mesh.nodes[0].stop().await.success());
}

async fn started_total(node: &Node) -> Option<u64> {
    node.api.try_get("/status").await?.data()["instances"]["started"].as_u64()
}

/// Starts the small flow, over the time in which there may be no leader. The key makes repeating safe.
async fn start(node: &Node, about: &str) -> Value {
    let body = json!({ "flow": "it/note", "input": { "about": about }, "key": about });
    let answer = until("a write is taken", async || {
        let answer = node.api.post("/instances", &body).await;
        assert!(matches!(answer.status, 200 | 503 | 504), "{answer:?}");
        (answer.status == 200).then_some(answer)
    })
    .await;
    answer.data()["instance"].clone()
}

/// What the README tells an operator to type, at a gateway that does not lead.
async fn everything_by_the_command_line(mesh: &Mesh) {
    let follower = &mesh.nodes[(mesh.leader().await + 1) % 3];
    let config = config_folder();
    let path = |name: &str| config.join(name).display().to_string();
    let files = ["profiles", "pools.yaml", "people.yaml", "three-buildings", "areas.yaml", "flows"].map(path);
    let mut apply = vec!["apply"];
    files.iter().for_each(|file| apply.extend(["-f", file]));
    assert!(said(follower, &apply).contains("resources declared"));
    let note = mesh.folder.path().join("note.yaml");
    std::fs::write(&note, NOTE_FLOW).expect("a file");
    said(follower, &["apply", "-f", &note.display().to_string()]);

    mesh.agreed().await;
    let listed: Vec<String> = mesh.nodes.iter().map(|node| said(node, &["flow", "list"])).collect();
    assert!(listed[0].contains("spalla/visitor:") && listed[0].contains("it/note:1.0.0"), "{}", listed[0]);
    assert!(listed.iter().all(|list| *list == listed[0]), "{listed:?}");

    // The password is said once, and nowhere else.
    let added = parsed(follower, &["device", "add", "hq/reader-9", "--profile", "qr-reader", "--opens", "hq/turnstile-1", "--json"]);
    let password = added["password"].as_str().expect("a password");
    assert!(password.len() >= 20);
    for node in &mesh.nodes {
        for look in [&["device", "list", "--json"][..], &["audit", "tail", "-n", "50", "--json"]] {
            let told = said(node, look);
            assert!(!told.contains(password) && !told.contains("argon2"), "{told}");
        }
    }

    let status = until("a status that is not stale", async || {
        let status = parsed(follower, &["status", "--json"]);
        (status["freshness"]["stale"] == false).then_some(status)
    })
    .await;
    assert_eq!(status["data"]["site"], json!(follower.site));
    let members = parsed(follower, &["mesh", "status", "--json"]);
    assert_eq!(members["data"]["members"].as_array().map(Vec::len), Some(3), "{members}");
    let reads: [&[&str]; 6] = [
        &["flow", "list"],
        &["instance", "list", "--status", "all"],
        &["task", "list"],
        &["device", "list"],
        &["audit", "tail"],
        &["audit", "verify"],
    ];
    for read in reads {
        parsed(follower, &[read, &["--json"]].concat());
        assert!(!said(follower, read).is_empty(), "{read:?}");
    }
}

fn said(node: &Node, arguments: &[&str]) -> String {
    let output = node.cli(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn parsed(node: &Node, arguments: &[&str]) -> Value {
    let text = said(node, arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}
