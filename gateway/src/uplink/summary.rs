//! One site's summary, made at that site: from the applied state and what telemetry counts.
//! It is numbered when it says something new, not when it is looked at.

use super::{Now, Timings};
use crate::consensus::GroupRef;
use async_trait::async_trait;
use parking_lot::Mutex;
use spalla_shared::engine::State;
use spalla_shared::engine::record::InstanceStatus;
use spalla_shared::id::{NodeId, SiteId};
use spalla_shared::summary::{Aggregate, Doors, SiteSummary};
use spalla_shared::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Length of the sensors' windows. They are aligned to it, so that a summary changes once per window and not with each reading.
const WINDOW_MS: i64 = 60_000;
/// Sensors of one summary: at about 120 bytes each it stays within 128 KiB. The first by name are taken.
const SENSORS_MAX: usize = 1000;

/// What a gateway sees of its site besides the replicated state.
pub trait SummarySource: Send + Sync + 'static {
    /// `device/property` -> aggregate of the readings in `from..to`.
    fn sensors(&self, from: Timestamp, to: Timestamp) -> BTreeMap<String, Aggregate>;
    fn counts(&self, now: Timestamp) -> LocalCounts;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalCounts {
    /// People inside, as the site's counters say.
    pub occupancy: i64,
    pub doors: Doors,
    pub devices_live: u32,
    pub devices_stale: u32,
}

/// The summaries of the other sites, fetched from their gateways. Sites that do not answer are left out.
#[async_trait]
pub trait PeerSummaries: Send + Sync + 'static {
    async fn collect(&self) -> Vec<SiteSummary>;
}

/// Makes this gateway's summary. Cheap to share; peers' questions are answered from it too.
pub struct SummaryMaker {
    group: GroupRef,
    site: SiteId,
    source: Arc<dyn SummarySource>,
    now: Now,
    timings: Timings,
    newest: Mutex<Newest>,
}

#[derive(Default)]
struct Newest {
    summary: Option<SiteSummary>,
    made: Option<Instant>,
    /// Our clock minus the newest entry's stamp, measured as it was applied.
    skew_ms: i64,
}

impl SummaryMaker {
    pub fn new(group: GroupRef, site: SiteId, source: Arc<dyn SummarySource>, now: Now, timings: Timings) -> Self {
        Self { group, site, source, now, timings, newest: Mutex::new(Newest::default()) }
    }

    /// The summary as it stands: the last one, unless something changed (and it is old enough) or it is too old.
    pub fn current(&self) -> SiteSummary {
        let node = self.group.node();
        let now = (self.now)();
        let to = now.millis().div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS);
        let sensors = self.source.sensors(Timestamp(to.saturating_sub(WINDOW_MS)), Timestamp(to));
        let counts = self.source.counts(now);

        let mut newest = self.newest.lock();
        let skew_ms = newest.skew_ms;
        let mut summary = {
            let state = self.group.state().read();
            describe(&state, node, &self.site, counts)
        };
        summary.sensors = sensors.into_iter().take(SENSORS_MAX).collect();
        summary.at = now;
        summary.clock_skew_ms = skew_ms;

        let age = newest.made.map(|made| made.elapsed());
        if let (Some(last), Some(age)) = (&newest.summary, age)
            && last.boot == summary.boot
            && (age < self.timings.summary_min || (same(last, &summary) && age < self.timings.summary_max))
        {
            return last.clone();
        }
        summary.seq = newest.summary.as_ref().filter(|last| last.boot == summary.boot).map_or(1, |last| last.seq + 1);
        newest.summary = Some(summary.clone());
        newest.made = Some(Instant::now());
        summary
    }

    /// Call when an entry was just applied: the only instant at which its stamp tells the skew.
    pub fn measure_skew(&self) {
        let clock = self.group.state().read().clock;
        self.newest.lock().skew_ms = (self.now)().millis().saturating_sub(clock.millis());
    }
}

/// What the state says. Flows and work items belong to the mesh and stand in every site's summary alike.
fn describe(state: &State, node: NodeId, site: &SiteId, counts: LocalCounts) -> SiteSummary {
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let stuck = small(state.instances.values().filter(|instance| instance.incident.is_some()).count());
    let open = |status: InstanceStatus| matches!(status, InstanceStatus::Running | InstanceStatus::Suspended);
    SiteSummary {
        site: site.as_str().into(),
        node,
        boot: state.nodes.get(&node).map_or(0, |node| node.boot),
        occupancy: counts.occupancy,
        devices_live: counts.devices_live,
        devices_stale: counts.devices_stale,
        flows_running: small(state.instances.values().filter(|instance| open(instance.status)).count()),
        flows_stuck: stuck,
        work_items_open: small(state.work_items.len()),
        // What a person should look at: broken flows, and doors that are open against the rules.
        alarms_open: stuck.saturating_add(counts.doors.forced).saturating_add(counts.doors.held),
        doors: counts.doors,
        outbox_depth: state.outbox.items.len() as u64,
        ..SiteSummary::default()
    }
}

/// Equal but for what changes by itself. The outbox counts in thousands: it breathes with every batch.
fn same(one: &SiteSummary, other: &SiteSummary) -> bool {
    let calm = |summary: &SiteSummary| SiteSummary {
        at: Timestamp::default(),
        seq: 0,
        clock_skew_ms: summary.clock_skew_ms / 1000,
        outbox_depth: summary.outbox_depth / 1000,
        ..summary.clone()
    };
    calm(one) == calm(other)
}
