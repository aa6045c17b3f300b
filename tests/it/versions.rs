//! An instance ends on the version that it began with, whatever is deployed, disabled or enabled meanwhile, and whoever leads.

use crate::{PROGRAM, SITES};
use serde_json::{Value, json};
use spalla_tests::{Api, Mesh, Node, until};

const COUNT: usize = 3;

#[tokio::test]
async fn instances_stay_on_their_version_while_others_come_and_go() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    let api = mesh.nodes[0].api.clone();
    deploy(&api, "1.0.0").await;
    let first = start(&api, "first").await;
    deploy(&api, "1.1.0").await;
    let second = start(&api, "second").await;
    assert_eq!(versions(&api, &first).await, ["it/pinned:1.0.0"; COUNT]);
    assert_eq!(versions(&api, &second).await, ["it/pinned:1.1.0"; COUNT]);

    // Back to the old one, said at the command line of a gateway that does not lead; what runs on the new one goes on.
    let leader = mesh.leader().await;
    let follower = &mesh.nodes[(leader + 1) % 3];
    assert!(said(follower, &["flow", "disable", "it/pinned:1.1.0"]).contains("disabled"));
    let third = start(&api, "third").await;
    assert_eq!(versions(&api, &third).await, ["it/pinned:1.0.0"; COUNT]);
    let refused = follower.cli(&["flow", "remove", "it/pinned:1.1.0"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("it/pinned:1.1.0"), "instances run on it: {why}");
    // Who asks for it by its number is refused as well.
    let by_number = api.post("/instances", &json!({ "flow": "it/pinned:1.1.0", "input": {}, "key": "by-number" })).await;
    assert_ne!(by_number.status, 200, "{by_number:?}");

    // The gateway that applied all this dies, and all end under another leader, each as its version says.
    mesh.nodes[leader].kill();
    let other = mesh.nodes[(leader + 1) % 3].api.clone();
    until("another gateway tells them to end", async || {
        let answer = other.post("/instances", &json!({ "flow": "it/leave", "input": {}, "key": "leave" })).await;
        (answer.status == 200).then_some(())
    })
    .await;
    for (ids, version) in [(&first, "1.0.0"), (&second, "1.1.0"), (&third, "1.0.0")] {
        for id in ids {
            let ended = until("an instance ends", async || {
                let row = other.try_get(&format!("/instances/{id}")).await?.data().clone();
                (row["status"] == "completed").then_some(row)
            })
            .await;
            assert_eq!(ended["output"], json!({ "version": version }), "{ended}");
        }
    }
    mesh.nodes[leader].start();
    mesh.ready().await;

    // On again, it is the one that is started; and once nothing runs on it, a version can go.
    let node = &mesh.nodes[leader];
    assert!(said(node, &["flow", "enable", "it/pinned:1.1.0"]).contains("enabled"));
    let fourth = start(&node.api, "fourth").await;
    assert_eq!(versions(&node.api, &fourth).await, ["it/pinned:1.1.0"; COUNT]);
    assert!(said(node, &["flow", "remove", "it/pinned:1.0.0"]).contains("removed"));
    mesh.agreed().await;
}

async fn deploy(api: &Api, version: &str) {
    let text = format!(
        "document: {{ dsl: '1.0.3', namespace: it, name: pinned, version: '{version}' }}
do:
  - stays: {{ listen: {{ to: {{ one: {{ with: {{ type: it.leave }} }} }} }} }}
  - says: {{ set: {{ version: '{version}' }} }}
---
document: {{ dsl: '1.0.3', namespace: it, name: leave, version: '1.0.0' }}
do:
  - leave: {{ emit: {{ event: {{ with: {{ source: /it, type: it.leave }} }} }} }}
"
    );
    let answer = api.apply(&text).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

async fn start(api: &Api, name: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..COUNT {
        let body = json!({ "flow": "it/pinned", "input": {}, "key": format!("{name}-{n}") });
        let answer = until("a start is taken", async || {
            let answer = api.post("/instances", &body).await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        ids.push(answer.data()["instance"].as_str().expect("an id").to_owned());
    }
    ids
}

/// Once the gateway that is asked has applied their start.
async fn versions(api: &Api, ids: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for id in ids {
        let flow = until("the instance is known", async || {
            let row: Value = api.try_get(&format!("/instances/{id}")).await?.data().clone();
            row["flow"].as_str().map(str::to_owned)
        })
        .await;
        all.push(flow);
    }
    all
}

fn said(node: &Node, arguments: &[&str]) -> String {
    let output = node.cli(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
