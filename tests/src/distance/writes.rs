//! Starts of flows by their keys, one after the other or many at once: each is repeated until it is acknowledged, and counted once.

use crate::gap::{ApiDoor, Door};
use crate::numbers::{Spread, rounded};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// For one write, whatever elections go on.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(120);

/// Between two tries.
pub const PACE: Duration = Duration::from_millis(10);

pub struct Writes {
    /// One at each place.
    doors: Vec<ApiDoor>,
    next: AtomicU64,
    acknowledged: AtomicU64,
    tried_again: AtomicU64,
}

/// What came of several writers for a while.
#[derive(Debug, Serialize)]
pub struct Load {
    pub at_once: usize,
    pub seconds: f64,
    /// Acknowledged within these seconds.
    pub writes_per_s: f64,
    /// Of all that were begun within them.
    pub latency: Spread,
}

/// One writer at each of two places, at the same time: the entry of one may wait for that of the other to arrive.
#[derive(Debug, Serialize)]
pub struct Both {
    pub at_leader: Load,
    pub at_follower: Load,
}

impl Both {
    pub async fn end((at_leader, at_follower): (Running, Running)) -> Self {
        let (at_leader, at_follower) = futures::join!(at_leader.end(), at_follower.end());
        Self { at_leader, at_follower }
    }
}

impl Writes {
    pub fn new(doors: Vec<ApiDoor>) -> Arc<Self> {
        Arc::new(Self { doors, next: AtomicU64::new(0), acknowledged: AtomicU64::new(0), tried_again: AtomicU64::new(0) })
    }

    /// Different ones that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Tries that were not answered with yes.
    pub fn tried_again(&self) -> u64 {
        self.tried_again.load(Ordering::Relaxed)
    }

    /// How long a write took from its first try until it was acknowledged.
    async fn one(&self, place: usize) -> Duration {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        while !self.doors[place].write(n).await {
            assert!(began.elapsed() < ACKNOWLEDGED_WITHIN, "write {n} is not acknowledged within {ACKNOWLEDGED_WITHIN:?}");
            self.tried_again.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PACE).await;
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        began.elapsed()
    }

    pub async fn one_after_the_other(&self, place: usize, count: usize) -> Spread {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(self.one(place).await);
        }
        Spread::of(times)
    }

    /// As many as are given, by writers who share the work evenly over these places.
    pub async fn all_of(self: &Arc<Self>, places: &[usize], at_once: usize, count: usize) {
        let left = Arc::new(AtomicU64::new(count as u64));
        let mut writers = JoinSet::new();
        for place in places.iter().copied().cycle().take(at_once) {
            let (writes, left) = (self.clone(), left.clone());
            writers.spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    writes.one(place).await;
                }
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.expect("writers go on to the end");
        }
    }

    pub fn begin_both(self: &Arc<Self>, leader: usize, follower: usize) -> (Running, Running) {
        (self.begin(&[leader], 1), self.begin(&[follower], 1))
    }

    /// Writers, shared evenly over these places, that go on until the load is ended.
    pub fn begin(self: &Arc<Self>, places: &[usize], at_once: usize) -> Running {
        let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let mut writers = JoinSet::new();
        for place in places.iter().copied().cycle().take(at_once) {
            let (writes, stop) = (self.clone(), stop.clone());
            writers.spawn(async move {
                let mut done = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let took = writes.one(place).await;
                    done.push((Instant::now(), took));
                }
                done
            });
        }
        Running { began, stop, writers, at_once }
    }
}

/// A load that goes on.
pub struct Running {
    began: Instant,
    stop: Arc<AtomicBool>,
    writers: JoinSet<Vec<(Instant, Duration)>>,
    at_once: usize,
}

impl Running {
    /// What was begun is seen through.
    pub async fn end(mut self) -> Load {
        let ended = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        let mut done = Vec::new();
        while let Some(of_one) = self.writers.join_next().await {
            done.extend(of_one.expect("writers go on to the end"));
        }
        let seconds = ended.duration_since(self.began).as_secs_f64();
        let within = done.iter().filter(|(at, _)| *at <= ended).count();
        Load {
            at_once: self.at_once,
            seconds: rounded(seconds),
            writes_per_s: rounded(within as f64 / seconds.max(f64::EPSILON)),
            latency: Spread::of(done.into_iter().map(|(_, took)| took).collect()),
        }
    }
}
