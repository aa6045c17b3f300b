//! History that one gateway alone has does not go with it: nobody takes it away before the others have fetched it.

use crate::members::{gone, look, write};
use crate::snapshots::{FLOWS, write_many};
use crate::{NOTE_FLOW, PROGRAM, SITES};
use spalla_tests::mesh::{lacks_history, parsed};
use spalla_tests::{Mesh, until};

/// Gateways that replaced others, one after the other, had not fetched the history yet when the last one that had it was removed: traces
/// of 120,000 entries, and another time 77,000 links of the audit trail, were nowhere any more.
#[tokio::test]
async fn the_last_gateway_that_has_the_history_is_not_removed_before_the_others_have_it() {
    let mut mesh = Mesh::init(PROGRAM, &SITES);
    for place in 0..3 {
        mesh.configure(place, |config| (config.peers.snapshot_every, config.peers.snapshot_keep) = (Some(100), Some(100)));
    }
    mesh.start_all();
    mesh.ready().await;
    assert_eq!(mesh.nodes[0].api.apply(NOTE_FLOW).await.status, 200);
    write_many(&mesh.nodes[0].api, "before").await;
    mesh.agreed().await;
    assert!(!lacks_history(&look(&mesh.nodes[0]).await));
    // Two that begin with the state and without the history, as new ones do, while the third is not there.
    for node in &mut mesh.nodes {
        node.stop().await;
    }
    for node in &mesh.nodes[..2] {
        for file in ["history.db", "history.db-wal", "history.db-shm"] {
            let _absent = std::fs::remove_file(node.data.join(file));
        }
    }
    mesh.nodes[0].start();
    mesh.nodes[1].start();
    mesh.nodes[0].ready().await;
    mesh.nodes[1].ready().await;
    write(&mesh.nodes[0], "without it").await;

    until("what is nowhere is said", async || {
        let status = look(&mesh.nodes[0]).await;
        let lacking = status["members"]
            .as_array()?
            .iter()
            .filter(|member| member["words"].as_str().is_some_and(|words| words.contains("history lacks")));
        (lacking.count() == 2 && lacks_history(&status)).then_some(())
    })
    .await;
    let refused = mesh.nodes[0].cli(&["mesh", "remove", "3"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("entries 1 to") && said.contains("bring depot back") && said.contains("--force"),
        "{said}"
    );

    mesh.nodes[2].start();
    mesh.ready().await;
    until("the history is everywhere", async || (!lacks_history(&look(&mesh.nodes[1]).await)).then_some(())).await;
    mesh.agreed().await;
    let removed = parsed(&mesh.nodes[1].cli(&["mesh", "remove", "3", "--json"]));
    assert_eq!(removed["node"], 3, "{removed}");
    gone(&mesh.nodes[0], 3).await;
    mesh.nodes.remove(2);
    let finished = mesh.nodes[1].api.get("/instances?status=finished&limit=1000").await;
    assert_eq!(finished.data().as_array().map(Vec::len), Some(FLOWS + 1), "{}", finished.text);
}
