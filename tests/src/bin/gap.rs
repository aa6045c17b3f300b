//! `cargo run --release -p spalla-tests --bin gap`: how long nothing gets done when the leader of three gateways is lost, and beside it,
//! where it is installed, with etcd. One JSON object per measure; progress goes to stderr.

use clap::Parser;
use spalla_tests::gap::{Cluster, Etcd, Fault, Measured, OwnMesh, measure};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "The longest time without an acknowledged write around the loss of a leader")]
struct Args {
    /// Losses per measure.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    times: u16,
    /// `peers.timing` of the gateways.
    #[arg(long, default_value = "lan", value_parser = ["lan", "metro", "wan"])]
    timing: String,
    /// Heartbeat and election timeout of etcd in milliseconds; may be given several times. By default its own, and ours for a LAN.
    #[arg(long, value_name = "HEARTBEAT,ELECTION", value_parser = pair, default_values = ["100,1000", "80,400"])]
    etcd: Vec<(u64, u64)>,
    /// Leave etcd out.
    #[arg(long)]
    alone: bool,
}

fn pair(text: &str) -> Result<(u64, u64), String> {
    let pair = text.split_once(',').and_then(|(heartbeat, election)| Some((heartbeat.parse().ok()?, election.parse().ok()?)));
    pair.ok_or_else(|| "two numbers with a comma between them, e.g. 100,1000".into())
}

fn main() -> ExitCode {
    if let Some(ended) = spalla_tests::node::as_gateway() {
        return ended;
    }
    let args = Args::parse();
    let program = std::env::current_exe().expect("this program has a path").display().to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let whole = runtime.block_on(async {
        let mut whole = true;
        for (fault, cuts) in [(Fault::Kill, false), (Fault::Cut, true)] {
            whole &= told(&mut OwnMesh::start(&program, &args.timing, cuts).await, fault, args.times).await;
        }
        if args.alone || !Etcd::is_installed() {
            eprintln!("etcd is left out{}", if args.alone { "" } else { ": no program `etcd` (apt install etcd-server)" });
            return whole;
        }
        for timing in args.etcd {
            whole &= told(&mut Etcd::start(timing).await, Fault::Kill, args.times).await;
        }
        whole
    });
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// False where an acknowledged write is not there.
async fn told(cluster: &mut impl Cluster, fault: Fault, times: u16) -> bool {
    let measured: Measured = measure(cluster, fault, usize::from(times), |line| eprintln!("{line}")).await;
    println!("{}", serde_json::json!(measured));
    measured.found == measured.acknowledged
}
