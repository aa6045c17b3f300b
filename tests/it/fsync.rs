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
    let (mut mesh, disk) = on_such_disks().await;

    // Of the log, at the leader: whoever follows takes over. A folder's path names its gateway, so the others go on.
    let leader = mesh.leader().await;
    let other = (leader + 1) % 3;
    disk.fail_at(&mesh.nodes[leader].data.join("raft"));
    write(&mesh.nodes[other], 1).await;
    stopped(&mut mesh.nodes[leader], &["this gateway stops; the mesh goes on without it", "raft log: it could not be written"]).await;
    disk.mend();
    mesh.nodes[leader].start_with(&disk.variables());
    mesh.nodes[leader].ready().await;
    write(&mesh.nodes[leader], 1).await;
    mesh.agreed().await;

    // Of the log, at a follower.
    let follower = (mesh.leader().await + 1) % 3;
    let other = (follower + 1) % 3;
    disk.fail_at(&mesh.nodes[follower].data.join("raft"));
    write(&mesh.nodes[other], 1).await;
    stopped(&mut mesh.nodes[follower], &["raft log: it could not be written"]).await;
    write(&mesh.nodes[other], 1).await;
    disk.mend();
    mesh.nodes[follower].start_with(&disk.variables());
    mesh.nodes[follower].ready().await;
    write(&mesh.nodes[follower], 1).await;
    mesh.agreed().await;
}

#[tokio::test]
async fn history_and_snapshots_that_cannot_be_made_durable_stop_the_gateway_too() {
    let (mut mesh, disk) = on_such_disks().await;
    for (place, part, says) in [(1, "history.db", "history"), (2, "snapshots", "snapshot")] {
        disk.fail_at(&mesh.nodes[place].data.join(part));
        let mut writes = 0;
        while mesh.nodes[place].is_running() {
            assert!(writes < WRITES_MAX, "{writes} large writes, and {part} was never made durable");
            write(&mesh.nodes[0], LARGE).await;
            writes += 1;
        }
        stopped(&mut mesh.nodes[place], &["this gateway stops; the mesh goes on without it", says]).await;
        disk.mend();
        mesh.nodes[place].start_with(&disk.variables());
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

/// What tells the gateways' fsync when to fail.
struct Disk {
    library: PathBuf,
    trigger: PathBuf,
}

impl Disk {
    fn variables(&self) -> [(&str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("IT_FSYNC_FAILS", &self.trigger)]
    }

    /// From now on, for every file below `folder`.
    fn fail_at(&self, folder: &Path) {
        // Written whole: the gateway must not read half a path.
        let whole = self.trigger.with_extension("new");
        std::fs::write(&whole, folder.to_str().expect("UTF-8")).expect("written");
        std::fs::rename(whole, &self.trigger).expect("renamed");
    }

    fn mend(&self) {
        std::fs::remove_file(&self.trigger).expect("mended");
    }
}

async fn on_such_disks() -> (Mesh, Disk) {
    let mut mesh = Mesh::init(PROGRAM, &SITES);
    let disk = Disk { library: failing_fsync(mesh.folder.path()), trigger: mesh.folder.path().join("fsync-fails-for") };
    mesh.nodes.iter_mut().for_each(|node| node.start_with(&disk.variables()));
    mesh.ready().await;
    let applied = mesh.nodes[0].api.apply(NOTE_FLOW).await;
    assert_eq!(applied.status, 200, "{}", applied.text);
    (mesh, disk)
}

/// Builds the library that stands before libc's `fsync`.
fn failing_fsync(folder: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/it/failing_fsync.c");
    let library = folder.join("failing_fsync.so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
    assert!(compiled.expect("a C compiler, which the build needs as well").success());
    library
}
