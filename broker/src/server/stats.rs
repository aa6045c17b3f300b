//! Counters. Nothing the broker drops or refuses goes uncounted.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a broker has done since it started, and holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Connected now.
    pub connections: u64,
    /// Sessions remembered now, connected or not.
    pub sessions: u64,
    pub subscriptions: u64,
    pub retained: u64,
    /// PUBLISH packets taken from clients.
    pub received: u64,
    /// PUBLISH packets written to clients.
    pub sent: u64,
    /// Times the message router died or stood still and was replaced; nothing is lost by it.
    pub router_restarts: u64,
    /// Messages that the router skipped and that were delivered from the copy.
    pub router_rescued: u64,
    /// Connections that did not get in, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Connections that ended, by reason.
    pub ended: BTreeMap<&'static str, u64>,
    /// Messages that did not go on, by reason (`denied`, `refused`, `expired`, `offline-full`, `slow`, …).
    pub dropped: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub received: AtomicU64,
    pub sent: AtomicU64,
    refused: Reasons,
    ended: Reasons,
    dropped: Reasons,
}

impl Counters {
    pub fn refused(&self, reason: &'static str) {
        self.refused.add(reason);
    }
    pub fn ended(&self, reason: &'static str) {
        self.ended.add(reason);
    }
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.add(reason);
    }
    pub fn snapshot(&self) -> BrokerStats {
        BrokerStats {
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            refused: self.refused.0.lock().clone(),
            ended: self.ended.0.lock().clone(),
            dropped: self.dropped.0.lock().clone(),
            ..BrokerStats::default()
        }
    }
}

/// Bounded by the number of reasons in the source, which are all literals.
#[derive(Default)]
struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    fn add(&self, reason: &'static str) {
        *self.0.lock().entry(reason).or_default() += 1;
    }
}
