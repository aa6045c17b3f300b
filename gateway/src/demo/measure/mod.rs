//! `spalla demo --measure`: what the road costs, measured from outside on three real processes with fsync on.
//! It prints numbers and asserts none: they belong to the machine.

mod flows;
mod gap;
mod idle;
mod road;
mod transport;

use super::Say;
use super::world::{Streams, World};
use anyhow::Result;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One line of the table.
pub struct Row {
    pub what: String,
    pub value: String,
}

impl Row {
    fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into() }
    }
}

pub async fn play(world: Arc<World>, streams: Streams, folder: &Path, say: Say) -> Result<()> {
    // Nobody follows the moves here, and the devices must not wait for that.
    tokio::spawn(async move {
        let Streams { mut notifications, mut moves } = streams;
        loop {
            tokio::select! {
                Some(_) = moves.recv() => {}
                Some(_) = notifications.recv() => {}
                else => return,
            }
        }
    });
    let mut rows = Vec::new();
    say("memory and CPU of idle gateways (20 s)");
    rows.extend(idle::measure(&world).await?);
    say("mesh transport beside framed TCP");
    rows.extend(transport::measure(folder).await?);
    say("event to device command");
    rows.extend(road::measure(&world).await?);
    say("flows with 10 sequential device commands each");
    rows.extend(flows::measure(&world).await?);
    say("kill -9 of the leader under load, five times");
    rows.extend(gap::measure(&world).await?);
    world.stop().await;
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    for row in &rows {
        println!("{:width$}  {}", row.what, row.value);
    }
    println!("repeat with: cargo run --release -- demo --measure");
    Ok(())
}

/// p50 and p99 of `times`, in milliseconds.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times.get(((times.len().saturating_sub(1)) as f64 * share).round() as usize).copied().unwrap_or_default();
    format!("p50 {:.2} ms, p99 {:.2} ms ({} samples)", millis(at(0.5)), millis(at(0.99)), times.len())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
