//! Numbers of one property in buckets of ten seconds: enough to answer for any recent window without keeping readings.

use spalla_shared::summary::Aggregate;
use spalla_shared::time::Timestamp;
use std::collections::VecDeque;

pub const BUCKET_MS: i64 = 10_000;
/// Six minutes of a property that speaks all the time: one summary interval and some.
pub const BUCKETS_MAX: usize = 36;

#[derive(Default)]
pub struct Windows {
    /// In order of `from`.
    buckets: VecDeque<Bucket>,
}

struct Bucket {
    from: i64,
    count: u64,
    min: f64,
    max: f64,
    sum: f64,
    last: f64,
}

impl Windows {
    pub fn add(&mut self, at: Timestamp, number: f64) {
        let from = at.millis().div_euclid(BUCKET_MS).saturating_mul(BUCKET_MS);
        match self.buckets.back_mut() {
            // Also where the clock went back: the newest bucket takes it, so that the order holds.
            Some(bucket) if bucket.from >= from => bucket.add(number),
            _ => {
                if self.buckets.len() >= BUCKETS_MAX {
                    self.buckets.pop_front();
                }
                self.buckets.push_back(Bucket { from, count: 1, min: number, max: number, sum: number, last: number });
            }
        }
    }

    pub fn aggregate(&self, from: Timestamp, to: Timestamp) -> Option<Aggregate> {
        let mut taken = self.buckets.iter().filter(|bucket| (from.millis()..to.millis()).contains(&bucket.from));
        let first = taken.next()?;
        let mut sum = first.sum;
        let mut out = Aggregate {
            from: Timestamp(first.from),
            to: Timestamp(first.from.saturating_add(BUCKET_MS)),
            count: first.count,
            min: first.min,
            max: first.max,
            mean: 0.0,
            last: first.last,
        };
        for bucket in taken {
            out.to = Timestamp(bucket.from.saturating_add(BUCKET_MS));
            out.count += bucket.count;
            out.min = out.min.min(bucket.min);
            out.max = out.max.max(bucket.max);
            out.last = bucket.last;
            sum += bucket.sum;
        }
        out.mean = sum / out.count as f64;
        Some(out)
    }
}

impl Bucket {
    fn add(&mut self, number: f64) {
        self.count += 1;
        self.min = self.min.min(number);
        self.max = self.max.max(number);
        self.sum += number;
        self.last = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_joins_its_buckets_and_no_others() {
        let mut windows = Windows::default();
        for (at, number) in [(0, 10.0), (9_999, 20.0), (10_000, 60.0), (20_000, -5.0)] {
            windows.add(Timestamp(at), number);
        }
        let all = windows.aggregate(Timestamp(0), Timestamp(20_000)).unwrap();
        assert_eq!(all, Aggregate { from: Timestamp(0), to: Timestamp(20_000), count: 3, min: 10.0, max: 60.0, mean: 30.0, last: 60.0 });
        assert_eq!(windows.aggregate(Timestamp(30_000), Timestamp(40_000)), None);
    }

    #[test]
    fn old_buckets_leave() {
        let mut windows = Windows::default();
        for n in 0..100 {
            windows.add(Timestamp(n * BUCKET_MS), 1.0);
        }
        assert_eq!(windows.aggregate(Timestamp(0), Timestamp::MAX).unwrap().count, BUCKETS_MAX as u64);
    }
}
