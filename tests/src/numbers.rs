//! What many measured times come to. Says nothing where nothing was measured.

use serde::Serialize;
use std::time::Duration;

/// How long each of many took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub count: usize,
    pub median_ms: Option<f64>,
    /// The longest of the shortest 99 %: with fewer than 100 it is the worst.
    pub p99_ms: Option<f64>,
    pub worst_ms: Option<f64>,
}

impl Spread {
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let ms = |time: Option<Duration>| time.map(|time| rounded(time.as_secs_f64() * 1_000.0));
        let p99 = (times.len() * 99).div_ceil(100).checked_sub(1).and_then(|at| times.get(at).copied());
        let median = times.get(times.len() / 2).copied();
        Self { count: times.len(), median_ms: ms(median), p99_ms: ms(p99), worst_ms: ms(times.last().copied()) }
    }
}

/// Of an even number, the upper one of the two in the middle.
pub fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// To a thousandth.
pub fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_one_of_a_hundred_is_the_worst_and_two_are_the_ninety_ninth() {
        let times = |slow: usize| (0..100).map(|n| Duration::from_micros(if n < slow { 90_000 } else { 1_500 })).collect();
        let one = Spread::of(times(1));
        assert_eq!(one, Spread { count: 100, median_ms: Some(1.5), p99_ms: Some(1.5), worst_ms: Some(90.0) });
        assert_eq!(Spread::of(times(2)).p99_ms, Some(90.0));
    }

    #[test]
    fn few_are_told_by_their_worst_and_none_by_nothing() {
        let few = Spread::of([30, 10, 20].map(Duration::from_millis).to_vec());
        assert_eq!(few, Spread { count: 3, median_ms: Some(20.0), p99_ms: Some(30.0), worst_ms: Some(30.0) });
        assert_eq!(Spread::of(Vec::new()), Spread { count: 0, median_ms: None, p99_ms: None, worst_ms: None });
    }
}
