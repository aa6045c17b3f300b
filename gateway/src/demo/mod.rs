//! `spalla demo`: three buildings on this machine as three processes, simulated devices over real MQTT, a cloud stand-in,
//! and faults: by key press on a screen, or as a script with a report.

mod building;
pub mod cloud;
mod device;
mod gateways;
mod ledger;
mod measure;
pub mod ports;
pub mod proxy;
mod report;
mod screen;
mod script;
mod sensors;
mod staff;
mod visitors;
mod webhook;
mod world;

use crate::config::Timing;
use anyhow::{Context, Result, bail};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Visits that one run takes.
const VISITS_MAX: u64 = 1_000;

type Say = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// No screen: play the script of faults, check every promise, exit with 0 only if all held.
    #[arg(long)]
    headless: bool,
    /// Measure instead: latencies, rates, failover gaps, memory. Some minutes; prints a table.
    #[arg(long, conflicts_with = "headless")]
    measure: bool,
    /// How far the gateways think they are from each other: lan, metro or wan.
    #[arg(long, value_enum, default_value_t)]
    timing: Timing,
    /// Visits of the script.
    #[arg(long, default_value_t = 24)]
    visits: u64,
    /// Where the script's report goes, as JSON; `-` or nothing prints it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep the buildings' folders here, logs included (must not exist).
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<ExitCode> {
    if args.visits == 0 || args.visits > VISITS_MAX {
        bail!("--visits takes 1 to {VISITS_MAX}");
    }
    let has_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if !args.headless && !args.measure && !has_terminal {
        bail!("the demo draws a screen and needs a terminal; without one use: spalla demo --headless");
    }
    let temporary = match &args.keep {
        Some(folder) => {
            std::fs::create_dir(folder).with_context(|| format!("--keep {}", folder.display()))?;
            None
        }
        None => Some(tempfile::Builder::new().prefix("spalla-demo-").tempdir()?),
    };
    let folder = args.keep.clone().or_else(|| temporary.as_ref().map(|folder| folder.path().to_path_buf())).context("a folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = play(&args, &folder) => outcome,
            // Dropping the world kills the gateways; they also watch for our end themselves.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

async fn play(args: &Args, folder: &std::path::Path) -> Result<ExitCode> {
    let began = std::time::Instant::now();
    let say: Say = Arc::new(move |text: &str| eprintln!("{:7.1} s  {text}", began.elapsed().as_secs_f64()));
    let (world, streams) = world::World::start(folder, args.timing, &*say).await?;
    if args.measure {
        measure::play(world, streams, folder, say).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let visitors = visitors::Visitors::new(world.clone(), streams);
    if !args.headless {
        screen::show(world.clone(), visitors).await?;
        world.stop().await;
        return Ok(ExitCode::SUCCESS);
    }
    let report = script::play(world, visitors, args.visits, say).await?;
    let text = serde_json::to_string_pretty(&report)?;
    match args.report.as_deref().filter(|path| *path != std::path::Path::new("-")) {
        Some(path) => std::fs::write(path, format!("{text}\n")).with_context(|| path.display().to_string())?,
        None => println!("{text}"),
    }
    for broken in &report.broken {
        eprintln!("broken: {broken}");
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
