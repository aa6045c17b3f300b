//! What is held against what was promised, when all is quiet again.

use super::patiently;
use super::register::Found;
use super::witness::Witness;
use crate::api::Api;
use crate::mesh::{Mesh, lacks_history};
use serde_json::Value;
use spalla::demo::cloud::Cloud;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pages of instances that are fetched: a run of hours.
const PAGES_MAX: usize = 10_000;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// For the trail of a long run to be computed again at all gateways, a few times.
const AGREED_TIME_MAX: Duration = Duration::from_secs(400);

#[derive(Debug, serde::Serialize)]
pub struct Verdict {
    pub steps: usize,
    /// Events that a gateway acknowledged, those of them that the mesh heard of late, turns that one took, commands that came to doors, numbered events at the cloud.
    pub events: usize,
    pub late: usize,
    pub turns: usize,
    pub commands: usize,
    pub cloud: u64,
    /// Gateways that were taken out for good, each for another one.
    pub replaced: usize,
    /// Of logs, that were written and not durable when the power went.
    pub lost_bytes: u64,
    /// Writes and reads that were held against one order.
    pub registers: Found,
    /// Promises that did not hold.
    pub broken: Vec<String>,
}

impl Verdict {
    pub(super) async fn of(mesh: &Mesh, witness: &Witness, mut registers: Found, cloud: &Cloud, steps: usize) -> Self {
        let api = &mesh.nodes[0].api;
        let mut broken = std::mem::take(&mut registers.broken);
        patiently("every instance ends, or stands still with an incident", async || {
            let running = api.try_get("/instances?status=running&limit=1").await?;
            running.data().as_array()?.is_empty().then_some(())
        })
        .await;
        let stuck = api.get("/instances?status=incident&limit=5").await;
        for row in stuck.data().as_array().into_iter().flatten() {
            broken.push(format!("an incident that nobody can be blamed for: {row}"));
        }
        mesh.agreed_within("mesh", AGREED_TIME_MAX).await;
        for node in &mesh.nodes {
            mesh.agreed_within(&format!("site:{}", node.site), AGREED_TIME_MAX).await;
        }

        // The gateway that is asked may have come a moment ago.
        patiently("every gateway has the whole history", async || {
            let status = api.try_get("/mesh/status").await?;
            (!lacks_history(status.data())).then_some(())
        })
        .await;

        let (events, turns) = (witness.events(), witness.turns());
        let heard = times(api, "chaos/heard", "output", &mut broken).await;
        // Where the mesh was out of reach, a building took an event in its place: it is in the trail as late, and starts nothing.
        let (mut on_time, mut late) = Default::default();
        // What a building owes to the mesh may still be on its way.
        let _ = tokio::time::timeout(crate::wait::LONG, async {
            loop {
                (on_time, late) = (audited(api, "event.received").await, audited(api, "event.late").await);
                if events.iter().all(|n| on_time.contains_key(n) || late.contains_key(n)) {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await;
        for n in on_time.keys().chain(late.keys()).chain(heard.keys()).chain(&events).collect::<BTreeSet<_>>() {
            let times = |of: &BTreeMap<u64, usize>| of.get(n).copied().unwrap_or_default();
            match (times(&on_time), times(&late), times(&heard)) {
                (1, 0, 1) | (0, 1, 0) => {}
                (0, 0, 0) => broken.push(format!("event {n} was acknowledged and is lost")),
                (on_time, late, heard) => {
                    broken.push(format!("event {n} came {on_time} times, late {late} times, and was taken {heard} times"))
                }
            }
        }
        let taken = times(api, "chaos/turn", "input", &mut broken).await;
        broken.extend(turns.iter().filter(|n| !taken.contains_key(n)).map(|n| format!("turn {n} was taken and is lost")));
        broken.extend(taken.iter().filter(|(_, times)| **times > 1).map(|(n, times)| format!("turn {n} was begun {times} times")));
        broken.extend(witness.broken());
        let held = api.get("/resources").await;
        for pool in held.data()["pools"].as_array().into_iter().flatten().filter(|pool| pool["leased"] != serde_json::json!([])) {
            broken.push(format!("units are held though every instance has ended: {pool}"));
        }
        for node in &mesh.nodes {
            broken.extend(node.panics());
        }

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
        Self {
            steps,
            events: events.len(),
            late: late.len(),
            turns: turns.len(),
            commands: witness.commands(),
            cloud: counts.received,
            replaced: 0,
            lost_bytes: 0,
            registers,
            broken,
        }
    }
}

/// How often the audit trail of the mesh says `action` of each of the load's events.
async fn audited(api: &Api, action: &str) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    let mut after = 0;
    for _ in 0..PAGES_MAX {
        let page = api.get(&format!("/audit?action={action}&limit=1000&after={after}")).await;
        let links = page.data().as_array().expect("links of the trail");
        for link in links {
            if let Some(n) = link["data"]["id"].as_str().and_then(|id| id.strip_prefix('n')?.parse().ok()) {
                *times.entry(n).or_default() += 1;
            }
        }
        match links.last() {
            Some(last) => after = last["seq"].as_u64().expect("a number"),
            None => return times,
        }
    }
    panic!("more than {PAGES_MAX} pages");
}

/// How many instances of a flow carry each number `n` in their input or output.
async fn times(api: &Api, flow: &str, place: &str, broken: &mut Vec<String>) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    let mut next = String::new();
    for _ in 0..PAGES_MAX {
        let page = api.get(&format!("/instances?status=finished&limit=1000&flow={flow}{next}")).await;
        for row in page.data().as_array().expect("instances") {
            match row[place]["n"].as_u64() {
                Some(n) if row["status"] == "completed" => *times.entry(n).or_default() += 1,
                _ => broken.push(format!("an instance that could have completed: {row}")),
            }
        }
        match &page.body["next"] {
            Value::String(before) => next = format!("&before={}", before.replace('+', "%2B")),
            _ => return times,
        }
    }
    panic!("more than {PAGES_MAX} pages");
}
