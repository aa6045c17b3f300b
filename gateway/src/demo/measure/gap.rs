//! The longest stretch without a device command arriving anywhere when the leader is killed with kill -9 under load.

use super::flows::start;
use super::{Row, millis};
use crate::demo::world::{SITES, World};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const KILLS: usize = 5;
const LOOKED_AT: Duration = Duration::from_secs(6);
/// Flows that are begun per second: far below what the mesh takes, so that a gap is the failover's and not a queue's.
const LOAD_EVERY: Duration = Duration::from_millis(50);
const WHOLE_TIME_MAX: Duration = Duration::from_secs(60);

pub async fn measure(world: &Arc<World>) -> Result<Vec<Row>> {
    let number = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn({
        let (world, number) = (world.clone(), number.clone());
        async move {
            loop {
                let (world, number) = (world.clone(), number.fetch_add(1, Ordering::Relaxed));
                tokio::spawn(async move { start(&world, &format!("gap-{number}"), number).await });
                tokio::time::sleep(LOAD_EVERY).await;
            }
        }
    });
    let mut gaps = Vec::new();
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let leader = world.leader().await.context("a leader")?;
        let from = Instant::now();
        world.buildings.lock().await[leader].kill();
        tokio::time::sleep(LOOKED_AT).await;
        gaps.push(world.ledger.longest_gap(from, Instant::now()));
        world.restore().await?;
        whole(world).await?;
    }
    load.abort();
    gaps.sort();
    let all: Vec<String> = gaps.iter().map(|gap| format!("{:.0}", millis(*gap))).collect();
    let median = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
    Ok(vec![Row::new(
        "longest gap when the leader is killed",
        format!("median {:.0} ms of {KILLS} (all: {} ms)", millis(median), all.join(", ")),
    )])
}

async fn whole(world: &World) -> Result<()> {
    let until = Instant::now() + WHOLE_TIME_MAX;
    while Instant::now() < until {
        let mut good = 0;
        for place in 0..SITES.len() {
            if let Ok(body) = world.gateways.at(place, None, "/status").await {
                good += usize::from(body["freshness"]["stale"] == false && body["data"]["devices"]["online"] == world.devices.len());
            }
        }
        if good == SITES.len() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("the mesh was not whole again in time")
}
