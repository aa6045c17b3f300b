//! A secret goes out with the request that needs it and stays nowhere else: not in the log, not in a file, not in an answer.

use crate::failover::erp::Erp;
use crate::{PROGRAM, SITES};
use serde_json::json;
use spalla_tests::{Mesh, until};
use std::path::Path;

const BEARER: &str = "bearer-7f3a91c25e-never-to-be-seen";
const PASSWORD: &str = "password-0b84d6e7aa-never-to-be-seen";
/// Enough for a snapshot.
const INSTANCES: u32 = 40;
/// What a basic login sends: `erp:` and the password, base64.
const BASIC: &str = "ZXJwOnBhc3N3b3JkLTBiODRkNmU3YWEtbmV2ZXItdG8tYmUtc2Vlbg==";

#[tokio::test]
async fn a_secret_is_in_the_request_and_nowhere_else() {
    let erp = Erp::start().await;
    let mut mesh = Mesh::init(PROGRAM, &SITES[..1]);
    let node = &mut mesh.nodes[0];
    let folder = node.config.parent().expect("a folder").join("secrets");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("erpToken"), format!("{BEARER}\n")).expect("a secret");
    std::fs::write(folder.join("erpLogin"), format!("erp:{PASSWORD}\n")).expect("a secret");
    let text = std::fs::read_to_string(&node.config).expect("settings");
    let off = "# [secrets]\n# folder = \"secrets\"";
    assert!(text.contains(off), "{text}");
    let text = text.replace(off, "[secrets]\nfolder = \"secrets\"");
    // A snapshot after as few entries as may be: it is looked through as well.
    let (every, keep) = ("# snapshot_every = 20000", "# snapshot_keep = 5000");
    assert!(text.contains(every) && text.contains(keep), "{text}");
    let text = text.replace(every, "snapshot_every = 100").replace(keep, "snapshot_keep = 100");
    std::fs::write(&node.config, text).expect("written");
    node.start_with(&[("RUST_LOG", Path::new("trace"))]);
    node.ready().await;

    let answer = node.api.apply(FLOW).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut ids = Vec::new();
    for n in 0..INSTANCES {
        ids.push(node.api.start("it/asks", &json!({ "n": n, "erp": erp.port(), "note": "it-plain-to-see" })).await);
    }
    let api = node.api.clone();
    until("all calls are answered", async || {
        let rows = api.try_get("/instances?status=finished&limit=100").await?;
        (rows.data().as_array()?.len() == ids.len()).then_some(())
    })
    .await;
    let sent = erp.requests();
    assert!(sent.iter().any(|request| request.contains(&format!("Bearer {BEARER}"))), "{sent:?}");
    assert!(sent.iter().any(|request| request.contains(&format!("Basic {BASIC}"))), "{sent:?}");

    // Answers of the API, the refusals of a call that failed among them.
    let mut reads = vec!["/instances?status=all&limit=1000".to_owned(), "/audit?limit=500".into(), "/resources".into(), "/flows".into()];
    reads.extend(ids.iter().flat_map(|id| [format!("/instances/{id}"), format!("/instances/{id}/trace")]));
    for path in reads {
        hides(&path, node.api.get(&path).await.text.as_bytes());
    }
    let log = node.log();
    assert!(log.contains("TRACE"), "the log is not at its fullest");
    hides("gateway.log", log.as_bytes());

    // Running, and stopped: what is written late is on disk then.
    let mut files = looked_through(&node.data);
    assert!(node.stop().await.success());
    files.extend(looked_through(&node.data));
    hides("gateway.log", node.log().as_bytes());
    for name in ["raftlog", ".snapshot", "history.db", "broker.db"] {
        assert!(files.iter().any(|file| file.contains(name)), "no {name} was looked through: {files:?}");
    }
    // What is no secret is found, so that nothing is only packed out of sight.
    for name in ["raftlog", ".snapshot", "history.db"] {
        let read = |file: &String| std::fs::read(file).is_ok_and(|bytes| holds(&bytes, "it-plain-to-see"));
        assert!(files.iter().filter(|file| file.contains(name)).any(read), "{name} could not be read");
    }
}

/// All files under a folder hold no secret; their paths.
fn looked_through(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(looked_through(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            hides(&path.display().to_string(), &bytes);
            all.push(path.display().to_string());
        }
    }
    all
}

fn hides(place: &str, bytes: &[u8]) {
    for secret in [BEARER, PASSWORD, BASIC] {
        assert!(!holds(bytes, secret), "{place} holds a secret: {secret}");
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Calls with either login, and one that fails: its error must not tell what was sent.
const FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: asks, version: '1.0.0', title: it-plain-to-see }
use:
  secrets: [ erpToken, erpLogin ]
  authentications:
    token: { bearer: { use: erpToken } }
    login: { basic: { use: erpLogin } }
do:
  - asked:
      call: http
      with: { method: get, endpoint: { uri: 'http://127.0.0.1:{erp}/erp/{n}/orders', authentication: { use: token } }, output: response }
      output: { as: '${ . + { shown: $authorization } }' }
      input: { from: '${ $workflow.input }' }
  - logged: { call: http, with: { method: get, endpoint: { uri: 'http://127.0.0.1:{erp}/erp/{n}/stock', authentication: { use: login } }, output: response }, input: { from: '${ $workflow.input }' } }
  - refused:
      try:
        - fails: { call: http, with: { method: post, endpoint: { uri: 'http://127.0.0.1:{erp}/erp/{n}/flaky', authentication: { use: token } } }, input: { from: '${ $workflow.input }' } }
      catch: { as: problem, do: [ { keeps: { set: { problem: '${ $problem }' } } } ] }
"#;
