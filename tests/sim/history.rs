//! What was seen in one run, for the invariants to judge, and a digest of everything that happened, in order.

use spalla::consensus::simulation::AppliedEntry;
use spalla_shared::id::{EffectId, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Newest events kept as text, to be read beside a failure.
const LINES_MAX: usize = 200;

#[derive(Debug, Default)]
pub struct History {
    /// Who spoke as a term's leader.
    pub leaders: BTreeMap<u64, BTreeSet<NodeId>>,
    /// Each different entry that anybody applied at an index, and who did.
    pub applied: BTreeMap<u64, Vec<(AppliedEntry, BTreeSet<NodeId>)>>,
    /// Entries that a gateway did not apply in the order of the log, each once, in one life.
    pub out_of_order: Vec<String>,
    /// What clients were told was done.
    pub told: Vec<Told>,
    /// How often the one attempt of an opening was granted.
    pub granted: BTreeMap<EffectId, Vec<NodeId>>,
    /// Gateways whose agreement ended by itself.
    pub broke: Vec<(NodeId, String)>,
    /// The end: where each gateway stands, and the digest of its state.
    pub ends: BTreeMap<NodeId, (u64, String)>,
    /// Why the healed mesh did not go on, or did not become level.
    pub stuck: Option<String>,
    /// Where in the log each gateway goes on.
    pub next: BTreeMap<NodeId, u64>,
    /// Of all events so far.
    pub trace: u64,
    pub events: u64,
    pub lines: VecDeque<String>,
    pub crashes: u64,
    pub snapshots: u64,
    pub show: bool,
}

#[derive(Clone, Debug)]
pub struct Told {
    pub what: String,
    /// As in [`AppliedEntry::command`].
    pub command: u64,
    /// None where nobody said.
    pub index: Option<u64>,
}

impl History {
    /// Notes an event at `at_us` of virtual time; `text` is kept, the rest only counted in.
    pub fn note(&mut self, at_us: u128, text: String) {
        let line = format!("{:>10}.{:03} ms  {text}", at_us / 1000, at_us % 1000);
        self.mix(line.as_bytes());
        if self.show {
            println!("{line}");
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// FNV-1a.
    pub fn mix(&mut self, bytes: &[u8]) {
        self.events += 1;
        let start = if self.trace == 0 { 0xcbf2_9ce4_8422_2325 } else { self.trace };
        self.trace = bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }

    pub fn started(&mut self, node: NodeId) {
        self.next.insert(node, 0);
    }

    pub fn installed(&mut self, node: NodeId, index: u64) {
        self.snapshots += 1;
        self.next.insert(node, index + 1);
    }

    pub fn applied(&mut self, node: NodeId, entry: AppliedEntry) {
        let next = self.next.insert(node, entry.index + 1).unwrap_or(0);
        if entry.index != next {
            self.out_of_order.push(format!("{node} applied entry {} where {next} was next", entry.index));
        }
        let there = self.applied.entry(entry.index).or_default();
        match there.iter_mut().find(|(other, _)| *other == entry) {
            Some((_, nodes)) => drop(nodes.insert(node)),
            None => there.push((entry, BTreeSet::from([node]))),
        }
    }

    /// Nothing good can come any more: a run may end here.
    pub fn is_lost(&self) -> bool {
        !self.broke.is_empty() || !self.out_of_order.is_empty() || self.applied.values().any(|entries| entries.len() > 1)
    }
}
