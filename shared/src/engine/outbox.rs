//! What the cloud is owed: numbered without holes, kept until it is acknowledged, and who may speak.

use super::command::{Accepted, Rejection, Reply, UplinkCommand};
use super::context::Context;
use crate::event::Event;
use crate::id::NodeId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

mod overflow;

pub use overflow::{DROPPED, OUTBOX_LEN_MAX, OUTBOX_SIZE_MAX, UNHEARD_LEN_MAX};

/// A speaker asks again before its lease ends; a longer one would keep a dead gateway in the chair.
pub const SPEAK_LEASE_MAX_MS: u64 = 60_000;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    /// Sequence of the newest item; the first item is 1.
    pub newest_seq: u64,
    pub acknowledged_seq: u64,
    pub items: VecDeque<OutboxItem>,
    pub speaker: Option<Speaker>,
    /// The newest epoch ever given.
    pub epoch: u64,
    /// When the first speaker took the chair; set once. With the names of the mesh it tells this life of the log from another.
    #[serde(default)]
    pub born_at: Option<Timestamp>,
    /// How many items that may be dropped are in `items`.
    #[serde(default)]
    pub droppable: usize,
    /// Of all items together, as [`OutboxItem::size`] counts.
    #[serde(default)]
    pub size: usize,
    /// Audit that left for want of room and that the cloud has not been told of for sure.
    #[serde(default)]
    pub held_back: Option<HeldBack>,
}

/// Links of the audit chain that stand in the gateways' histories only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// The newest outbox sequence that left with them.
    pub to_seq: u64,
    /// First and last link, by the chain's own numbers.
    pub links: (u64, u64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxItem {
    pub seq: u64,
    pub class: OutboxClass,
    pub event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutboxClass {
    Audit,
    Alarm,
    State,
}

/// The one gateway that may speak to the cloud, until its lease ends. The epoch fences an old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    pub node: NodeId,
    pub epoch: u64,
    pub until: Timestamp,
}

/// Numbers `event` for the cloud; gives its sequence.
pub fn push(context: &mut Context, class: OutboxClass, event: Event) -> u64 {
    let now = context.now;
    let group: Arc<str> = format!("/groups/{}/outbox", context.state.group).into();
    context.state.outbox.push(class, event, now, &group)
}

/// The mesh begins again: what was not acknowledged is numbered anew, in a life of its own, for the cloud may have heard of
/// later numbers from the gateways that are gone.
pub(super) fn begin_again(outbox: &mut Outbox) {
    for (seq, item) in (1..).zip(outbox.items.iter_mut()) {
        item.seq = seq;
    }
    outbox.newest_seq = u64::try_from(outbox.items.len()).unwrap_or(u64::MAX);
    outbox.acknowledged_seq = 0;
    outbox.held_back = None;
    outbox.speaker = None;
    outbox.born_at = None;
}

impl Outbox {
    fn push(&mut self, class: OutboxClass, event: Event, now: Timestamp, source: &Arc<str>) -> u64 {
        let seq = self.append(class, event);
        self.make_room(now, source);
        seq
    }

    fn append(&mut self, class: OutboxClass, event: Event) -> u64 {
        self.newest_seq += 1;
        let item = OutboxItem { seq: self.newest_seq, class, event };
        self.droppable += usize::from(class != OutboxClass::Audit);
        self.size += item.size();
        self.items.push_back(item);
        self.newest_seq
    }

    fn acknowledge(&mut self, upto_seq: u64) {
        self.acknowledged_seq = upto_seq;
        while self.items.front().is_some_and(|item| item.seq <= upto_seq) {
            if let Some(item) = self.items.pop_front() {
                self.gone(&item);
            }
        }
        self.held_back = self.held_back.filter(|held| held.to_seq > upto_seq);
    }

    /// `item` is not in `items` any more.
    fn gone(&mut self, item: &OutboxItem) {
        self.droppable = self.droppable.saturating_sub(usize::from(item.class != OutboxClass::Audit));
        self.size = self.size.saturating_sub(item.size());
    }
}

impl OutboxItem {
    /// About what it takes in a body for the cloud, bytes.
    pub fn size(&self) -> usize {
        let event = &self.event;
        let extensions: usize = event.extensions.iter().map(|(name, value)| name.len() + value.size()).sum();
        96 + event.id.len()
            + event.source.len()
            + event.kind.len()
            + event.subject.as_ref().map_or(0, |text| text.len())
            + event.data.size()
            + extensions
    }
}

/// Acknowledgements, and the speaker's chair. Refused: `invalid` (acknowledges what was never sent), `conflict` (another speaks), `late`.
pub fn uplink(context: &mut Context, command: &UplinkCommand) -> Reply {
    let now = context.now;
    let outbox = &mut context.state.outbox;
    match command {
        UplinkCommand::Acknowledged { upto_seq } if *upto_seq > outbox.newest_seq => Err(Rejection::new(
            "invalid",
            format!(
                "the cloud acknowledges {upto_seq}, but the newest item is {}: is it another mesh's acknowledgement?",
                outbox.newest_seq
            ),
        )),
        UplinkCommand::Acknowledged { upto_seq } if *upto_seq <= outbox.acknowledged_seq => Ok(Accepted::Duplicate),
        UplinkCommand::Acknowledged { upto_seq } => {
            outbox.acknowledge(*upto_seq);
            Ok(Accepted::Nothing)
        }
        UplinkCommand::Speak { node, until } => speak(outbox, now, *node, *until),
        UplinkCommand::Yield { node, epoch } => {
            if outbox.speaker.as_ref().is_none_or(|speaker| speaker.node != *node || speaker.epoch != *epoch) {
                return Ok(Accepted::Duplicate);
            }
            outbox.speaker = None;
            Ok(Accepted::Nothing)
        }
    }
}

fn speak(outbox: &mut Outbox, now: Timestamp, node: NodeId, until: Timestamp) -> Reply {
    if until <= now {
        return Err(Rejection::new("late", "the lease asked for is over already"));
    }
    let until = until.min(now.plus(SPEAK_LEASE_MAX_MS));
    let epoch = match &outbox.speaker {
        Some(speaker) if speaker.node == node => speaker.epoch,
        Some(speaker) if now < speaker.until => {
            return Err(Rejection::new("conflict", format!("node {} speaks until {}", speaker.node, speaker.until)));
        }
        _ => {
            outbox.epoch += 1;
            outbox.epoch
        }
    };
    outbox.born_at.get_or_insert(now);
    outbox.speaker = Some(Speaker { node, epoch, until });
    Ok(Accepted::Speaker { node, epoch, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::State;
    use crate::id::GroupId;
    use crate::value::Value;

    fn event(id: &str) -> Event {
        Event {
            id: id.into(),
            source: "/test".into(),
            kind: "test".into(),
            subject: None,
            time: Timestamp(0),
            data: Value::Null,
            extensions: Default::default(),
        }
    }
    fn seqs(outbox: &Outbox) -> Vec<u64> {
        outbox.items.iter().map(|item| item.seq).collect()
    }

    #[test]
    fn items_are_numbered_from_one_and_go_when_acknowledged() {
        let mut state = State::new(GroupId::mesh());
        let mut context = Context::new(&mut state, 1, Timestamp(5));
        for id in ["a", "b", "c"] {
            push(&mut context, OutboxClass::State, event(id));
        }
        assert_eq!(seqs(&context.state.outbox), [1, 2, 3]);
        let acknowledge = |context: &mut Context, upto_seq| uplink(context, &UplinkCommand::Acknowledged { upto_seq });
        assert_eq!(acknowledge(&mut context, 2), Ok(Accepted::Nothing));
        assert_eq!(acknowledge(&mut context, 2), Ok(Accepted::Duplicate));
        assert_eq!(acknowledge(&mut context, 1), Ok(Accepted::Duplicate));
        assert_eq!(acknowledge(&mut context, 4).map_err(|error| error.code), Err("invalid".into()));
        assert_eq!(seqs(&context.state.outbox), [3]);
        assert_eq!(push(&mut context, OutboxClass::State, event("d")), 4);
        acknowledge(&mut context, 4).unwrap();
        assert_eq!(push(&mut context, OutboxClass::State, event("e")), 5, "an empty outbox does not count again from one");
    }

    #[test]
    fn one_speaks_and_a_new_one_gets_a_new_epoch() {
        let mut state = State::new(GroupId::mesh());
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let speak =
            |context: &mut Context, node, until| uplink(context, &UplinkCommand::Speak { node: NodeId(node), until: Timestamp(until) });
        let granted = |node, epoch, until| Ok(Accepted::Speaker { node: NodeId(node), epoch, until: Timestamp(until) });
        assert_eq!(speak(&mut context, 1, 100), granted(1, 1, 100));
        assert_eq!(speak(&mut context, 2, 100).map_err(|error| error.code), Err("conflict".into()));
        assert_eq!(speak(&mut context, 1, 200), granted(1, 1, 200), "the same speaker keeps its epoch");
        context.now = Timestamp(200);
        assert_eq!(speak(&mut context, 2, 300), granted(2, 2, 300), "the lease ran out");
        assert_eq!(uplink(&mut context, &UplinkCommand::Yield { node: NodeId(1), epoch: 1 }), Ok(Accepted::Duplicate));
        assert_eq!(uplink(&mut context, &UplinkCommand::Yield { node: NodeId(2), epoch: 2 }), Ok(Accepted::Nothing));
        assert_eq!(speak(&mut context, 2, 90_000_000), granted(2, 3, 60_200), "a lease is bounded");
        assert_eq!(speak(&mut context, 2, 200).map_err(|error| error.code), Err("late".into()));
        assert_eq!(context.state.outbox.born_at, Some(Timestamp(0)), "the first speaker's instant stays");
    }
}
