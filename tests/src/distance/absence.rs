//! A gateway that was away until the others had purged what it lacks: it is sent a snapshot and what came since, beside writes.

use super::writes::{Both, Load, Running};
use super::{HURRY, LEVEL_TIME_MAX, World};
use crate::gap::applied;
use crate::numbers::{millis, rounded};
use crate::wait::until_within;
use futures::future::OptionFuture;
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// `peers.snapshot_keep` where snapshots are taken `every` so often: as many to one as without a setting, and no fewer than the settings allow.
pub fn keep(every: usize) -> usize {
    (every / 4).max(100)
}

#[derive(Debug, Serialize)]
pub struct Return {
    /// From the start of its process until it had all that was acknowledged before that, looked at every 40 ms.
    pub level_ms: u64,
    /// What it lacked by then of the entries that had come meanwhile. Many: under this load it would not be quite level for long, or ever.
    pub behind: u64,
    /// Snapshots that it was sent, by its own log; a second one where the others had purged what follows the first. With 0 the entries
    /// alone were enough, and this is no measure of a snapshot.
    pub snapshots: usize,
    /// The newest snapshot of a gateway that stayed.
    pub snapshot_mib: f64,
    /// Writes until it was level, in the leader's building and in that of the other gateway that stayed.
    pub both: Option<Both>,
    /// Writes that are spread over both instead.
    pub load: Option<Load>,
    /// The same gateway led before and after.
    pub leader_stayed: bool,
}

impl World {
    /// One writer at each of two places, or `at_once` of them spread over both.
    pub async fn absence(&mut self, say: &impl Fn(&str), at_once: usize) -> Return {
        let leader = self.mesh.leader().await;
        let (away, follower) = ((leader + 1) % 3, (leader + 2) % 3);
        self.mesh.nodes[away].kill();
        // Two snapshots later, wherever the last one was, the log no longer reaches back to where it left.
        let missed = 2 * self.options.snapshot_every + keep(self.options.snapshot_every) + 1;
        self.writes.all_of(&[leader, follower], HURRY, missed).await;
        say(&format!("{} missed {missed} writes and starts again", self.mesh.nodes[away].site));

        let (wanted, said) = (self.newest(away).await, self.mesh.nodes[away].log().len());
        let both = (at_once == 1).then(|| self.writes.begin_both(leader, follower));
        let load = both.is_none().then(|| self.writes.begin(&[leader, follower], at_once));
        let began = Instant::now();
        self.mesh.nodes[away].start();
        let has = until_within(LEVEL_TIME_MAX, "the gateway that returned is level", async || {
            applied(&self.mesh.nodes[away].api).await.filter(|has| *has >= wanted)
        })
        .await;
        let took = began.elapsed();
        let behind = self.newest(away).await.saturating_sub(has);
        let both = OptionFuture::from(both.map(Both::end)).await;
        let load = OptionFuture::from(load.map(Running::end)).await;
        let log = self.mesh.nodes[away].log();
        let returned = Return {
            level_ms: millis(took),
            behind,
            snapshots: log.get(said..).unwrap_or_default().matches("installing a snapshot").count(),
            snapshot_mib: newest_mib(&self.mesh.nodes[leader].data.join("snapshots/mesh")),
            both,
            load,
            leader_stayed: self.mesh.leader().await == leader,
        };
        say(&format!("{returned:?}"));
        self.level(away).await;
        returned
    }
}

/// Of the largest file: one that is being written is smaller.
fn newest_mib(folder: &Path) -> f64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let len = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).max().unwrap_or_default();
    rounded(len as f64 / 1024.0 / 1024.0)
}
