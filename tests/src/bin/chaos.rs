//! `cargo run --release -p spalla-tests --bin chaos -- --minutes 60`: three real gateways under load, and faults drawn from a seed.
//!
//! Prints what it does, and at the end what it found as JSON; exits with 1 where a promise was broken, and says how to play it again.

use clap::Parser;
use spalla_tests::chaos::{self, Until};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Faults of all kinds at a real mesh under load, drawn from a seed")]
struct Args {
    /// What faults come, in which order; drawn from the clock where absent.
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults go on.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// That many faults instead, whatever time they take.
    #[arg(long)]
    steps: Option<usize>,
}

fn main() -> ExitCode {
    if let Some(ended) = spalla_tests::node::as_gateway() {
        return ended;
    }
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let program = std::env::current_exe().expect("this program has a path");
    let until = args.steps.map_or(Until::Instant(Instant::now() + Duration::from_secs(args.minutes * 60)), Until::Steps);
    let started = Instant::now();
    let say = |what: &str| eprintln!("{:>8.1} s  {what}", started.elapsed().as_secs_f32());
    eprintln!("seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let verdict = runtime.block_on(chaos::run(&program.display().to_string(), seed, until, say));
    println!("{}", serde_json::json!({ "seed": seed, "verdict": verdict }));
    if verdict.broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("again: cargo run --release -p spalla-tests --bin chaos -- --seed {seed} --steps {}", verdict.steps);
    ExitCode::FAILURE
}
