//! Flows per second, each of 10 device commands one after the other, every one acknowledged as done by its device.

use super::Row;
use crate::demo::world::{SITES, World};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const TIME_MAX: Duration = Duration::from_secs(180);
/// (in flight, flows in all)
const LOADS: [(usize, u64); 3] = [(1, 20), (64, 400), (512, 1_024)];

const FLOW: &str = "
document: { dsl: '1.0.3', namespace: measure, name: ten, version: '1.0.0' }
do:
  - tenTimes:
      for: { each: step, in: '[range(10)]' }
      do:
        - command:
            call: device.command:1.0.0@default
            with: { target: '${ $workflow.input.target }', command: resume, args: '${ { step: $step, run: $workflow.id } }', ack: { within: PT60S } }
";

pub async fn measure(world: &Arc<World>) -> Result<Vec<Row>> {
    world.gateways.apply(FLOW, tokio::time::Instant::now() + TIME_MAX).await?;
    let mut rows = Vec::new();
    for (in_flight, total) in LOADS {
        let done_before = completed(world).await?;
        let began = Instant::now();
        let places = Arc::new(Semaphore::new(in_flight));
        // A place is given back when a flow has ended, so that `in_flight` are always running.
        let mut seen = 0;
        let mut started = 0;
        while seen < total {
            while started < total
                && let Ok(place) = places.clone().try_acquire_owned()
            {
                place.forget();
                let (world, number) = (world.clone(), started);
                tokio::spawn(async move { start(&world, &format!("ten-{in_flight}-{number}"), number).await });
                started += 1;
            }
            let now = completed(world).await?.saturating_sub(done_before).min(total);
            places.add_permits(usize::try_from(now - seen).unwrap_or_default());
            seen = now;
            if began.elapsed() > TIME_MAX {
                bail!("{seen} of {total} flows ended within {} s", TIME_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(if in_flight == 1 { 2 } else { 20 })).await;
        }
        let rate = total as f64 / began.elapsed().as_secs_f64();
        rows.push(Row::new(
            format!("flows of 10 device commands, {in_flight} in flight"),
            format!("{rate:.1} flows/s, {:.0} commands/s ({total} flows)", rate * 10.0),
        ));
    }
    Ok(rows)
}

/// Starts one of these flows at a lock of one of the buildings.
pub(super) async fn start(world: &World, key: &str, number: u64) {
    let locks = ["hq/lock-orion", "plant/lock-office", "depot/lock-office", "hq/lock-vega", "hq/lock-lyra"];
    let target = locks[usize::try_from(number).unwrap_or_default() % locks.len()];
    let body = json!({ "flow": "measure/ten", "input": { "target": target }, "key": key });
    let until = tokio::time::Instant::now() + TIME_MAX;
    if let Err(error) = world.gateways.anywhere(Some(&body), "/instances", "user:demo", until).await {
        tracing::warn!(%error, "a flow was not started");
    }
}

async fn completed(world: &World) -> Result<u64> {
    for place in 0..SITES.len() {
        if let Ok(body) = world.gateways.at(place, None, "/status").await {
            return body["data"]["instances"]["completed"].as_u64().context("completed");
        }
    }
    bail!("no gateway answers")
}
