//! What to send next from the outbox, what to send again. Holds positions only; the items stay in the log's state.
//!
//! Everything above the cloud's acknowledgement is sent in order, a bounded window ahead of it. What stays unacknowledged too
//! long is sent again from the acknowledgement on; what the cloud misses (`gap`) is sent again first.

use super::Timings;
use spalla_shared::engine::outbox::{DROPPED, Outbox, OutboxClass, OutboxItem};
use spalla_shared::time::Timestamp;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A batch's body. One item alone may be larger: an event's data may have 64 KiB by itself.
pub const BATCH_SIZE_MAX: usize = 64 * 1024;
/// Items of one batch: bounds how long the state is read.
const BATCH_LEN_MAX: usize = 500;
/// Batches sent and not acknowledged by the cloud; at 64 KiB each half a megabyte on the road.
const WINDOW: usize = 8;
/// Ranges that the cloud asked for and that wait. More are not noted: the timeout sends everything again.
const RANGES_MAX: usize = 64;
/// Notes of one batch. The first ones name the first holes, and those are asked for first.
const NOTES_MAX: usize = 4;
/// The resend delay grows up to this many times the first.
const BACKOFF_MAX: u32 = 8;
/// Events older than this when they are sent are backlog.
const HISTORICAL_AFTER_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    items: Vec<OutboxItem>,
    /// Items from further on, sent ahead because they name sequences that are missing here.
    notes: Vec<OutboxItem>,
    pub historical: bool,
    /// Sequences that it answers for, inclusive.
    from: u64,
    to: u64,
    resends_gap: bool,
}

pub struct Courier {
    timings: Timings,
    sent_upto: u64,
    /// Up to here it was sent at least once in this tenure.
    tried_upto: u64,
    unacknowledged: VecDeque<(u64, Instant)>,
    ranges: VecDeque<(u64, u64)>,
    waiting_since: Option<Instant>,
    pending: Pending,
    backoff: u32,
    pub resent: u64,
}

/// What waits for company, looked through once per item: the state is looked at with every entry of the log.
#[derive(Default)]
struct Pending {
    scanned_upto: u64,
    len: usize,
    size: usize,
    alarm: bool,
}

impl Courier {
    pub fn new(timings: Timings) -> Self {
        Self {
            timings,
            sent_upto: 0,
            tried_upto: 0,
            unacknowledged: VecDeque::new(),
            ranges: VecDeque::new(),
            waiting_since: None,
            pending: Pending::default(),
            backoff: 1,
            resent: 0,
        }
    }

    /// Begins again behind `acknowledged_seq`: a new tenure, or a new connection.
    pub fn begin(&mut self, acknowledged_seq: u64) {
        self.sent_upto = acknowledged_seq;
        self.tried_upto = acknowledged_seq;
        self.unacknowledged.clear();
        self.ranges.clear();
        self.waiting_since = None;
        self.pending = Pending::default();
        self.backoff = 1;
    }

    /// The cloud has everything up to `upto`.
    pub fn acknowledged(&mut self, upto: u64) {
        if self.unacknowledged.front().is_some_and(|(first, _)| *first <= upto) {
            self.backoff = 1;
        }
        self.unacknowledged.retain(|(to, _)| *to > upto);
        self.ranges.retain(|(_, to)| *to > upto);
        self.sent_upto = self.sent_upto.max(upto);
    }

    /// The cloud misses `from..=to`. Past what was sent nothing is missing: it only has not come yet.
    pub fn gap(&mut self, from: u64, to: u64) {
        let to = to.min(self.tried_upto);
        if from <= to && self.ranges.len() < RANGES_MAX && !self.ranges.contains(&(from, to)) {
            self.ranges.push_back((from, to));
        }
    }

    /// A batch could not be published: what it held is sent again.
    pub fn failed(&mut self, acknowledged_seq: u64) {
        self.sent_upto = acknowledged_seq;
        self.unacknowledged.clear();
    }

    /// The next batch, when one is due. Call `sent` when it really leaves.
    pub fn next(&mut self, outbox: &Outbox, now: Instant, wall: Timestamp) -> Option<Batch> {
        self.acknowledged(outbox.acknowledged_seq);
        if self.unacknowledged.front().is_some_and(|(_, at)| now >= *at + self.resend_delay()) {
            tracing::debug!(from = outbox.acknowledged_seq + 1, to = self.sent_upto, "the cloud has not acknowledged; sending again");
            self.failed(outbox.acknowledged_seq);
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
        while let Some((from, to)) = self.ranges.front().copied() {
            match collect(outbox, from, to) {
                Some(batch) => return Some(Batch { historical: true, resends_gap: true, ..batch }),
                // Acknowledged in between.
                None => {
                    self.ranges.pop_front();
                }
            }
        }
        if self.unacknowledged.len() >= WINDOW {
            return None;
        }
        if !self.due(outbox, now) {
            return None;
        }
        let batch = collect(outbox, self.sent_upto + 1, outbox.newest_seq)?;
        let resend = batch.from <= self.tried_upto;
        let old = batch.items.first().is_some_and(|item| wall.since(item.event.time) > HISTORICAL_AFTER_MS);
        Some(Batch { historical: resend || old, ..batch })
    }

    /// Whether what is behind `sent_upto` should leave now: a resend, a full batch, an alarm, or it has waited long enough.
    fn due(&mut self, outbox: &Outbox, now: Instant) -> bool {
        if outbox.newest_seq <= self.sent_upto {
            self.waiting_since = None;
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now);
        if self.sent_upto < self.tried_upto || now >= since + self.timings.batch_delay {
            return true;
        }
        let pending = &mut self.pending;
        let from = pending.scanned_upto.max(self.sent_upto);
        let start = outbox.items.partition_point(|item| item.seq <= from);
        for item in outbox.items.range(start..) {
            pending.scanned_upto = item.seq;
            pending.len += 1;
            pending.size += item.size();
            pending.alarm |= item.class == OutboxClass::Alarm;
            if pending.alarm || pending.len >= BATCH_LEN_MAX || pending.size > BATCH_SIZE_MAX {
                break;
            }
        }
        pending.alarm || pending.len >= BATCH_LEN_MAX || pending.size > BATCH_SIZE_MAX
    }

    /// `batch` leaves now.
    pub fn sent(&mut self, batch: &Batch, now: Instant) {
        if batch.resends_gap {
            self.resent += batch.items.len() as u64;
            if let Some(range) = self.ranges.front_mut() {
                range.0 = batch.to + 1;
                if range.0 > range.1 {
                    self.ranges.pop_front();
                }
            }
            return;
        }
        if batch.from <= self.tried_upto {
            self.resent += batch.items.len() as u64;
        }
        self.sent_upto = batch.to;
        self.tried_upto = self.tried_upto.max(batch.to);
        self.unacknowledged.push_back((batch.to, now));
        self.waiting_since = None;
        self.pending = Pending::default();
    }

    /// When `next` may say something new though nothing happened.
    pub fn wakes(&self) -> Option<Instant> {
        let resend = self.unacknowledged.front().map(|(_, at)| *at + self.resend_delay());
        let company = self.waiting_since.map(|since| since + self.timings.batch_delay);
        [resend, company].into_iter().flatten().min()
    }

    pub fn sent_upto(&self) -> u64 {
        self.sent_upto
    }

    fn resend_delay(&self) -> Duration {
        self.timings.resend_after * self.backoff
    }
}

impl Batch {
    /// What goes into the body, in order of the sequence.
    pub fn body(&self) -> Vec<OutboxItem> {
        self.items.iter().chain(&self.notes).cloned().collect()
    }

    /// Makes it half as long: it came out larger than it was reckoned. False when it cannot get smaller.
    pub fn halve(&mut self) -> bool {
        if self.items.len() < 2 {
            return false;
        }
        self.items.truncate(self.items.len() / 2);
        self.to = self.items.last().map_or(self.to, |item| item.seq);
        true
    }
}

/// Items of `from..=to` within a batch's bounds; where sequences are missing, with the notes that say why. None when there is nothing.
fn collect(outbox: &Outbox, from: u64, to: u64) -> Option<Batch> {
    let start = outbox.items.partition_point(|item| item.seq < from);
    let mut items: Vec<OutboxItem> = Vec::new();
    let (mut size, mut next, mut holes) = (0, from.max(outbox.acknowledged_seq + 1), Vec::new());
    for item in outbox.items.range(start..).take_while(|item| item.seq <= to).take(BATCH_LEN_MAX) {
        size += item.size();
        if size > BATCH_SIZE_MAX && !items.is_empty() {
            break;
        }
        if item.seq > next {
            holes.push((next, item.seq - 1));
        }
        next = item.seq + 1;
        items.push(item.clone());
    }
    let whole = outbox.items.get(start + items.len()).is_none_or(|item| item.seq > to);
    if whole && next <= to {
        // What was asked for ends in dropped sequences.
        holes.push((next, to));
    }
    let reached = if whole { to } else { next - 1 };
    let notes = if holes.is_empty() { Vec::new() } else { notes(outbox, &holes, reached) };
    if items.is_empty() && notes.is_empty() {
        return None;
    }
    Some(Batch { items, notes, historical: false, from, to: reached, resends_gap: false })
}

/// The first few items behind `reached` that name some of `holes`.
fn notes(outbox: &Outbox, holes: &[(u64, u64)], reached: u64) -> Vec<OutboxItem> {
    let behind = outbox.items.partition_point(|item| item.seq <= reached);
    let named =
        |item: &&OutboxItem| dropped_ranges(item).iter().any(|(from, to)| holes.iter().any(|(first, last)| from <= last && to >= first));
    outbox.items.range(behind..).filter(named).take(NOTES_MAX).cloned().collect()
}

/// The sequences that a `dropped` item names.
pub fn dropped_ranges(item: &OutboxItem) -> Vec<(u64, u64)> {
    if &*item.event.kind != DROPPED {
        return Vec::new();
    }
    let number = |value: &spalla_shared::value::Value| value.as_i64().and_then(|number| u64::try_from(number).ok());
    let ranges = item.event.data.get("ranges").and_then(|ranges| ranges.as_array()).unwrap_or_default();
    ranges
        .iter()
        .filter_map(|range| match range.as_array() {
            Some([from, to]) => Some((number(from)?, number(to)?)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
