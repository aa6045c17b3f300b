//! One group: its state, its clock and what came of its entries so far. Every entry goes through `engine::apply`.

use crate::engine::command::{Command, Entry};
use crate::engine::instance::Instance;
use crate::engine::lifecycle;
use crate::engine::outbox::OutboxClass;
use crate::engine::record::{InstanceStatus, Record, RecordBody};
use crate::engine::state::{Flow, SEMANTICS_VERSION};
use crate::engine::{Applied, State, apply};
use crate::event::Event;
use crate::flow::Checked;
use crate::id::{GroupId, InstanceId};
use crate::time::Timestamp;
use crate::value::Value;
use std::sync::Arc;

/// `Continue` entries in a row: 256 steps each. A flow that needs more without waiting once does not end.
pub const CONTINUES_MAX: usize = 4_096;

#[derive(Clone, Debug)]
pub struct World {
    pub state: State,
    pub at: Timestamp,
    /// Every entry, in order: a failing rehearsal is shown with it.
    pub log: Vec<Entry>,
    pub records: Vec<Record>,
    /// What flows emitted, in order.
    pub emitted: Vec<Event>,
    outbox_seen: u64,
}

/// A flow that goes round without ever waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a flow goes round and round without waiting once ({CONTINUES_MAX} entries)")]
pub struct Endless;

/// How an instance ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub status: InstanceStatus,
    pub output: Value,
    pub problem: Option<Value>,
}

impl World {
    pub fn new(at: Timestamp) -> Self {
        // As a mesh whose gateways all have this build.
        let mut state = State::new(GroupId::mesh());
        state.semantics = SEMANTICS_VERSION;
        Self { state, at, log: Vec::new(), records: Vec::new(), emitted: Vec::new(), outbox_seen: 0 }
    }

    /// Flows that run only when they are started, and whose catalog functions the outside answers. The error names a flow that stands twice.
    pub fn of_flows(at: Timestamp, flows: &[Checked]) -> Result<Self, String> {
        let mut world = Self::new(at);
        for checked in flows {
            let plan = &checked.plan;
            let flow = Flow { document: checked.document.clone(), hash: plan.hash.clone(), deployed_at: at, enabled: true };
            if world.state.flows.insert(plan.key.clone(), flow).is_some() {
                return Err(format!("the flow {} is given twice", plan.key));
            }
        }
        world.state.rebuild_plans()?;
        for plan in world.state.plans.values_mut() {
            Arc::make_mut(plan).rehearse();
        }
        Ok(world)
    }

    /// The next entry of the log, at the world's time.
    pub fn apply(&mut self, command: Command) -> Applied {
        let entry = Entry { index: self.state.applied.saturating_add(1), at: self.at, command };
        let applied = apply(&mut self.state, &entry);
        self.hear(&entry, &applied);
        self.log.push(entry);
        applied
    }

    fn hear(&mut self, entry: &Entry, applied: &Applied) {
        self.records.extend(applied.records.iter().cloned());
        let own = match &entry.command {
            Command::Event { event, .. } => Some((&event.source, &event.id)),
            _ => None,
        };
        let seen = self.outbox_seen;
        let new = self.state.outbox.items.iter().rev().take_while(|item| item.seq > seen);
        let emitted = |event: &Event| !lifecycle::is(&event.kind) && own != Some((&event.source, &event.id));
        let mut emitted: Vec<Event> =
            new.filter(|item| item.class != OutboxClass::Audit && emitted(&item.event)).map(|item| item.event.clone()).collect();
        emitted.reverse();
        self.emitted.extend(emitted);
        self.outbox_seen = self.state.outbox.newest_seq;
    }

    /// Runs what yielded until every token waits.
    pub fn settle(&mut self) -> Result<(), Endless> {
        for _ in 0..CONTINUES_MAX {
            if self.state.ready.is_empty() {
                return Ok(());
            }
            self.apply(Command::Continue);
        }
        Err(Endless)
    }

    /// Lets time pass to `at` (never back) and fires what is due then.
    pub fn pass_to(&mut self, at: Timestamp) {
        self.at = self.at.max(at);
        self.apply(Command::TimersDue);
    }

    /// How an instance ended; `None` while it runs.
    pub fn ended(&self, id: &InstanceId) -> Option<Ended> {
        self.records.iter().find_map(|record| match &record.body {
            RecordBody::InstanceEnded { instance, status, output, problem } if instance == id => {
                Some(Ended { status: *status, output: output.clone(), problem: problem.clone() })
            }
            _ => None,
        })
    }

    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.state.instances.get(id).map(|instance| &**instance)
    }
}
