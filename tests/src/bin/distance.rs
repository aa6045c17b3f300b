//! `cargo run --release -p spalla-tests --bin distance`: what commits cost where buildings lie apart, and while a gateway that was away
//! is sent a snapshot. One JSON object at the end; progress goes to stderr. Exits with 1 where an acknowledged write is not there.

use clap::Parser;
use serde_json::json;
use spalla_tests::distance::{Options, measure};
use std::process::ExitCode;
use std::time::Duration;

/// The gateway's: this program is the gateways as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Latency and rate of commits over links with a delay, and the return of a gateway over them")]
struct Args {
    /// Round trips between any two buildings, in milliseconds; the gateways' `peers.timing` is what fits.
    #[arg(long, value_delimiter = ',', default_value = "0,20,100", value_parser = clap::value_parser!(u64).range(0..=150))]
    round_trips: Vec<u64>,
    /// Writes one after the other, at each of two buildings.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    writes: u32,
    /// Writers of the load.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=512))]
    at_once: u16,
    /// How long the load goes on.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// MiB of data in running instances before a gateway goes away; a snapshot is about four times as large.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    state_mib: u16,
    /// `peers.snapshot_every` of the gateways, with a quarter of it kept; the one that is away misses more than twice as many writes.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    snapshot_every: u32,
}

fn main() -> ExitCode {
    if let Some(ended) = spalla_tests::node::as_gateway() {
        return ended;
    }
    let args = Args::parse();
    let options = Options {
        writes: args.writes as usize,
        at_once: usize::from(args.at_once),
        time: Duration::from_secs(args.seconds),
        state_mib: usize::from(args.state_mib),
        snapshot_every: args.snapshot_every as usize,
    };
    let program = std::env::current_exe().expect("this program has a path").display().to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut distances = Vec::new();
    for ms in args.round_trips {
        let say = |line: &str| eprintln!("round trip {ms} ms: {line}");
        distances.push(runtime.block_on(measure(&program, Duration::from_millis(ms), options, say)));
    }
    println!("{}", json!({ "distances": distances }));
    if distances.iter().all(|distance| distance.found == distance.acknowledged) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
