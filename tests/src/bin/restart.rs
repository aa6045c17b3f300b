//! `cargo run --release -p spalla-tests --bin restart`: how long a gateway with many running instances takes to be back after kill -9,
//! and how much memory it has. One JSON object at the end; progress goes to stderr.

use clap::Parser;
use serde_json::json;
use spalla_tests::{Api, Mesh};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The gateway's: its memory is measured here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Starts that are under way at one time.
const AT_ONCE: usize = 64;
/// A start that found no room is tried again after this.
const PACE: Duration = Duration::from_millis(20);
const FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: restart, name: rest, version: '1.0.0' }
do:
  - rest: { listen: { to: { one: { with: { type: restart.leave }, correlate: { n: { from: .data.n, expect: '${ .n }' } } } } } }
"#;

#[derive(Parser)]
#[command(about = "The restart of a gateway with many running instances")]
struct Args {
    /// Instances that wait for an event each.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    instances: u64,
    /// Restarts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    times: u16,
}

fn main() -> ExitCode {
    if let Some(ended) = spalla_tests::node::as_gateway() {
        return ended;
    }
    let args = Args::parse();
    let program = std::env::current_exe().expect("this program has a path").display().to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(&program, &args));
    ExitCode::SUCCESS
}

async fn measure(program: &str, args: &Args) {
    let mut mesh = Mesh::start(program, &["hq"]).await;
    let applied = mesh.nodes[0].api.apply(FLOW).await;
    assert_eq!(applied.status, 200, "{}", applied.text);
    let began = Instant::now();
    fill(&mesh.nodes[0].api, args.instances).await;
    let filled_s = began.elapsed().as_secs_f64();
    eprintln!("{} instances wait after {filled_s:.1} s", args.instances);
    let full_kib = mesh.nodes[0].resident_kib();
    let mut restarts_ms = Vec::new();
    let mut resident_kib = 0;
    for _ in 0..args.times {
        mesh.nodes[0].kill();
        let began = Instant::now();
        mesh.nodes[0].start();
        mesh.nodes[0].ready().await;
        let status = mesh.nodes[0].api.get("/status").await;
        assert_eq!(status.data()["instances"]["running"], args.instances, "{}", status.text);
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        resident_kib = mesh.nodes[0].resident_kib();
        eprintln!("ready with all of them after {took} ms, {} MiB", resident_kib / 1024);
        restarts_ms.push(took);
    }
    restarts_ms.sort_unstable();
    println!(
        "{}",
        json!({ "instances": args.instances, "filled_s": filled_s, "full_kib": full_kib, "restarts_ms": restarts_ms,
            "restarted_kib": resident_kib })
    );
}

async fn fill(api: &Api, instances: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (api, next) = (api.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= instances {
                    return;
                }
                let body = json!({ "flow": "restart/rest", "input": { "n": n }, "key": format!("n{n}") });
                while api.try_post("/instances", &body).await.is_none_or(|answer| answer.status != 200) {
                    tokio::time::sleep(PACE).await;
                }
                if n % 10_000 == 0 {
                    eprintln!("{n} of {instances}");
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("starts go on to the end");
    }
}
