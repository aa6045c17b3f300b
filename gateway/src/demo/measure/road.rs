//! The whole road: a device publishes an event, a flow starts, its first task sends the device a command. Measured at the
//! device, one after the other, for a device at the leader's site and one at a follower's.

use super::{Row, percentiles};
use crate::demo::world::{SITES, World};
use anyhow::{Context, Result};
use serde_json::json;
use spalla_shared::id::DeviceId;
use std::time::{Duration, Instant};

const EVENTS: u32 = 200;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) const FLOW: &str = "
document: { dsl: '1.0.3', namespace: measure, name: ping, version: '1.0.0' }
schedule:
  on:
    one: { with: { type: spalla.device.ping } }
do:
  - answer:
      call: device.command:1.0.0@default
      with: { target: '${ $workflow.input[0].data.target }', command: show, args: '${ { ping: $workflow.input[0].id } }' }
";

pub async fn measure(world: &World) -> Result<Vec<Row>> {
    world.gateways.apply(FLOW, tokio::time::Instant::now() + ANSWER_TIME_MAX).await?;
    let leader = world.leader().await.context("a leader")?;
    let mut rows = Vec::new();
    for (place, role) in [(leader, "the leader's"), ((leader + 1) % SITES.len(), "a follower's")] {
        let id = DeviceId::new(format!("{}/qr-turnstile-1", SITES[place]));
        let device = world.devices.get(&id).context("its reader")?;
        let mut arrivals = world.ledger.watch_arrivals();
        let mut times = Vec::new();
        for number in 0..EVENTS {
            let began = Instant::now();
            device.event("ping", json!({ "id": format!("ping-{place}-{number}"), "target": id })).await;
            let arrived = tokio::time::timeout(ANSWER_TIME_MAX, arrivals.recv()).await.context("the command did not come")??;
            times.push(arrived.duration_since(began));
        }
        rows.push(Row::new(format!("event to command, device at {role} site"), percentiles(times)));
    }
    Ok(rows)
}
