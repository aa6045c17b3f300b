//! A gateway that was away for longer than the others keep their log gets a snapshot, and the history under it from them.

use crate::{NOTE_FLOW, PROGRAM, SITES};
use futures::future::join_all;
use serde_json::{Value, json};
use spalla_tests::{Api, Mesh, until};

/// Far more than the 200 entries that the settings below keep at most.
pub const FLOWS: usize = 450;
const AT_ONCE: usize = 16;

#[tokio::test]
async fn who_was_away_for_long_has_the_whole_history_again() {
    let mut mesh = Mesh::init(PROGRAM, &SITES);
    for node in &mesh.nodes {
        // The settings that `init` names in a comment.
        let text = std::fs::read_to_string(&node.config).expect("settings");
        let (every, keep) = ("# snapshot_every = 20000", "# snapshot_keep = 5000");
        assert!(text.contains(every) && text.contains(keep), "{text}");
        let text = text.replace(every, "snapshot_every = 100").replace(keep, "snapshot_keep = 100");
        std::fs::write(&node.config, text).expect("written");
    }
    mesh.start_all();
    mesh.ready().await;
    assert_eq!(mesh.nodes[0].api.apply(NOTE_FLOW).await.status, 200);
    // One instance lives while the gateway is away, and ends before it is back.
    assert_eq!(mesh.nodes[0].api.apply(WAITING_FLOW).await.status, 200);
    let waiting = mesh.nodes[0].api.start("it/wait", &json!({})).await;
    mesh.agreed().await;

    let away = (mesh.leader().await + 1) % 3;
    let (one, other) = ((away + 1) % 3, (away + 2) % 3);
    mesh.nodes[away].kill();
    write_many(&mesh.nodes[one].api, "first").await;
    let cancelled = mesh.nodes[one].api.post_surely(&format!("/instances/{waiting}/cancel"), &json!({})).await;
    // Where the answer to the first word was lost, there is nothing left to cancel.
    assert!(matches!(cancelled.status, 200 | 404), "{cancelled:?}");
    // The two that have written snapshots and purged their logs die, too: what history derived from the log is on disk.
    mesh.kill_all();
    mesh.nodes[one].start();
    mesh.nodes[other].start();
    mesh.nodes[one].ready().await;
    mesh.nodes[other].ready().await;
    write_many(&mesh.nodes[other].api, "second").await;

    mesh.nodes[away].start();
    mesh.ready().await;
    mesh.agreed().await;
    let log = mesh.nodes[away].log();
    assert!(log.contains("installing a snapshot"), "it caught up from the log: nothing was tested");

    // Instances and their traces, too.
    let whole = until("instances and traces are the same again", async || {
        let (mine, theirs) = (rows(&mesh.nodes[away].api).await, rows(&mesh.nodes[one].api).await);
        (mine == theirs).then_some(mine)
    })
    .await;
    assert!(whole.len() > FLOWS, "{}", whole.len());
    for id in [whole[3]["id"].as_str().expect("an id"), &waiting] {
        let show = async |place: usize| mesh.nodes[place].api.get(&format!("/instances/{id}")).await.data().clone();
        assert_eq!(show(away).await, show(one).await);
    }
    // And once more from its own files alone.
    mesh.nodes[away].kill();
    mesh.nodes[away].start();
    mesh.ready().await;
    mesh.agreed().await;
}

const WAITING_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: wait, version: '1.0.0' }
do:
  - rest: { wait: { hours: 1 } }
"#;

async fn rows(api: &Api) -> Vec<Value> {
    api.get("/instances?status=finished&limit=1000").await.data().as_array().cloned().unwrap_or_default()
}

/// Starts many flows, some at a time, whatever elections go on.
pub async fn write_many(api: &Api, name: &str) {
    let writers = (0..AT_ONCE).map(|worker| async move {
        for number in (worker..FLOWS).step_by(AT_ONCE) {
            let key = format!("{name}-{number}");
            let body = json!({ "flow": "it/note", "input": { "about": key }, "key": key });
            until("a write is taken", async || (api.post("/instances", &body).await.status == 200).then_some(())).await;
        }
    });
    join_all(writers).await;
}
