//! A token bucket per device: one noisy device cannot fill the log.

use parking_lot::Mutex;
use spalla_shared::id::DeviceId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Commands per second that one device may cause for long.
pub const RATE_PER_S: f64 = 200.0;
/// And in one burst: a gate at the end of a shift, or a spool that empties.
pub const BURST: f64 = 1_000.0;
/// Buckets kept. A full bucket carries nothing and may be forgotten.
const BUCKETS_MAX: usize = 20_000;

#[derive(Default)]
pub struct RateLimit {
    buckets: Mutex<BTreeMap<DeviceId, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    /// Takes one token and says how long the caller must wait for it; `None` where that would be longer than `patience`
    /// (no token is taken then).
    pub fn take(&self, device: &DeviceId, now: Instant, patience: Duration) -> Option<Duration> {
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(device) && buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| bucket.level(now) < BURST);
            if buckets.len() >= BUCKETS_MAX {
                return None;
            }
        }
        let bucket = buckets.entry(device.clone()).or_insert(Bucket { tokens: BURST, at: now });
        let level = bucket.level(now) - 1.0;
        let wait = Duration::from_secs_f64((-level / RATE_PER_S).max(0.0));
        if wait > patience {
            return None;
        }
        *bucket = Bucket { tokens: level, at: now };
        Some(wait)
    }
}

impl Bucket {
    fn level(&self, now: Instant) -> f64 {
        (self.tokens + now.saturating_duration_since(self.at).as_secs_f64() * RATE_PER_S).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let limit = RateLimit::default();
        let (device, other, now) = (DeviceId::new("hq/a"), DeviceId::new("hq/b"), Instant::now());
        for _ in 0..BURST as usize {
            assert_eq!(limit.take(&device, now, Duration::ZERO), Some(Duration::ZERO));
        }
        assert_eq!(limit.take(&device, now, Duration::ZERO), None);
        assert_eq!(limit.take(&other, now, Duration::ZERO), Some(Duration::ZERO), "one device does not spend another's");
        assert_eq!(limit.take(&device, now, Duration::from_secs(1)), Some(Duration::from_millis(5)));
        assert_eq!(limit.take(&device, now + Duration::from_secs(1), Duration::ZERO), Some(Duration::ZERO));
    }
}
