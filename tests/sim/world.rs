//! Roads and disks between and under the gateways, and the history of what they do.

use crate::climate::Climate;
use crate::history::History;
use spalla::consensus::simulation::{AppliedEntry, World};
use spalla_shared::id::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// One message or flush of so many takes far longer than the others.
const SLOW_ONE_IN: u64 = 40;
const SLOWER: u64 = 15;

pub struct SimWorld {
    began: Instant,
    inner: Mutex<Inner>,
}

pub struct Inner {
    roads: fastrand::Rng,
    disks: fastrand::Rng,
    chances: fastrand::Rng,
    climate: Climate,
    /// From, to.
    pub cuts: BTreeSet<(NodeId, NodeId)>,
    /// Disks that are slower than others now, by this factor.
    pub slow_disks: BTreeMap<NodeId, u64>,
    /// Of 1,000 messages.
    pub lost: u64,
    pub history: History,
}

impl SimWorld {
    pub fn new(seed: u64, climate: Climate, show: bool) -> Self {
        let dice = |what: u64| fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ what);
        let lost = climate.lost;
        let history = History { show, ..History::default() };
        let inner = Inner {
            roads: dice(1),
            disks: dice(2),
            chances: dice(3),
            climate,
            cuts: BTreeSet::new(),
            slow_disks: BTreeMap::new(),
            lost,
            history,
        };
        Self { began: Instant::now(), inner: Mutex::new(inner) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn now_us(&self) -> u128 {
        self.began.elapsed().as_micros()
    }

    pub fn note(&self, text: String) {
        let at = self.now_us();
        self.lock().history.note(at, text);
    }

    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.cuts.clear();
        inner.slow_disks.clear();
        inner.lost = 0;
    }

    pub fn take_history(&self) -> History {
        std::mem::take(&mut self.lock().history)
    }
}

fn time(dice: &mut fastrand::Rng, range: std::ops::Range<u64>, factor: u64) -> Duration {
    let drawn = dice.u64(range) * factor;
    let slow = dice.u64(..SLOW_ONE_IN) == 0;
    Duration::from_micros(if slow { drawn * SLOWER } else { drawn })
}

impl World for SimWorld {
    fn carry(&self, from: NodeId, to: NodeId) -> Option<Duration> {
        let at = self.now_us();
        let mut inner = self.lock();
        let range = inner.climate.road_us.clone();
        let lost = inner.lost;
        // Drawn in any case, so that a cut changes nothing but what it cuts.
        let (time, gone) = (time(&mut inner.roads, range, 1), inner.roads.u64(..1000) < lost);
        let carried = (!gone && !inner.cuts.contains(&(from, to))).then_some(time);
        let what = [at as u64, from.0, to.0, carried.map_or(u64::MAX, |time| time.as_micros() as u64)];
        inner.history.mix(&what.map(u64::to_be_bytes).concat());
        carried
    }

    fn flush_time(&self, node: NodeId) -> Duration {
        let at = self.now_us();
        let mut inner = self.lock();
        let (range, factor) = (inner.climate.flush_us.clone(), inner.slow_disks.get(&node).copied().unwrap_or(1));
        let time = time(&mut inner.disks, range, factor);
        inner.history.mix(&[at as u64, node.0, time.as_micros() as u64].map(u64::to_be_bytes).concat());
        time
    }

    fn survive(&self, _node: NodeId, waiting: usize) -> usize {
        let mut inner = self.lock();
        match inner.chances.u8(..3) {
            0 => 0,
            1 => waiting,
            _ => inner.chances.usize(..=waiting),
        }
    }

    fn leads(&self, node: NodeId, term: u64) {
        let at = self.now_us();
        let mut inner = self.lock();
        if inner.history.leaders.entry(term).or_default().insert(node) {
            inner.history.note(at, format!("{node} leads term {term}"));
        }
    }

    fn applied(&self, node: NodeId, applied: AppliedEntry) {
        let at = self.now_us();
        let mut inner = self.lock();
        let (index, term, command) = (applied.index, applied.term, applied.command);
        inner.history.note(at, format!("{node} applied {index} of term {term}: {command:016x} -> {:016x}", applied.reply));
        inner.history.applied(node, applied);
    }

    fn installed(&self, node: NodeId, index: u64) {
        let at = self.now_us();
        let mut inner = self.lock();
        inner.history.note(at, format!("{node} took the snapshot at {index}"));
        inner.history.installed(node, index);
    }

    fn broke(&self, node: NodeId, reason: String) {
        let at = self.now_us();
        let mut inner = self.lock();
        inner.history.note(at, format!("{node} broke: {reason}"));
        inner.history.broke.push((node, reason));
    }
}
