//! What leaves the outbox when the cloud stays away: states first, then alarms. Audit leaves last, and only this queue: every
//! link stays in the gateways' histories. What left is named by a numbered item, so the cloud never wonders.

use super::{HeldBack, Outbox, OutboxClass, OutboxItem};
use crate::event::Event;
use crate::time::Timestamp;
use crate::value::Value;
use std::sync::Arc;

/// Items kept while the cloud is away: about a day of a busy campus. They are memory at every gateway, and part of every snapshot.
pub const OUTBOX_LEN_MAX: usize = 100_000;
/// The same in bytes, as [`OutboxItem::size`] counts: an item may have 64 KiB by itself.
pub const OUTBOX_SIZE_MAX: usize = 64 * 1024 * 1024;
/// Items kept where no gateway ever reached a cloud: a mesh without one owes nobody, and one that gets a cloud later begins there.
pub const UNHEARD_LEN_MAX: usize = 1_000;
/// One in so many leaves at once: dropping walks the whole outbox.
const DROP_SHARE: usize = 100;
/// Type of the item that tells what was dropped. Data: `{from, to, count, ranges: [[from, to], …]}`, sequences of the outbox; and
/// `audit: {from, to}`, links of the audit chain that left with them and are to be read at any gateway.
pub const DROPPED: &str = "spalla.uplink.dropped";

impl Outbox {
    pub(super) fn make_room(&mut self, now: Timestamp, source: &Arc<str>) {
        let len_max = if self.born_at.is_some() { OUTBOX_LEN_MAX } else { UNHEARD_LEN_MAX };
        // Each round takes more out than the one item that it adds; one item alone always stays.
        while self.items.len() > 1 && (self.items.len() > len_max || self.size > OUTBOX_SIZE_MAX) {
            let batch = (len_max / DROP_SHARE).max(2);
            if self.droppable > 0 { self.drop_oldest(batch, now, source) } else { self.hold_back(batch, now, source) }
        }
    }

    /// Drops states, or alarms where there are none.
    fn drop_oldest(&mut self, batch: usize, now: Timestamp, source: &Arc<str>) {
        let mut gone: Vec<OutboxItem> = Vec::new();
        for class in [OutboxClass::State, OutboxClass::Alarm] {
            if gone.is_empty() {
                self.items.retain(|item| {
                    let goes = item.class == class && gone.len() < batch;
                    if goes {
                        gone.push(item.clone());
                    }
                    !goes
                });
            }
        }
        gone.iter().for_each(|item| self.gone(item));
        let numbers: Vec<u64> = gone.iter().map(|item| item.seq).collect();
        self.tell(now, source, &ranges(&numbers), numbers.len(), None);
    }

    /// Lets the oldest items go, audit as they are. Everything up to the last of them is gone then, so one range names it all,
    /// also what earlier notes named that go with them.
    fn hold_back(&mut self, batch: usize, now: Timestamp, source: &Arc<str>) {
        let batch = batch.min(self.items.len().saturating_sub(1));
        let gone: Vec<OutboxItem> = self.items.drain(..batch).collect();
        gone.iter().for_each(|item| self.gone(item));
        let Some(to_seq) = gone.last().map(|item| item.seq) else { return };
        let links = gone.iter().filter_map(link).fold(self.held_back.map(|held| held.links), |links, link| {
            Some(links.map_or((link, link), |(from, to)| (from.min(link), to.max(link))))
        });
        self.held_back = links.map(|links| HeldBack { to_seq, links });
        self.tell(now, source, &[(self.acknowledged_seq + 1, to_seq)], gone.len(), links);
    }

    fn tell(&mut self, now: Timestamp, source: &Arc<str>, ranges: &[(u64, u64)], count: usize, links: Option<(u64, u64)>) {
        let (Some((from, _)), Some((_, to))) = (ranges.first().copied(), ranges.last().copied()) else { return };
        let mut data = vec![
            ("from", number(from)),
            ("to", number(to)),
            ("count", number(count as u64)),
            ("ranges", Value::array(ranges.iter().map(|(from, to)| Value::array(vec![number(*from), number(*to)])).collect())),
        ];
        if let Some((from, to)) = links {
            data.push(("audit", Value::object([("from", number(from)), ("to", number(to))])));
        }
        let event = Event {
            id: format!("dropped-{from}-{to}").into(),
            source: source.clone(),
            kind: DROPPED.into(),
            subject: None,
            time: now,
            data: Value::object(data),
            extensions: Default::default(),
        };
        self.append(OutboxClass::Audit, event);
    }
}

/// The number of the audit link that an item carries.
fn link(item: &OutboxItem) -> Option<u64> {
    let is_link = item.event.kind.starts_with("spalla.audit.");
    is_link.then(|| item.event.data.get("seq")?.as_i64()).flatten().and_then(|seq| u64::try_from(seq).ok())
}

fn number(seq: u64) -> Value {
    Value::Int(i64::try_from(seq).unwrap_or(i64::MAX))
}

/// Neighbouring numbers as `(from, to)`. `numbers` ascends.
fn ranges(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == *number => *to = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::super::{push, uplink};
    use super::*;
    use crate::engine::command::UplinkCommand;
    use crate::engine::{Context, State};
    use crate::id::{Actor, GroupId, NodeId};

    fn event(data: Value) -> Event {
        let (id, source, kind) = ("e".into(), "/test".into(), "test".into());
        Event { id, source, kind, subject: None, time: Timestamp(0), data, extensions: Default::default() }
    }

    /// A group that has spoken to a cloud once.
    fn heard() -> State {
        let mut state = State::new(GroupId::mesh());
        let mut context = Context::new(&mut state, 1, Timestamp(5));
        uplink(&mut context, &UplinkCommand::Speak { node: NodeId(1), until: Timestamp(50) }).unwrap();
        state
    }

    #[test]
    fn overflow_drops_states_before_audit_and_says_which() {
        let mut state = heard();
        let mut context = Context::new(&mut state, 1, Timestamp(5));
        push(&mut context, OutboxClass::Audit, event(Value::Null));
        push(&mut context, OutboxClass::State, event(Value::Null));
        push(&mut context, OutboxClass::Alarm, event(Value::Null));
        for _ in 3..=OUTBOX_LEN_MAX {
            push(&mut context, OutboxClass::State, event(Value::Null));
        }
        let outbox = &context.state.outbox;
        let last = outbox.items.back().unwrap();
        assert_eq!((last.seq, last.class, &*last.event.kind), (OUTBOX_LEN_MAX as u64 + 2, OutboxClass::Audit, DROPPED));
        assert_eq!(last.event.data.to_json(), r#"{"count":1000,"from":2,"ranges":[[2,2],[4,1002]],"to":1002}"#);
        assert_eq!(outbox.items.iter().take(3).map(|item| item.seq).collect::<Vec<_>>(), [1, 3, 1003]);
        assert!(outbox.items.len() <= OUTBOX_LEN_MAX);
    }

    /// A mesh without a cloud wrote audit into its memory and its snapshots until the end of days.
    #[test]
    fn audit_alone_is_bounded_and_the_last_note_names_all_that_left() {
        let mut state = State::new(GroupId::mesh());
        let mut context = Context::new(&mut state, 1, Timestamp(5));
        push(&mut context, OutboxClass::State, event(Value::Null));
        for _ in 0..20 * UNHEARD_LEN_MAX {
            context.audit(Actor::system(), "test", "x", Value::Null);
            assert!(context.state.outbox.items.len() <= UNHEARD_LEN_MAX);
            context.records.clear();
        }
        let outbox = &mut context.state.outbox;
        let note = outbox.items.iter().rfind(|item| &*item.event.kind == DROPPED).unwrap().clone();
        let oldest = outbox.items.front().unwrap().clone();
        let range = note.event.data.get("ranges").unwrap().to_json();
        assert_eq!(range, format!("[[1,{}]]", oldest.seq - 1), "everything before the oldest item is named");
        let links = note.event.data.get("audit").unwrap().clone();
        let first_kept = outbox.items.iter().find_map(link).unwrap();
        assert_eq!(links.to_json(), format!(r#"{{"from":1,"to":{}}}"#, first_kept - 1));
        assert_eq!(outbox.size, outbox.items.iter().map(OutboxItem::size).sum::<usize>());
        let newest = outbox.newest_seq;
        uplink(&mut context, &UplinkCommand::Acknowledged { upto_seq: newest }).unwrap();
        let outbox = &context.state.outbox;
        assert_eq!((outbox.items.len(), outbox.size, outbox.droppable, outbox.held_back), (0, 0, 0, None));
    }

    #[test]
    fn large_items_are_bounded_by_their_size() {
        let mut state = heard();
        let mut context = Context::new(&mut state, 1, Timestamp(5));
        let data = Value::from("x".repeat(60_000));
        for _ in 0..3_000 {
            push(&mut context, OutboxClass::Alarm, event(data.clone()));
            assert!(context.state.outbox.size <= OUTBOX_SIZE_MAX);
        }
        assert!(context.state.outbox.items.len() < 1_200);
    }
}
