//! Disks that take a write and fail to make it durable. What was not made durable is never confirmed, the gateway says so and
//! stops, and it does not try its luck with a second fsync: after a failed one the kernel may call lost pages clean.
#![cfg(target_os = "linux")]

use crate::faults::{LARGE, WRITES_MAX, says, write};
use crate::{NOTE_FLOW, PROGRAM, SITES};
use spalla_tests::{Mesh, Node};
use std::path::{Path, PathBuf};
use std::process::Command;

#[tokio::test]
async fn a_failed_fsync_stops_that_gateway_and_the_mesh_goes_on() {
    let mut mesh = Mesh::init(PROGRAM, &SITES);
    let library = failing_fsync(mesh.folder.path());
    let trigger = mesh.folder.path().join("fsync-fails-for");
    let variables = [("LD_PRELOAD", library.as_path()), ("IT_FSYNC_FAILS", trigger.as_path())];
    mesh.nodes.iter_mut().for_each(|node| node.start_with(&variables));
    mesh.ready().await;
    let applied = mesh.nodes[0].api.apply(NOTE_FLOW).await;
    assert_eq!(applied.status, 200, "{}", applied.text);

    // Of the log, at the leader: whoever follows takes over. A folder's path names its gateway, so the others go on.
    let leader = mesh.leader().await;
    let other = (leader + 1) % 3;
    fail_at(&trigger, &mesh.nodes[leader].data.join("raft"));
    write(&mesh.nodes[other], 1).await;
    stopped(&mut mesh.nodes[leader], &["this gateway stops; the mesh goes on without it", "raft log: it could not be written"]).await;
    std::fs::remove_file(&trigger).expect("mended");
    mesh.nodes[leader].start_with(&variables);
    mesh.nodes[leader].ready().await;
    write(&mesh.nodes[leader], 1).await;
    mesh.agreed().await;

    // Of the log, at a follower.
    let follower = (mesh.leader().await + 1) % 3;
    let other = (follower + 1) % 3;
    fail_at(&trigger, &mesh.nodes[follower].data.join("raft"));
    write(&mesh.nodes[other], 1).await;
    stopped(&mut mesh.nodes[follower], &["raft log: it could not be written"]).await;
    write(&mesh.nodes[other], 1).await;
    std::fs::remove_file(&trigger).expect("mended");
    mesh.nodes[follower].start_with(&variables);
    mesh.nodes[follower].ready().await;
    write(&mesh.nodes[follower], 1).await;
    mesh.agreed().await;
}

#[tokio::test]
async fn history_and_snapshots_that_cannot_be_made_durable_stop_the_gateway_too() {
    let mut mesh = Mesh::init(PROGRAM, &SITES);
    let library = failing_fsync(mesh.folder.path());
    let trigger = mesh.folder.path().join("fsync-fails-for");
    let variables = [("LD_PRELOAD", library.as_path()), ("IT_FSYNC_FAILS", trigger.as_path())];
    mesh.nodes.iter_mut().for_each(|node| node.start_with(&variables));
    mesh.ready().await;
    let applied = mesh.nodes[0].api.apply(NOTE_FLOW).await;
    assert_eq!(applied.status, 200, "{}", applied.text);
    for (place, part, says) in [(1, "history.db", "history"), (2, "snapshots", "snapshot")] {
        fail_at(&trigger, &mesh.nodes[place].data.join(part));
        let mut writes = 0;
        while mesh.nodes[place].is_running() {
            assert!(writes < WRITES_MAX, "{writes} large writes, and {part} was never made durable");
            write(&mesh.nodes[0], LARGE).await;
            writes += 1;
        }
        stopped(&mut mesh.nodes[place], &["this gateway stops; the mesh goes on without it", says]).await;
        std::fs::remove_file(&trigger).expect("mended");
        mesh.nodes[place].start_with(&variables);
        mesh.nodes[place].ready().await;
        mesh.agreed().await;
    }
}

async fn stopped(node: &mut Node, names: &[&str]) {
    let status = node.ended().await;
    assert_eq!(status.code(), Some(1), "{status}");
    says(node, names);
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

fn fail_at(trigger: &Path, folder: &Path) {
    // Written whole: the gateway must not read half a path.
    let whole = trigger.with_extension("new");
    std::fs::write(&whole, folder.to_str().expect("UTF-8")).expect("written");
    std::fs::rename(whole, trigger).expect("renamed");
}

/// Builds the library that stands before libc's `fsync`.
fn failing_fsync(folder: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/it/failing_fsync.c");
    let library = folder.join("failing_fsync.so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
    assert!(compiled.expect("a C compiler, which the build needs as well").success());
    library
}
