//! Memory and CPU of gateways that have devices and flows, and nothing to do. Linux only: it reads /proc.

use super::Row;
use crate::demo::world::World;
use anyhow::{Context, Result};
use std::time::Duration;

const WATCHED: Duration = Duration::from_secs(20);

pub async fn measure(world: &World) -> Result<Vec<Row>> {
    let pids: Vec<(String, u32)> =
        world.buildings.lock().await.iter().filter_map(|building| Some((building.site.clone(), building.pid()?))).collect();
    let ticks = |pid: u32| -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name in brackets: fields 14 and 15 of proc(5) are user and system time in clock ticks.
        let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
        Ok(fields.get(11).context("utime")?.parse::<u64>()? + fields.get(12).context("stime")?.parse::<u64>()?)
    };
    let before: Vec<u64> = pids.iter().map(|(_, pid)| ticks(*pid)).collect::<Result<_>>()?;
    tokio::time::sleep(WATCHED).await;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
    let mut rows = Vec::new();
    for ((site, pid), before) in pids.iter().zip(before) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss_kib: u64 =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok()).unwrap_or_default();
        let cpu = (ticks(*pid)? - before) as f64 / per_second / WATCHED.as_secs_f64() * 100.0;
        rows.push(Row::new(
            format!("idle gateway of {site}"),
            format!("{:.1} MiB resident, {cpu:.1} % of one core", rss_kib as f64 / 1024.0),
        ));
    }
    Ok(rows)
}
