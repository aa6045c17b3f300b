//! What kind of place a run plays in: drawn from its seed, once.

use spalla::config::Timing;
use spalla::consensus::Tuning;
use std::ops::Range;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Climate {
    pub gateways: u64,
    pub clients: u64,
    pub tuning: Tuning,
    /// One way, in microseconds; tokio's timer rounds up to whole milliseconds.
    pub road_us: Range<u64>,
    /// Of one fsync, in microseconds. Drawn apart from the roads: a leader whose disk is slower than its roads replicates what it
    /// may still lose.
    pub flush_us: Range<u64>,
    /// Of 1,000 messages.
    pub lost: u64,
    /// How far apart the clocks of the gateways are, in milliseconds.
    pub skew_ms: i64,
    /// Virtual time in which faults come.
    pub faults_for: Duration,
}

impl Climate {
    pub fn of(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0xC11_3A7E);
        let mut tuning = Tuning::for_network(if dice.u8(..4) == 0 { Timing::Metro } else { Timing::Lan });
        // Small enough that snapshots, purges and followers behind both come often.
        tuning.snapshot_every = dice.u64(10..80);
        tuning.snapshot_keep = dice.u64(2..30);
        Self {
            gateways: if dice.u8(..4) == 0 { 5 } else { 3 },
            clients: dice.u64(1..5),
            tuning,
            road_us: range(&mut dice, 500..8_000),
            flush_us: range(&mut dice, 500..30_000),
            lost: *dice.choice(&[0, 0, 5, 30]).unwrap_or(&0),
            skew_ms: dice.i64(0..3_000),
            faults_for: Duration::from_millis(dice.u64(1_000..4_000)),
        }
    }
}

/// From some low to some high, both between the bounds, small ones as likely as large ones.
fn range(dice: &mut fastrand::Rng, bounds: Range<u64>) -> Range<u64> {
    let low = spread(dice, bounds.clone());
    let high = spread(dice, low..bounds.end * 2);
    low..high.max(low + 1)
}

/// One of `bounds`, each order of magnitude alike.
pub fn spread(dice: &mut fastrand::Rng, bounds: Range<u64>) -> u64 {
    let (low, high) = (bounds.start.max(1) as f64, bounds.end.max(2) as f64);
    let drawn = low * (high / low).powf(dice.f64());
    (drawn as u64).clamp(bounds.start, bounds.end.saturating_sub(1).max(bounds.start))
}
