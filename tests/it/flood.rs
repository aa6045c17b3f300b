//! Devices as loud as they can be at one gateway, and what the mesh notices of it.

use crate::{NOTE_FLOW, PROGRAM, SITES};
use serde_json::json;
use spalla_shared::topic::DeviceTopic;
use spalla_tests::{Login, Mesh, Node, mesh::config_folder};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PUBLISHERS: usize = 50;
/// Commits of one measurement; their median counts.
const COMMITS: usize = 41;
/// A machine that is busy with something else spoils a round, not five.
const ROUNDS: usize = 5;
/// Between them the flood must not more than double what a commit takes.
const RATIO_MAX: f64 = 2.0;

/// The leader is flooded; commits are asked for at another gateway, so that what is measured is the mesh and not the API of a
/// gateway that is short of CPU.
///
/// It wants a machine with nothing else to do, and a release build:
/// `cargo test --release -p spalla-tests --test it flood -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; see its comment"]
async fn a_flood_of_devices_does_not_move_the_commits_of_the_mesh() {
    let mesh = Mesh::start(PROGRAM, &SITES).await;
    let leader = mesh.leader().await;
    let (flooded, asked) = (&mesh.nodes[leader], &mesh.nodes[(leader + 1) % 3]);
    let profile = std::fs::read_to_string(config_folder().join("profiles/temperature-sensor.yaml")).expect("a profile");
    for text in [&profile, NOTE_FLOW] {
        assert_eq!(asked.api.apply(text).await.status, 200);
    }
    let sensor = mesh.add_device(leader, "sensor", "temperature-sensor").await;
    mesh.agreed().await;
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let quiet = commits(asked, &format!("quiet-{round}")).await;
        let flood = Flood::start(&sensor).await;
        let before = (Instant::now(), flooded.api.metric("spalla_mqtt_received_total").await);
        let loud = commits(asked, &format!("loud-{round}")).await;
        let taken = flooded.api.metric("spalla_mqtt_received_total").await - before.1;
        let per_second = taken as f64 / before.0.elapsed().as_secs_f64();
        flood.stop().await;
        let ratio = loud.as_secs_f64() / quiet.as_secs_f64();
        println!("round {round}: a commit takes {quiet:?} in quiet, {loud:?} in a flood of {per_second:.0} messages/s: {ratio:.2}x");
        // No flood, no proof.
        assert!(taken > 1000, "{taken} messages were taken");
        seen.push(ratio);
        if ratio <= RATIO_MAX {
            return;
        }
    }
    panic!("a flood makes commits slower by {seen:?}");
}

/// The median time of a command from the request to its answer.
async fn commits(node: &Node, key: &str) -> Duration {
    let mut took = Vec::with_capacity(COMMITS);
    for number in 0..COMMITS {
        let body = json!({ "flow": "it/note", "input": { "about": "x" }, "key": format!("{key}-{number}") });
        let began = Instant::now();
        let answer = node.api.post("/instances", &body).await;
        took.push(began.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// Readings at QoS 0 as fast as the gateway reads them.
struct Flood {
    stop: Arc<AtomicBool>,
    publishers: JoinSet<()>,
}

impl Flood {
    async fn start(login: &Login) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let mut publishers = JoinSet::new();
        let topic = DeviceTopic::State(login.device(), "temperature".into()).to_string();
        let mut one = vec![0x30, u8::try_from(2 + topic.len() + 4).expect("short"), 0, topic.len() as u8];
        one.extend(topic.as_bytes());
        one.extend(b"21.5");
        let batch: Arc<[u8]> = one.repeat(100).into();
        for number in 0..PUBLISHERS {
            let (stop, written, batch, login) = (stop.clone(), written.clone(), batch.clone(), login.clone());
            publishers.spawn(async move {
                let mut socket = TcpStream::connect(("127.0.0.1", login.port)).await.expect("connects");
                socket.write_all(&connect(&login, number)).await.expect("sent");
                while !stop.load(Ordering::Relaxed) {
                    socket.write_all(&batch).await.expect("the flood is not cut off");
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while written.load(Ordering::Relaxed) < 4 * PUBLISHERS as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { stop, publishers }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.publishers.join_all().await;
    }
}

/// MQTT 3.1.1, clean, no keep-alive.
fn connect(login: &Login, number: usize) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04\xc2\x00\x00".to_vec();
    for part in [&format!("flood-{number}"), &login.id, &login.password] {
        body.extend([0, part.len() as u8]);
        body.extend(part.as_bytes());
    }
    [&[0x10, body.len() as u8], &body[..]].concat()
}
