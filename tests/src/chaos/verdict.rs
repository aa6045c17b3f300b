//! What is held against what was promised, when all is quiet again.

use super::patiently;
use super::witness::Witness;
use crate::api::Api;
use crate::mesh::Mesh;
use serde_json::Value;
use spalla::demo::cloud::Cloud;
use std::collections::BTreeMap;

/// Pages of instances that are fetched: a run of hours.
const PAGES_MAX: usize = 10_000;

#[derive(Debug, serde::Serialize)]
pub struct Verdict {
    pub steps: usize,
    /// Events that a gateway acknowledged, turns that one took, commands that came to doors, numbered events at the cloud.
    pub events: usize,
    pub turns: usize,
    pub commands: usize,
    pub cloud: u64,
    /// Promises that did not hold.
    pub broken: Vec<String>,
}

impl Verdict {
    pub(super) async fn of(mesh: &Mesh, witness: &Witness, cloud: &Cloud, steps: usize) -> Self {
        let api = &mesh.nodes[0].api;
        let mut broken = Vec::new();
        patiently("every instance ends, or stands still with an incident", async || {
            let running = api.try_get("/instances?status=running&limit=1").await?;
            running.data().as_array()?.is_empty().then_some(())
        })
        .await;
        let stuck = api.get("/instances?status=incident&limit=5").await;
        for row in stuck.data().as_array().into_iter().flatten() {
            broken.push(format!("an incident that nobody can be blamed for: {row}"));
        }
        patiently("all gateways agree", async || tokio::time::timeout(crate::wait::LONG / 2, mesh.agreed()).await.ok()).await;

        let (events, turns) = (witness.events(), witness.turns());
        let heard = times(api, "chaos/heard", "output").await;
        let told = audited(api).await;
        broken.extend(events.iter().filter(|n| !told.contains_key(n)).map(|n| format!("event {n} was acknowledged and is lost")));
        for (n, links) in &told {
            let begun = heard.get(n).copied().unwrap_or_default();
            match links.as_slice() {
                [link] if link == "event.received" && begun == 1 => {}
                // A building took it in the mesh's place and told the mesh when it could: recorded, and too late to start anything.
                [link] if link == "event.late" && begun == 0 => {}
                _ => broken.push(format!("event {n} is in the audit chain as {links:?} and started {begun} instances")),
            }
        }
        let taken = times(api, "chaos/turn", "input").await;
        broken.extend(turns.iter().filter(|n| !taken.contains_key(n)).map(|n| format!("turn {n} was taken and is lost")));
        broken.extend(taken.iter().filter(|(_, times)| **times > 1).map(|(n, times)| format!("turn {n} was begun {times} times")));
        broken.extend(witness.broken());

        patiently("the cloud holds everything", async || {
            let status = api.try_get("/status").await?;
            let waiting = status.data()["outbox"]["backlog"].as_u64()?;
            (waiting == 0).then_some(())
        })
        .await;
        let counts = cloud.counts();
        if counts.missing + counts.taken_twice > 0 {
            broken.push(format!("the cloud's numbers have holes or doubles: {counts:?}"));
        }
        Self { steps, events: events.len(), turns: turns.len(), commands: witness.commands(), cloud: counts.received, broken }
    }
}

/// How each numbered event stands in the mesh's audit chain.
async fn audited(api: &Api) -> BTreeMap<u64, Vec<String>> {
    let mut links: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut after = 0;
    for _ in 0..PAGES_MAX {
        let page = api.get(&format!("/audit?action=event&limit=1000&after={after}")).await;
        let rows = page.data().as_array().expect("links");
        let Some(last) = rows.last() else { return links };
        after = last["seq"].as_u64().expect("a number");
        for row in rows {
            if let Some(n) = row["data"]["id"].as_str().and_then(|id| id.strip_prefix('n')?.parse().ok()) {
                links.entry(n).or_default().push(row["action"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    panic!("more than {PAGES_MAX} pages of links");
}

/// How many instances of a flow carry each number `n` in their input or output.
async fn times(api: &Api, flow: &str, place: &str) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    let mut next = String::new();
    for _ in 0..PAGES_MAX {
        let page = api.get(&format!("/instances?status=finished&limit=1000&flow={flow}{next}")).await;
        for row in page.data().as_array().expect("instances") {
            let n = row[place]["n"].as_u64().expect("a number");
            *times.entry(n).or_default() += 1;
        }
        match &page.body["next"] {
            Value::String(before) => next = format!("&before={}", before.replace('+', "%2B")),
            _ => return times,
        }
    }
    panic!("more than {PAGES_MAX} pages");
}
