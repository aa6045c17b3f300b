//! What operators and authors of flows do to a gateway: versions, traces, pictures, many instances at once.

use crate::PROGRAM;
use serde_json::{Value, json};
use spalla_tests::{LONG, Mesh, Node, until};
use std::process::Output;

fn flow(version: &str) -> String {
    format!(
        "document: {{ dsl: '1.0.3', namespace: it, name: ask, version: '{version}', metadata: {{ spalla/business-key: '${{ .key }}' }} }}
do:
  - check: {{ set: '${{ {{ key: .key, number: (.key | tonumber) }} }}' }}
  - ask: {{ call: human.approval, with: {{ to: 'role:reception', question: Go on? }} }}
"
    )
}
fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}
async fn start(node: &Node, key: &str) -> String {
    node.api.start("it/ask", &json!({ "key": key })).await
}

#[tokio::test]
async fn versions_traces_pictures_and_many_instances_at_once() {
    let mesh = Mesh::start(PROGRAM, &["hq"]).await;
    let node = &mesh.nodes[0];
    for version in ["1.0.0", "1.1.0"] {
        assert_eq!(node.api.apply(&flow(version)).await.status, 200);
    }
    versions(node).await;
    let first = start(node, "1").await;
    let stuck = [start(node, "no number").await, start(node, "neither").await];
    until("both stand still", async || (node.api.get("/instances?status=incident").await.data().as_array()?.len() == 2).then_some(()))
        .await;
    pictures(node, &first, &stuck[0]).await;
    followed(node, &first).await;
    many(node, &stuck).await;
}

async fn versions(node: &Node) {
    let states = async || {
        let list = node.api.get("/flows").await;
        let one = |flow: &Value| format!("{} {}", flow["version"].as_str().unwrap_or_default(), flow["current"]);
        list.data().as_array().expect("flows").iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["1.0.0 false", "1.1.0 true"]);
    let (code, text) = told(&node.cli(&["flow", "disable", "it/ask:1.1.0"]));
    assert_eq!((code, text.trim()), (Some(0), "it/ask:1.1.0 disabled"));
    assert_eq!(states().await, ["1.0.0 true", "1.1.0 false"]);
    let refused = node.api.post("/instances", &json!({ "flow": "it/ask:1.1.0", "input": { "key": "1" } })).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.text);
    let (code, text) = told(&node.cli(&["flow", "enable", "it/ask:1.1.0"]));
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = told(&node.cli(&["flow", "enable", "it/ask:1.1.0"]));
    assert_eq!((code, text.trim()), (Some(0), "it/ask:1.1.0 was already enabled"));
    assert_eq!(told(&node.cli(&["flow", "remove", "it/ask:1.0.0"])).0, Some(0));
    assert_eq!(states().await, ["1.1.0 true"]);
    assert!(told(&node.cli(&["flow", "enable", "it/ask"])).1.contains("NAMESPACE/NAME:VERSION"));
}

async fn pictures(node: &Node, first: &str, stuck: &str) {
    let picture = async |path: String| {
        let answer = node.api.send(node.api.request("GET", &format!("/api/v1{path}"))).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text
    };
    assert!(picture("/flows/it/ask/1.1.0/picture".into()).await.starts_with("<svg"));
    let drawn = until("the trace is written", async || {
        Some(picture(format!("/instances/{first}/picture")).await).filter(|drawn| drawn.contains("is-done"))
    })
    .await;
    assert!(drawn.contains("is-here") && drawn.contains("waits for a person"), "{drawn}");
    assert!(picture(format!("/instances/{stuck}/picture")).await.contains("is-stuck"));
    assert_eq!(node.api.get("/flows/it/ask/9.9.9/picture").await.status, 404);
}

/// The tree says who asked and who answered; the stream ends with the instance.
async fn followed(node: &Node, id: &str) {
    let follower = {
        let request = node.api.request("GET", &format!("/api/v1/instances/{id}/trace/stream")).timeout(LONG);
        let api = node.api.clone();
        tokio::spawn(async move { api.send(request).await.expect("a stream").text })
    };
    let item = node.api.get("/tasks").await;
    let item = item.data().as_array().expect("tasks").iter().find(|item| item["instance"] == id).expect("the work item").clone();
    let done = node.api.send(
        node.api
            .request("POST", &format!("/api/v1/tasks/{}/complete", item["id"].as_str().expect("an id")))
            .header("x-spalla-actor", "system:test")
            .json(&json!({ "choice": "approve" })),
    );
    assert_eq!(done.await.expect("an answer").status, 200);
    let streamed = follower.await.expect("it ends");
    for part in ["event: line", "\"what\":\"called\"", "system:test", "event: end", "\"status\":\"completed\""] {
        assert!(streamed.contains(part), "`{part}` is not in {streamed}");
    }
    let (code, tree) = told(&node.cli(&["instance", "show", id]));
    assert_eq!(code, Some(0), "{tree}");
    for part in ["✓ check  set", "✓ ask  call", "asked role:reception: Go on?", "answered by system:test (approve)"] {
        assert!(tree.contains(part), "`{part}` is not in\n{tree}");
    }
    assert_eq!(told(&node.cli(&["instance", "show", id, "--follow"])).0, Some(0), "an ended one ends at once");
    assert_eq!(node.api.get("/instances/none/trace").await.status, 404);
    let lines = node.api.get(&format!("/instances/{id}/trace?limit=2")).await;
    assert_eq!(lines.data().as_array().map(Vec::len), Some(2));
    let next = lines.body["next"].as_str().expect("there is more");
    assert_ne!(node.api.get(&format!("/instances/{id}/trace?after={next}")).await.data()[0], lines.data()[0]);
}

async fn many(node: &Node, stuck: &[String; 2]) {
    let (code, text) = told(&node.cli(&["instance", "retry"]));
    assert!(code == Some(2) && text.contains("--all"), "{text}");
    let (code, text) = told(&node.cli(&["instance", "skip", "--status", "incident", "--dry-run"]));
    assert!(code == Some(0) && text.contains("2 instances would be skipped"), "{text}");
    // Nobody is there to be asked: a line in a crontab must say that it means it.
    let (code, text) = told(&node.cli(&["instance", "skip", "--key", "neither"]));
    assert!(code == Some(2) && text.contains("--yes"), "{text}");
    let (code, text) = told(&node.cli(&["instance", "skip", "--key", "neither", "--output", "{\"number\": 3}", "--yes"]));
    assert!(code == Some(0) && text.contains(&format!("{}  skipped", stuck[1])), "{text}");
    // The instance that has no incident any more fails, the other does not: each is told, and the whole is a failure.
    let (code, text) = told(&node.cli(&["instance", "skip", &stuck[0], &stuck[1]]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("{}  skipped", stuck[0])) && text.contains("has no incident") && text.contains("1 failed"), "{text}");
    let (code, text) = told(&node.cli(&["instance", "set", &stuck[0], "--context", "{\"by\":\"hand\"}"]));
    assert_eq!((code, text.trim()), (Some(0), "changed"));
    let shown = node.api.get(&format!("/instances/{}", stuck[0])).await;
    assert_eq!(shown.data()["context"], json!({ "by": "hand" }));
    assert!(told(&node.cli(&["flow", "remove", "it/ask:1.1.0"])).1.contains("2 instances run on it/ask:1.1.0"));
    let (code, text) =
        told(&node.cli(&["instance", "cancel", "--flow", "it/ask", "--started-before", "2100-01-01T00:00:00Z", "--json", "--yes"]));
    let results: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(code == Some(0) && results.as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["ok"] == true)), "{text}");
    assert_eq!(node.api.get("/instances").await.data().as_array().map(Vec::len), Some(0));
    let ended = until("history has them", async || {
        let ended = node.api.get("/instances?status=cancelled&limit=1").await;
        ended.body["next"].as_str().map(str::to_owned)
    })
    .await;
    let second = node.api.get(&format!("/instances?status=cancelled&limit=1&before={ended}")).await;
    assert_eq!((second.data().as_array().map(Vec::len), &second.body["next"]), (Some(1), &Value::Null));
    let (code, text) = told(&node.cli(&["instance", "cancel", "--all", "--yes"]));
    assert_eq!((code, text.trim()), (Some(0), "no instance matches"));
}
