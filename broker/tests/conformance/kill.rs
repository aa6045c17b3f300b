//! kill -9 in the middle of traffic: what was acknowledged is there after, in order, and QoS 2 comes exactly once.

use crate::wire::*;
use spalla_broker::hooks::AllowAll;
use spalla_broker::server::{Broker, BrokerConfig};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const STORE: &str = "SPALLA_TEST_BROKER_STORE";
const SAYS: &str = "listening on ";

/// Not a test: the broker that the other one kills runs in here, in a process of its own.
#[test]
#[ignore = "run by the test beside it, in a process of its own"]
fn the_broker_that_is_killed() {
    let Some(store) = std::env::var_os(STORE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = BrokerConfig { tcp: Some(([127, 0, 0, 1], 0).into()), store: Some(store.into()), ..BrokerConfig::default() };
        let broker = Broker::start(config, Arc::new(AllowAll)).await.expect("starts");
        println!("\n{SAYS}{}", broker.addresses().tcp.expect("listens"));
        std::future::pending::<()>().await;
    });
}

struct Process(Child);

impl Process {
    fn start(store: &Path) -> (Self, SocketAddr) {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "kill::the_broker_that_is_killed", "--ignored", "--nocapture"])
            .env(STORE, store)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix(SAYS)?.parse().ok());
        (Self(child), address.expect("says where it listens"))
    }

    /// SIGKILL: nothing of it runs after.
    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
    }
}

async fn join(address: SocketAddr, id: &str) -> (Wire, bool) {
    let mut wire = Wire::at(address).await;
    wire.version = 4;
    wire.send(&connect4(0, 60, &[id])).await;
    let connack = wire.next().await.expect("a CONNACK");
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    (wire, connack[2] == 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_and_comes_once() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let store = folder.path().join("broker.db");
    let (process, address) = Process::start(&store);
    let (mut taker, _) = join(address, "taker").await;
    taker.subscribe("work/#", 2).await;
    taker.end().await;
    let mut process = Some(process);
    let mut address = address;
    let mut acknowledged: Vec<u32> = Vec::new();
    let mut next = 0u32;
    for round in 0..4 {
        let (mut giver, present) = join(address, "giver").await;
        assert_eq!(present, round > 0, "the giver's session, round {round}");
        // Several at once, so that the kill meets some on every part of their way.
        for burst in 0..20 {
            let first = next;
            for _ in 0..8 {
                giver.give(2, "work/1", (next % 60_000 + 1) as u16, &next.to_be_bytes()).await;
                next += 1;
            }
            giver.give(1, &format!("kept/{round}"), 0, &burst.to_string().into_bytes()).await;
            if burst == 19 {
                break;
            }
            for number in first..next {
                let [high, low] = ((number % 60_000 + 1) as u16).to_be_bytes();
                giver.expect(&[0x40, 2, high, low], "PUBACK").await;
                acknowledged.push(number);
            }
        }
        process.take().expect("runs").kill();
        let (again, at) = Process::start(&store);
        (process, address) = (Some(again), at);
    }
    let (mut taker, present) = join(address, "taker").await;
    assert!(present, "the taker's session");
    let (mut last, _) = join(address, "last").await;
    last.give(2, "work/end", 1, b"end!").await;
    last.expect(&[0x40, 2, 0, 1], "PUBACK").await;
    let mut got = Vec::new();
    loop {
        let publish = taker.next().await.expect("a PUBLISH");
        let topic_len = usize::from(u16::from_be_bytes([publish[2], publish[3]]));
        let at = 4 + topic_len;
        taker.send(&[0x40, 2, publish[at], publish[at + 1]]).await;
        let payload: [u8; 4] = publish[at + 2..].try_into().expect("4 bytes");
        if &payload == b"end!" {
            break;
        }
        got.push(u32::from_be_bytes(payload));
    }
    let mut sorted = got.clone();
    sorted.dedup();
    assert_eq!(sorted.len(), got.len(), "nothing comes twice");
    assert!(got.is_sorted(), "in order");
    let lost: Vec<&u32> = acknowledged.iter().filter(|number| got.binary_search(number).is_err()).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    // A retained message that was followed by something acknowledged is the newest of its topic, or newer.
    taker.subscribe("kept/#", 0).await;
    for round in 0..4 {
        let publish = taker.next().await.expect("a retained message");
        assert_eq!(publish[0], 0x31);
        let payload = String::from_utf8_lossy(&publish[4 + 6..]).into_owned();
        assert!(payload.parse::<u32>().is_ok_and(|burst| burst >= 18), "round {round}: {payload}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_exchange_goes_on_after_kill_9_where_it_was() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let store = folder.path().join("broker.db");
    let (process, address) = Process::start(&store);
    let (mut taker, _) = join(address, "taker").await;
    taker.subscribe("t", 2).await;
    let (mut giver, _) = join(address, "giver").await;
    for (id, payload) in [(1, b"1"), (2, b"2")] {
        giver.give(4, "t", id, payload).await;
        giver.expect(&[0x50, 2, 0, id as u8], "PUBREC").await;
    }
    taker.get(4, "t", 1, b"1", "the first").await;
    taker.get(4, "t", 2, b"2", "the second").await;
    taker.send(&[0x50, 2, 0, 1]).await;
    // Written before the PUBREL leaves.
    taker.expect(&[0x62, 2, 0, 1], "PUBREL").await;
    process.kill();
    let (_process, address) = Process::start(&store);
    let (mut giver, _) = join(address, "giver").await;
    giver.give(12, "t", 1, b"1").await;
    giver.expect(&[0x50, 2, 0, 1], "PUBREC for a message that is known").await;
    giver.send(&[0x62, 2, 0, 1, 0x62, 2, 0, 2]).await;
    giver.expect(&[0x70, 2, 0, 1], "PUBCOMP").await;
    giver.expect(&[0x70, 2, 0, 2], "PUBCOMP").await;
    let (mut taker, present) = join(address, "taker").await;
    assert!(present);
    taker.expect(&[0x62, 2, 0, 1], "v5 [MQTT-4.3.3-6] not the message again").await;
    taker.get(12, "t", 2, b"2", "under its old id, though it may have been in flight only").await;
    taker.expect_nothing("nothing comes twice").await;
}
