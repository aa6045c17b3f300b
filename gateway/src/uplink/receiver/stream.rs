//! The sequences of one incarnation: what is here, what is missing, who may send.

use super::Counts;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Sequences held above the first hole. Past it nothing new is taken until the hole is filled; it is sent again.
const AHEAD_MAX: usize = 100_000;

#[derive(Default)]
pub struct Stream {
    /// The first sequence this receiver is owed; none before a birth.
    first: Option<u64>,
    /// Everything up to here is here, dropped or lost.
    high: u64,
    /// Beyond the first hole.
    ahead: BTreeSet<u64>,
    /// Dropped by the mesh, beyond the first hole.
    void: BTreeSet<u64>,
    newest: u64,
    epoch: u64,
    received: u64,
    dropped: u64,
    lost: u64,
    gaps: u64,
    duplicates: u64,
    asked: Option<(u64, Instant)>,
}

impl Stream {
    /// A speaker begins: what is below `first_seq` has left the outbox for good.
    pub fn born(&mut self, first_seq: u64, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        let below = first_seq.saturating_sub(1);
        match self.first {
            None => {
                self.first = Some(first_seq.max(1));
                self.high = below;
                self.newest = self.newest.max(below);
            }
            Some(_) => {
                // Held ahead already or not: everything up to `below` is settled.
                let here = below_and_off(&mut self.ahead, below) + below_and_off(&mut self.void, below);
                self.lost = self.lost.saturating_add(below.saturating_sub(self.high).saturating_sub(here));
                self.high = self.high.max(below);
                self.newest = self.newest.max(below);
                self.close_up();
            }
        }
    }

    pub fn knows_its_begin(&self) -> bool {
        self.first.is_some()
    }

    /// A batch of this epoch may be taken; older ones come from a speaker that was replaced.
    pub fn accepts(&mut self, epoch: u64) -> bool {
        let fresh = epoch >= self.epoch;
        self.epoch = self.epoch.max(epoch);
        fresh
    }

    /// True when `seq` was not here before.
    pub fn insert(&mut self, seq: u64) -> bool {
        if seq <= self.high || self.ahead.contains(&seq) {
            self.duplicates += 1;
            return false;
        }
        if self.ahead.len() + self.void.len() >= AHEAD_MAX && seq != self.high.saturating_add(1) {
            return false;
        }
        self.newest = self.newest.max(seq);
        self.received += 1;
        // Named as dropped and yet here: it is here.
        self.dropped -= u64::from(self.void.remove(&seq));
        self.ahead.insert(seq);
        self.close_up();
        true
    }

    /// The mesh says that it dropped `from..=to`.
    pub fn dropped(&mut self, from: u64, to: u64) {
        let from = from.max(self.high.saturating_add(1));
        // A range from outside is walked, so it is bounded like everything held ahead.
        let room = u64::try_from(AHEAD_MAX.saturating_sub(self.ahead.len() + self.void.len())).unwrap_or(0);
        for seq in from..=to.min(from.saturating_add(room)) {
            if !self.ahead.contains(&seq) && self.void.insert(seq) {
                self.dropped += 1;
                self.newest = self.newest.max(seq);
            }
        }
        self.close_up();
    }

    pub fn high(&self) -> u64 {
        self.high
    }

    /// The first hole, when it was not asked for lately.
    pub fn ask(&mut self, now: Instant, again: Duration) -> Option<(u64, u64)> {
        let next = self.ahead.first()?;
        let hole = (self.high.saturating_add(1), next.saturating_sub(1));
        match self.asked {
            Some((from, at)) if from == hole.0 && now < at + again => return None,
            Some((from, _)) if from == hole.0 => {}
            _ => self.gaps += 1,
        }
        self.asked = Some((hole.0, now));
        Some(hole)
    }

    pub fn add_to(&self, counts: &mut Counts) {
        let expected = self.first.map_or(0, |first| self.newest.saturating_add(1).saturating_sub(first));
        counts.expected += expected;
        counts.received += self.received;
        counts.dropped += self.dropped;
        counts.missing += expected.saturating_sub(self.received + self.dropped);
        counts.lost += self.lost;
        counts.gaps += self.gaps;
        counts.duplicates += self.duplicates;
    }

    fn close_up(&mut self) {
        while let Some(next) = self.high.checked_add(1)
            && (self.ahead.remove(&next) || self.void.remove(&next))
        {
            self.high = next;
        }
    }
}

/// Takes everything up to `below` out of `set`; says how many.
fn below_and_off(set: &mut BTreeSet<u64>, below: u64) -> u64 {
    let kept = below.checked_add(1).map(|from| set.split_off(&from)).unwrap_or_default();
    let gone = set.len() as u64;
    *set = kept;
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(stream: &Stream) -> Counts {
        let mut counts = Counts::default();
        stream.add_to(&mut counts);
        counts
    }

    #[test]
    fn holes_are_noticed_once_asked_for_again_later_and_filled() {
        let (mut stream, start, again) = (Stream::default(), Instant::now(), Duration::from_secs(2));
        stream.born(1, 1);
        assert!(stream.insert(1) && stream.insert(4) && stream.insert(6) && !stream.insert(4));
        assert_eq!(stream.ask(start, again), Some((2, 3)));
        assert_eq!(stream.ask(start, again), None);
        assert_eq!(stream.ask(start + again, again), Some((2, 3)));
        assert!(stream.insert(2) && stream.insert(3));
        assert_eq!((stream.high(), stream.ask(start, again)), (4, Some((5, 5))));
        assert!(stream.insert(5));
        let expected = Counts { expected: 6, received: 6, gaps: 2, duplicates: 1, ..Counts::default() };
        assert_eq!((stream.high(), counts(&stream)), (6, expected));
    }

    #[test]
    fn dropped_and_trimmed_sequences_are_told_apart_from_missing_ones() {
        let mut stream = Stream::default();
        stream.born(11, 1);
        assert!(stream.insert(11) && stream.insert(20));
        stream.dropped(12, 15);
        assert_eq!((stream.high(), counts(&stream).missing), (15, 4));
        // Somebody else acknowledged up to 18 in between.
        stream.born(19, 2);
        assert_eq!((stream.high(), counts(&stream).lost), (18, 3));
        assert!(stream.insert(19));
        assert_eq!((stream.high(), counts(&stream).dropped), (20, 4));
    }

    #[test]
    fn numbers_from_outside_cannot_hang_or_break_it() {
        let mut stream = Stream::default();
        stream.born(1, 1);
        stream.dropped(1, u64::MAX);
        stream.dropped(u64::MAX, 0);
        stream.insert(u64::MAX);
        stream.born(u64::MAX, u64::MAX);
        stream.insert(u64::MAX);
        stream.born(0, 0);
        counts(&stream);
        assert_eq!(stream.ask(Instant::now(), Duration::ZERO), None);
    }
}
