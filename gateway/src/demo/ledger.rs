//! What the simulated devices saw, kept outside the gateways: the demo's checks are made from it.

use spalla_shared::device::CommandClass;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

pub struct Ledger {
    inner: Mutex<Inner>,
    /// The instant of each command's arrival, for those who measure.
    arrivals: broadcast::Sender<Instant>,
}

/// Arrivals that a measurement may be behind.
const ARRIVALS_LEN_MAX: usize = 4_096;

impl Default for Ledger {
    fn default() -> Self {
        Self { inner: Mutex::default(), arrivals: broadcast::Sender::new(ARRIVALS_LEN_MAX) }
    }
}

#[derive(Default)]
struct Inner {
    /// Command id -> times it arrived.
    received: BTreeMap<String, u32>,
    /// Opening commands that arrived more than once, or more than one for the same cause.
    duplicate_openings: u64,
    /// Opening commands that arrived at or past their deadline.
    stale_openings: u64,
    openings: u64,
    commands: u64,
    /// (door, credential) -> times shown there, times the door opened for it.
    shown: BTreeMap<(String, String), (u64, u64)>,
    /// Ids of events that a gateway acknowledged.
    acknowledged_events: BTreeSet<(String, String)>,
    /// When something moved: a command, a notification, a finished visit.
    progress: Vec<Instant>,
}

/// Numbers for the screen and the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub commands: u64,
    pub openings: u64,
    pub duplicate_openings: u64,
    pub stale_openings: u64,
    pub acknowledged_events: u64,
    /// Doors that opened for a credential more often than it was shown there.
    pub openings_without_showing: u64,
}

impl Ledger {
    /// A command arrived at a device. True when it is new and in time, so that the device carries it out.
    pub fn command(&self, id: &str, class: CommandClass, late: bool) -> bool {
        let arrived = Instant::now();
        // Nobody measures: that is the usual case.
        let _ = self.arrivals.send(arrived);
        let Ok(mut inner) = self.inner.lock() else { return false };
        inner.progress.push(arrived);
        inner.commands += 1;
        let times = inner.received.entry(id.to_owned()).or_default();
        *times += 1;
        let first = *times == 1;
        if class == CommandClass::Opening {
            inner.openings += 1;
            inner.duplicate_openings += u64::from(!first);
            inner.stale_openings += u64::from(late);
        }
        first && !late
    }

    pub fn watch_arrivals(&self) -> broadcast::Receiver<Instant> {
        self.arrivals.subscribe()
    }

    /// A visitor shows a credential at the reader of `door`.
    pub fn shown(&self, door: &str, credential: &str) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.shown.entry((door.to_owned(), credential.to_owned())).or_default().0 += 1;
        }
    }

    /// `door` moved for a credential.
    pub fn opened(&self, door: &str, credential: &str) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.shown.entry((door.to_owned(), credential.to_owned())).or_default().1 += 1;
        }
    }

    pub fn acknowledged(&self, source: &str, id: &str) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.acknowledged_events.insert((source.to_owned(), id.to_owned()));
        }
    }

    pub fn progress(&self) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.progress.push(Instant::now());
        }
    }

    pub fn totals(&self) -> Totals {
        self.inner.lock().map_or_else(
            |_| Totals::default(),
            |inner| Totals {
                commands: inner.commands,
                openings: inner.openings,
                duplicate_openings: inner.duplicate_openings,
                stale_openings: inner.stale_openings,
                acknowledged_events: inner.acknowledged_events.len() as u64,
                openings_without_showing: inner.shown.values().map(|(shown, opened)| opened.saturating_sub(*shown)).sum(),
            },
        )
    }

    /// (source, id) of every acknowledged event.
    pub fn acknowledged_events(&self) -> BTreeSet<(String, String)> {
        self.inner.lock().map(|inner| inner.acknowledged_events.clone()).unwrap_or_default()
    }

    /// The longest stretch without progress that touches `from..to`.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let Ok(inner) = self.inner.lock() else { return Duration::ZERO };
        let before = inner.progress.iter().rev().find(|at| **at <= from).copied().unwrap_or(from);
        let mut last = before;
        let mut longest = Duration::ZERO;
        for at in inner.progress.iter().filter(|at| **at > from && **at <= to).copied().chain([to]) {
            longest = longest.max(at.saturating_duration_since(last));
            last = at;
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_that_comes_twice_or_late_is_counted_and_not_carried_out() {
        let ledger = Ledger::default();
        assert!(ledger.command("a", CommandClass::Opening, false));
        assert!(!ledger.command("a", CommandClass::Opening, false));
        assert!(!ledger.command("b", CommandClass::Opening, true));
        assert!(ledger.command("c", CommandClass::Securing, false));
        assert!(!ledger.command("c", CommandClass::Securing, false), "a repeated securing command is ignored but no fault");
        let totals = ledger.totals();
        ledger.shown("d", "c");
        ledger.opened("d", "c");
        assert_eq!(ledger.totals().openings_without_showing, 0);
        ledger.opened("d", "c");
        assert_eq!(ledger.totals().openings_without_showing, 1);
        assert_eq!((totals.duplicate_openings, totals.stale_openings, totals.openings, totals.commands), (1, 1, 3, 5));
    }
}
