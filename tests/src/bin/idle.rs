//! `cargo run --release -p spalla-tests --bin idle`: CPU time and memory of gateways for the groups of buildings in which nothing
//! happens. One JSON object at the end; progress goes to stderr. What is measured, and what is not: `tests/src/idle/mod.rs`.

use clap::Parser;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// The gateway's: its memory is measured here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "What the groups of idle buildings cost the gateway that votes in them and the two that hold copies")]
struct Args {
    /// Buildings whose groups they have, measured one after the other; per group is the difference against the fewest.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50", value_parser = clap::value_parser!(u16).range(1..=500))]
    groups: Vec<u16>,
    /// How long each is watched.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

fn main() -> ExitCode {
    if let Some(ended) = spalla_tests::idle::as_part() {
        return ended;
    }
    let args = Args::parse();
    let program = std::env::current_exe().expect("this program has a path").display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let time = Duration::from_secs(args.seconds);
    let idle = runtime.block_on(spalla_tests::idle::measure(&program, &args.groups, time, |line| eprintln!("{line}")));
    println!("{}", json!({ "idle": idle }));
    ExitCode::SUCCESS
}
