//! How long nothing gets done when a leader is lost: writers at every place, the leader killed or cut off again and again, and the
//! longest time in which nobody's write was acknowledged. The same writers measure another system beside it.
//!
//! ```text
//! Cluster (ours, etcd) <- Fault (kill -9, cut off)
//! writers, some at each place -> Acks -> gap around each fault; in the end every acknowledged write is there
//! ```

mod etcd;
mod mesh;

pub use etcd::Etcd;
pub use mesh::OwnMesh;
pub(crate) use mesh::{ApiDoor, FLOW, applied};

use crate::numbers::{median, millis};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Writers at each place.
const WRITERS: usize = 3;
/// A write that was not answered by then is tried again, under its own key.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two writes of a writer, and two tries.
const PACE: Duration = Duration::from_millis(10);
/// Of quiet before a fault, and for as long acknowledgements are looked at after it.
const AROUND: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill,
    Cut,
}

/// Several servers that agree, with one that leads.
pub trait Cluster {
    fn name(&self) -> String;
    /// Place of the one that leads now.
    fn leader(&self) -> impl Future<Output = usize>;
    fn strike(&mut self, place: usize, fault: Fault);
    /// Undoes [`Self::strike`].
    fn mend(&mut self, place: usize);
    /// Resolves when the place has everything that was acknowledged before this was asked.
    fn level(&self, place: usize) -> impl Future<Output = ()>;
    /// A way to write number `n` at each place, until it is acknowledged.
    fn doors(&self) -> Vec<impl Door>;
    /// How many different numbers are there.
    fn count(&self) -> impl Future<Output = u64>;
}

/// Writes at one place.
pub trait Door: Clone + Send + Sync + 'static {
    /// True once it is acknowledged. Asked again with the same number it does no harm.
    fn write(&self, n: u64) -> impl Future<Output = bool> + Send;
}

#[derive(Debug, Serialize)]
pub struct Measured {
    pub what: String,
    pub fault: String,
    /// The longest time without an acknowledgement around each fault, in milliseconds, sorted.
    pub gaps_ms: Vec<u64>,
    pub median_gap_ms: u64,
    /// From the start of the one that returned until it had everything, in milliseconds, sorted.
    pub level_ms: Vec<u64>,
    pub median_level_ms: u64,
    pub acknowledged: u64,
    /// Different numbers that are there in the end: as many as were acknowledged.
    pub found: u64,
}

#[derive(Default)]
struct Acks {
    at: Mutex<Vec<Instant>>,
    numbers: AtomicU64,
    count: AtomicU64,
    stop: AtomicBool,
}

impl Acks {
    /// The longest time between two acknowledgements in the window.
    fn gap(&self, from: Instant, to: Instant) -> Duration {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.sort_unstable();
        let inside = at.iter().copied().filter(|at| (from..=to).contains(at));
        let ends: Vec<Instant> = std::iter::once(from).chain(inside).chain([to]).collect();
        let longest = ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        at.clear();
        longest
    }
}

/// Strikes `times` times, one after the other, each from quiet to quiet. `say` hears of each.
pub async fn measure(cluster: &mut impl Cluster, fault: Fault, times: usize, say: impl Fn(&str)) -> Measured {
    let acks = Arc::new(Acks::default());
    let mut writers = tokio::task::JoinSet::new();
    for door in cluster.doors() {
        for _ in 0..WRITERS {
            writers.spawn(write(door.clone(), acks.clone()));
        }
    }
    let (mut gaps, mut levels) = (Vec::new(), Vec::new());
    for round in 1..=times {
        tokio::time::sleep(AROUND).await;
        let leader = cluster.leader().await;
        let struck_at = Instant::now();
        acks.at.lock().unwrap_or_else(PoisonError::into_inner).clear();
        cluster.strike(leader, fault);
        tokio::time::sleep(AROUND).await;
        let gap = acks.gap(struck_at, Instant::now());
        let mended_at = Instant::now();
        cluster.mend(leader);
        cluster.level(leader).await;
        let level = mended_at.elapsed();
        say(&format!("{}: {fault:?} {round} of {times}: gap {} ms, level after {} ms", cluster.name(), gap.as_millis(), level.as_millis()));
        gaps.push(millis(gap));
        levels.push(millis(level));
    }
    acks.stop.store(true, Ordering::Relaxed);
    while writers.join_next().await.is_some() {}
    gaps.sort_unstable();
    levels.sort_unstable();
    Measured {
        what: cluster.name(),
        fault: format!("{fault:?}").to_lowercase(),
        median_gap_ms: median(&gaps),
        gaps_ms: gaps,
        median_level_ms: median(&levels),
        level_ms: levels,
        acknowledged: acks.count.load(Ordering::Relaxed),
        found: cluster.count().await,
    }
}

/// One number after the other, each until it is acknowledged.
async fn write(door: impl Door, acks: Arc<Acks>) {
    while !acks.stop.load(Ordering::Relaxed) {
        let n = acks.numbers.fetch_add(1, Ordering::Relaxed);
        while !matches!(tokio::time::timeout(PATIENCE, door.write(n)).await, Ok(true)) {
            tokio::time::sleep(PACE).await;
        }
        acks.at.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        acks.count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reaches_to_the_ends_of_the_window() {
        let (acks, start) = (Acks::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let fill = |all: &[u64]| acks.at.lock().unwrap().extend(all.iter().map(|ms| at(*ms)));
        fill(&[30, 10, 950, 2_000]);
        assert_eq!(acks.gap(at(0), at(1_000)), Duration::from_millis(920));
        fill(&[10, 400]);
        assert_eq!(acks.gap(at(0), at(1_000)), Duration::from_millis(600), "nothing came any more");
        assert_eq!(acks.gap(at(0), at(1_000)), Duration::from_millis(1_000), "nothing at all");
    }
}
