//! Disks that are full or that lie: that gateway says so and stops, the mesh goes on, and it comes back once it is mended.

use crate::{NOTE_FLOW, PROGRAM, SITES};
use serde_json::json;
use spalla_tests::{Mesh, Node, until};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Of one input: the log is full soon, and a snapshot is due after some dozens.
pub const LARGE: usize = 250_000;
/// Far above what a fresh gateway writes, far below what the test writes.
const FILE_LEN_MAX: u64 = 6 * 1024 * 1024;
/// Writes until a snapshot must have been taken.
pub const WRITES_MAX: usize = 400;

#[tokio::test]
async fn a_gateway_with_a_bad_disk_stops_and_the_mesh_goes_on() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    let applied = mesh.nodes[0].api.apply(NOTE_FLOW).await;
    assert_eq!(applied.status, 200, "{}", applied.text);

    // The disk is full: here, no file may grow.
    assert!(mesh.nodes[2].stop().await.success());
    mesh.nodes[2].start_with_file_limit(FILE_LEN_MAX);
    mesh.nodes[2].ready().await;
    let mut writes = 0;
    while mesh.nodes[2].is_running() {
        assert!(writes < WRITES_MAX, "{writes} large writes did not fill the disk");
        write(&mesh.nodes[0], LARGE).await;
        writes += 1;
    }
    let status = mesh.nodes[2].ended().await;
    assert_eq!(status.code(), Some(1), "{status}");
    says(
        &mesh.nodes[2],
        &[
            "this gateway stops; the mesh goes on without it",
            // Told by the log or by the group that waited for it, whichever is heard first.
            "error: stopped: ",
            "raft log: it could not be written: file too large (disk full or broken?)",
        ],
    );
    write(&mesh.nodes[1], 1).await;
    mesh.nodes[2].start();
    mesh.nodes[2].ready().await;
    write(&mesh.nodes[2], 1).await;

    // Snapshots come by size. Then a bit of the newest one turns.
    while snapshots(&mesh.nodes[1]).is_empty() {
        assert!(writes < WRITES_MAX, "{writes} large writes made no snapshot");
        write(&mesh.nodes[0], LARGE).await;
        writes += 1;
    }
    mesh.agreed().await;
    mesh.nodes[1].kill();
    let newest = snapshots(&mesh.nodes[1]).pop().expect("a snapshot");
    let whole = flip_the_middle(&newest);
    refuses_to_start(&mut mesh.nodes[1], &["snapshot", "is corrupt", "rejoin under a new node id"]).await;
    write(&mesh.nodes[2], 1).await;
    std::fs::write(&newest, whole).expect("mended");
    mesh.nodes[1].start();
    mesh.nodes[1].ready().await;

    // Bits turn in the middle of the log.
    mesh.nodes[0].kill();
    let folder = mesh.nodes[0].data.join("raft");
    let backup = mesh.folder.path().join("raft");
    copy(&folder, &backup);
    let logs = files(&folder, "raftlog");
    logs.iter().for_each(|log| drop(flip_the_middle(log)));
    refuses_to_start(&mut mesh.nodes[0], &["raft", "damaged"]).await;
    write(&mesh.nodes[1], 1).await;
    std::fs::remove_dir_all(&folder).expect("removed");
    copy(&backup, &folder);
    mesh.nodes[0].start();
    mesh.nodes[0].ready().await;
    mesh.agreed().await;

    // A folder that was wiped is not taken for the gateway that it was.
    mesh.nodes[2].kill();
    std::fs::remove_dir_all(&mesh.nodes[2].data).expect("wiped");
    refuses_to_start(&mut mesh.nodes[2], &["has been in this mesh before", "never used"]).await;
    write(&mesh.nodes[0], 1).await;
}

/// Something confirmed, of about `len` bytes; over the time in which there may be no leader.
pub async fn write(node: &Node, len: usize) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let key = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    let body = json!({ "flow": "it/note", "input": { "about": "disk", "load": load(len) }, "key": key });
    until("a write is confirmed", async || {
        let answer = node.api.post("/instances", &body).await;
        assert!(matches!(answer.status, 200 | 503 | 504), "{}", answer.text);
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Text that the log cannot press together.
fn load(len: usize) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state >> 32) as u8 % 64)
    };
    (0..len).map(|_| next()).filter(|letter| *letter != '\\').collect()
}

async fn refuses_to_start(node: &mut Node, names: &[&str]) {
    let before = node.log().len();
    node.start();
    let status = node.ended().await;
    assert_eq!(status.code(), Some(1), "{status}");
    let log = node.log();
    let last = log.get(before..).unwrap_or_default().lines().last().unwrap_or_default();
    assert!(last.starts_with("error: ") && names.iter().all(|name| last.contains(name)), "{last}");
    assert!(!log.get(before..).unwrap_or_default().contains("panicked"), "{log}");
}

pub fn says(node: &Node, names: &[&str]) {
    let log = node.log();
    assert!(names.iter().all(|name| log.contains(name)), "{log}");
}

fn snapshots(node: &Node) -> Vec<PathBuf> {
    files(&node.data.join("snapshots/mesh"), "snapshot")
}

/// Of one folder, with this ending, by name.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

/// Turns bits in the middle of what was written (a file may be longer than that); gives back what was there.
fn flip_the_middle(path: &Path) -> Vec<u8> {
    let whole = std::fs::read(path).expect("readable");
    let written = whole.iter().rposition(|byte| *byte != 0).expect("not empty") + 1;
    let mut bytes = whole.clone();
    bytes[written / 2..].iter_mut().take(8).for_each(|byte| *byte ^= 0xff);
    std::fs::write(path, bytes).expect("written");
    whole
}
