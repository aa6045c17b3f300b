//! What the parts of the engine share while one entry is applied: the state, and the outputs that pile up.

use super::effect::{Effect, EffectClass, Owner, Request};
use super::index::Owned;
use super::problem::Problem;
use super::record::{Record, RecordBody};
use super::state::{State, Timer, TimerWhat};
use crate::event::Event;
use crate::id::{Actor, EffectId, derived_u64};
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::VecDeque;
use std::sync::Arc;

pub struct Context<'a> {
    pub state: &'a mut State,
    pub index: u64,
    /// The entry's clamped instant.
    pub now: Timestamp,
    pub effects: Vec<Effect>,
    pub records: Vec<Record>,
    /// Answers for waiting owners; the interpreter drains them before the entry ends.
    pub wakes: VecDeque<(Owner, Result<Value, Problem>)>,
    /// Events that came about inside this entry (emit, lifecycle): they go round once more inside the same entry.
    pub events: VecDeque<Event>,
    ordinal: u32,
}

impl<'a> Context<'a> {
    pub fn new(state: &'a mut State, index: u64, now: Timestamp) -> Self {
        Self { state, index, now, effects: Vec::new(), records: Vec::new(), wakes: VecDeque::new(), events: VecDeque::new(), ordinal: 0 }
    }

    /// A number that is used once in this entry.
    pub fn next_ordinal(&mut self) -> u32 {
        self.ordinal += 1;
        self.ordinal
    }

    /// 16 hex digits, unique in the mesh, the same on every replica.
    pub fn new_id(&mut self, purpose: &str) -> String {
        let ordinal = self.next_ordinal();
        format!("{:016x}", derived_u64(&self.state.group, self.index, ordinal, purpose))
    }

    /// Opens an effect: stored, handed out, with its deadline timer.
    pub fn open_effect(&mut self, owner: Owner, class: EffectClass, deadline: Timestamp, request: Request) -> EffectId {
        let id = EffectId { index: self.index, ordinal: self.next_ordinal() };
        let key: Arc<str> = format!("{}.{id}", self.state.group).into();
        let effect = Effect { id, key, owner, issued_at: self.now, deadline, class, request, attempt: None };
        self.state.timers.insert(Timer { due: deadline, what: TimerWhat::EffectDeadline { effect: id } });
        self.state.index.own(&effect.owner, Owned::Effect(id));
        self.state.effects.insert(id, effect.clone());
        self.effects.push(effect);
        id
    }

    /// Takes an effect out of the open ones together with its deadline timer.
    pub fn close_effect(&mut self, id: EffectId) -> Option<Effect> {
        let effect = self.state.effects.remove(&id)?;
        self.state.index.disown(&effect.owner, Owned::Effect(id));
        self.state.timers.remove(&Timer { due: effect.deadline, what: TimerWhat::EffectDeadline { effect: id } });
        Some(effect)
    }

    pub fn wake(&mut self, owner: Owner, result: Result<Value, Problem>) {
        self.wakes.push_back((owner, result));
    }

    pub fn record(&mut self, body: RecordBody) {
        let ordinal = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        self.records.push(Record { index: self.index, ordinal, at: self.now, body });
    }

    /// Adds a link to the audit chain, and numbers it for the cloud.
    pub fn audit(&mut self, actor: Actor, action: &str, subject: impl AsRef<str>, data: Value) {
        let link = self.state.audit.link(self.now, actor, action, subject.as_ref(), data);
        let event = super::audit::to_event(&link, self.now, &self.state.group);
        super::outbox::push(self, super::outbox::OutboxClass::Audit, event);
        self.record(RecordBody::Audit(link));
    }
}
