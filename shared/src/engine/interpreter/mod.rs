//! The interpreter: moves tokens until each of them waits, yields or is gone.
//!
//! ```text
//! wake / timer / event / start -> queue -> take a token -> step, step, step -> put it back (it waits) or end it
//! ```
//! It never blocks and never recurses over the document: what a token does next stands in the token.
//! Catalog functions are started through `function`, answers come back through `Context::wakes`.

mod evaluate;
mod function;
mod life;
mod scope;
mod unwind;

pub(super) use evaluate::{Budgets, limit, static_value};
pub(super) use life::Begin;
pub(super) use scope::text_of;

use super::context::Context;
use super::effect::Owner;
use super::instance::{Frame, Instance, List, Next, TaskFrame, Token, Wait};
use super::lifecycle;
use super::problem::Problem;
use super::record::{InstanceStatus, RecordBody, TaskRecord};
use super::semantics::PACED;
use crate::flow::plan::{Plan, Task, TaskId};
use crate::id::InstanceId;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Steps of one instance in one entry; then it yields, so that a loop without a wait cannot stall the group.
pub const INSTANCE_STEPS_MAX: u32 = 256;
/// Tasks of a token while its instance waits for nothing. More is a loop that nobody meant.
pub const TASKS_WITHOUT_WAIT_MAX: u32 = 50_000;
/// Steps of all instances in one entry: bounds how long one entry holds the log up.
pub const ENTRY_STEPS_MAX: u32 = 8192;
/// Events that come about inside one entry and go round in it; an `emit` past it waits for the next entry.
pub const ENTRY_EVENTS_MAX: u32 = 256;
/// Instances that events inside one entry start before the next `emit` waits for the next entry.
pub const ENTRY_STARTS_MAX: u32 = 256;
/// `run.workflow` below `run.workflow`.
pub const CHILD_DEPTH_MAX: u32 = 32;
/// Size of `$context`.
pub const CONTEXT_SIZE_MAX: usize = 256 * 1024;
/// Size of what a task takes or gives. Wider than a payload: a fork or a listen collects several.
pub const VALUE_SIZE_MAX: usize = 256 * 1024;
/// Size of arguments, requests and event data.
pub const PAYLOAD_SIZE_MAX: usize = 64 * 1024;
/// Running instances of one group: what they take in memory stays below a gibibyte.
pub const INSTANCES_MAX: usize = 200_000;

pub(super) struct Interpreter<'a, 's> {
    pub context: &'a mut Context<'s>,
    pub budgets: Budgets,
    /// Tokens that are ready in this entry.
    pub queue: VecDeque<(InstanceId, u32)>,
    /// Instances that an event of this entry started or woke.
    pub taken: BTreeSet<InstanceId>,
    steps: BTreeMap<InstanceId, u32>,
    steps_total: u32,
    pub events_total: u32,
    pub starts_total: u32,
}

/// A token in hand: out of its instance while it steps.
pub(super) struct Cursor {
    pub id: InstanceId,
    pub number: u32,
    pub token: Token,
    pub plan: Arc<Plan>,
}

/// What came of a step. Lives for one turn of the loop, on the stack.
#[allow(clippy::large_enum_variant)]
pub(super) enum Step {
    Go(Cursor, Next),
    /// Put back to wait, or gone with its instance.
    Parked,
}

impl<'a, 's> Interpreter<'a, 's> {
    pub fn new(context: &'a mut Context<'s>) -> Self {
        let semantics = context.state.semantics;
        Self {
            context,
            budgets: Budgets::for_entry(semantics),
            queue: VecDeque::new(),
            taken: BTreeSet::new(),
            steps: BTreeMap::new(),
            steps_total: 0,
            events_total: 0,
            starts_total: 0,
        }
    }

    /// Events inside this entry have gone far enough: what would send another waits for the next entry.
    pub fn events_are_spent(&self) -> bool {
        self.events_total >= ENTRY_EVENTS_MAX || self.starts_total >= ENTRY_STARTS_MAX
    }

    /// Works off answers, ready tokens and events of this entry until none is left.
    pub fn settle(&mut self) {
        loop {
            if let Some((owner, result)) = self.context.wakes.pop_front() {
                self.answer(&owner, result);
            } else if let Some((id, number)) = self.queue.pop_front() {
                self.run_token(&id, number);
            } else if let Some(event) = self.context.events.pop_front() {
                self.deliver(&event, true);
            } else {
                return;
            }
        }
    }

    /// An answer for a waiting owner; late where its generation has passed.
    fn answer(&mut self, owner: &Owner, result: Result<Value, Problem>) {
        let Owner::Token { instance, token: number, generation } = owner else { return };
        let next = match result {
            Ok(value) => Next::Done { value },
            Err(problem) => Next::Fail { problem: Box::new(problem), raised: false },
        };
        let waits = |token: &Token| token.generation == *generation && matches!(token.wait, Wait::External(_) | Wait::Child(_));
        if !self.resume(instance, *number, waits, next) {
            self.context.state.counters.late_completions += 1;
        }
    }

    /// Makes a waiting token ready. False where it does not wait so.
    pub fn resume(&mut self, id: &InstanceId, number: u32, waits: impl Fn(&Token) -> bool, next: Next) -> bool {
        let now = self.context.now;
        // Looked at first: a mutable borrow copies an instance that a snapshot holds.
        if !self.context.state.instances.get(id).and_then(|instance| instance.tokens.get(&number)).is_some_and(|token| waits(token)) {
            return false;
        }
        let Some(instance) = self.instance_mut(id) else { return false };
        let generation = instance.next_serial();
        if let Some(token) = instance.tokens.get_mut(&number) {
            token.generation = generation;
            token.wait = Wait::Ready(next);
            token.since = now;
        }
        self.queue.push_back((id.clone(), number));
        true
    }

    /// Steps a token until it waits.
    pub fn run_token(&mut self, id: &InstanceId, number: u32) {
        let ready = self.context.state.instances.get(id).is_some_and(|instance| {
            instance.status == InstanceStatus::Running
                && instance.tokens.get(&number).is_some_and(|token| matches!(token.wait, Wait::Ready(_)))
        });
        if !ready {
            return;
        }
        let Some(mut cursor) = self.take(id, number) else { return };
        loop {
            let next = match std::mem::replace(&mut cursor.token.wait, Wait::Join) {
                Wait::Ready(next) => next,
                other => {
                    cursor.token.wait = other;
                    return self.put(cursor);
                }
            };
            if !self.may_step(id) {
                self.context.state.ready.push((id.clone(), number));
                return self.park(cursor, Wait::Ready(next));
            }
            let waits = self.instance(id).map_or(0, |instance| instance.waits);
            let next = match next {
                // At a task: that is where an operator finds it, and tries again.
                Next::Run if self.is_paced() && !cursor.token.pace.step(waits, TASKS_WITHOUT_WAIT_MAX) => round_and_round(),
                next => next,
            };
            match self.step(cursor, next) {
                Step::Go(went, next) => {
                    cursor = went;
                    // A caught error may have moved control to the token of an outer fork.
                    if cursor.number != number {
                        let outer = cursor.number;
                        self.park(cursor, Wait::Ready(next));
                        self.queue.push_back((id.clone(), outer));
                        return;
                    }
                    cursor.token.wait = Wait::Ready(next);
                }
                Step::Parked => return,
            }
        }
    }

    /// Whether tasks without a wait are counted: replicas count from the same entry on.
    fn is_paced(&self) -> bool {
        self.context.state.semantics >= PACED
    }

    fn may_step(&mut self, id: &InstanceId) -> bool {
        let steps = self.steps.entry(id.clone()).or_default();
        if *steps >= INSTANCE_STEPS_MAX || self.steps_total >= ENTRY_STEPS_MAX || self.budgets.is_low() {
            return false;
        }
        *steps += 1;
        self.steps_total += 1;
        true
    }

    fn step(&mut self, cursor: Cursor, next: Next) -> Step {
        match next {
            Next::Enter { task, input } => self.enter(cursor, task, input),
            Next::Run => self.run(cursor),
            Next::Done { value } => self.done(cursor, value),
            Next::Return { value } => self.returned(cursor, value),
            Next::Fail { problem, raised } => self.fail(cursor, *problem, raised),
            Next::Listen => self.listen_pump(cursor),
        }
    }

    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.context.state.instances.get(id).map(|instance| &**instance)
    }

    pub fn instance_mut(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        self.context.state.instances.get_mut(id).map(Arc::make_mut)
    }

    /// Takes a token out of its instance. None where either, or the plan, is gone.
    pub fn take(&mut self, id: &InstanceId, number: u32) -> Option<Cursor> {
        let instance = self.context.state.instances.get_mut(id)?;
        let plan = self.context.state.plans.get(&instance.flow)?.clone();
        let token = Arc::make_mut(instance).tokens.remove(&number)?;
        Some(Cursor { id: id.clone(), number, token: *token, plan })
    }

    pub fn put(&mut self, cursor: Cursor) {
        let waits = matches!(cursor.token.wait, Wait::External(_) | Wait::Timer { .. } | Wait::Events | Wait::Incident { .. });
        let waits = waits && self.is_paced();
        if let Some(instance) = self.instance_mut(&cursor.id) {
            if waits {
                instance.waits = instance.waits.wrapping_add(1);
            }
            instance.tokens.insert(cursor.number, Box::new(cursor.token));
            instance.refresh_incident();
        }
    }

    /// Puts a token back to wait, with a generation of its own. Gives the owner that answers are for.
    pub fn park(&mut self, mut cursor: Cursor, wait: Wait) {
        cursor.token.wait = wait;
        cursor.token.frames.shrink_to_fit();
        cursor.token.since = self.context.now;
        self.put(cursor);
    }

    /// The owner under which the token in hand asks for something: a new generation.
    pub fn owner(&mut self, cursor: &mut Cursor) -> Owner {
        cursor.token.generation = self.serial(&cursor.id);
        Owner::Token { instance: cursor.id.clone(), token: cursor.number, generation: cursor.token.generation }
    }

    pub fn serial(&mut self, id: &InstanceId) -> u32 {
        self.instance_mut(id).map_or(0, Instance::next_serial)
    }

    /// One line of the instance's trace.
    pub fn trace(&mut self, cursor: &Cursor, what: &str, data: Value) {
        if let Some(frame) = cursor.token.top_task() {
            self.trace_frame(&cursor.id, frame.reference.clone(), frame.name.clone(), what, data);
        }
    }

    pub fn trace_frame(&mut self, id: &InstanceId, reference: Arc<str>, name: Arc<str>, what: &str, data: Value) {
        lifecycle::task(self, id, &reference, what, &data);
        self.context.record(RecordBody::Task(TaskRecord { instance: id.clone(), reference, name, what: what.into(), data }));
    }
}

impl Cursor {
    /// The task frame on top; `None` while a list is.
    pub fn top(&self) -> Option<&TaskFrame> {
        self.token.frames.last().and_then(Frame::task)
    }

    pub fn top_mut(&mut self) -> Option<&mut TaskFrame> {
        self.token.frames.last_mut().and_then(Frame::task_mut)
    }

    /// The plan's task of the frame on top, with that frame's input.
    pub fn task(&self) -> Option<(Arc<Plan>, TaskId, Value)> {
        let frame = self.top()?;
        Some((self.plan.clone(), frame.task, frame.input.clone()))
    }

    pub fn fail(self, problem: Problem) -> Step {
        Step::Go(self, Next::Fail { problem: Box::new(problem), raised: false })
    }

    /// For shapes that a sound plan and state never have: an error instead of a panic.
    pub fn broken(self, detail: &str) -> Step {
        self.fail(Problem::standard("runtime", 500, detail))
    }
}

/// Fails again at each step, so that no `try` inside the loop holds it up.
fn round_and_round() -> Next {
    let detail = format!("it goes round and round: {TASKS_WITHOUT_WAIT_MAX} tasks without waiting for anything once");
    Next::Fail { problem: Box::new(Problem::standard("runtime", 500, detail)), raised: false }
}

/// A task of the plan.
pub(super) fn task_of(plan: &Plan, id: TaskId) -> Option<&Task> {
    plan.tasks.get(usize::try_from(id).ok()?)
}

/// The tasks of a list.
pub(super) fn tasks_of(plan: &Plan, list: List) -> &[TaskId] {
    use crate::flow::plan::TaskKind as Kind;
    let kind = |task| task_of(plan, task).map(|task| &task.kind);
    let found = match list {
        List::Root => Some(&*plan.root),
        List::Do(task) => match kind(task) {
            Some(Kind::Do(body)) => Some(&**body),
            _ => None,
        },
        List::For(task) => match kind(task) {
            Some(Kind::For(each)) => Some(&*each.body),
            _ => None,
        },
        List::Try(task) => match kind(task) {
            Some(Kind::Try(attempt)) => Some(&*attempt.body),
            _ => None,
        },
        List::Catch(task) => match kind(task) {
            Some(Kind::Try(attempt)) => Some(&*attempt.catch.body),
            _ => None,
        },
        List::ForEach(task) => match kind(task) {
            Some(Kind::Listen(listen)) => listen.foreach.as_ref().map(|each| &*each.body),
            _ => None,
        },
        List::Branch { task, index } => match kind(task) {
            Some(Kind::Fork { branches, .. }) => branches.get(index as usize).map(std::slice::from_ref),
            _ => None,
        },
        List::Before(extension) => plan.extensions.get(extension as usize).map(|extension| &*extension.before),
        List::After(extension) => plan.extensions.get(extension as usize).map(|extension| &*extension.after),
    };
    found.unwrap_or_default()
}
