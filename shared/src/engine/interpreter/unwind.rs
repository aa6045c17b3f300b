//! Errors on their way to who catches them, and everything that is left behind on the way.

use super::{Cursor, Interpreter, Step, task_of};
use crate::engine::effect::Owner;
use crate::engine::function;
use crate::engine::instance::{Frame, Guard, GuardKind, Next, TaskFrame, Wait, Work};
use crate::engine::lifecycle;
use crate::engine::problem::Problem;
use crate::engine::record::InstanceStatus;
use crate::engine::retry;
use crate::engine::state::{Timer, TimerWhat};
use crate::flow::plan::TaskKind;
use crate::id::{Actor, InstanceId};
use crate::value::Value;

/// A `try` that takes an error: (token, place of its frame).
struct Catcher {
    token: u32,
    frame: usize,
}

impl Interpreter<'_, '_> {
    /// The task on top failed. Caught: control moves to the `try`. Else a raised error faults the instance,
    /// any other stands as an incident at its task.
    pub(super) fn fail(&mut self, mut cursor: Cursor, mut problem: Problem, raised: bool) -> Step {
        if problem.instance.is_none() {
            problem.instance = cursor.token.top_task().map(|frame| frame.reference.clone());
        }
        self.trace(&cursor, "faulted", problem.to_value());
        let below = cursor.token.frames.len().saturating_sub(1);
        match self.catcher(&cursor, below, &problem) {
            Some(catcher) => {
                // It has said that it failed; those around it have not.
                self.drop_frames(&mut cursor, below);
                self.unwind(cursor, &catcher, &problem, raised)
            }
            None if raised || cursor.plan.unattended => {
                let id = cursor.id.clone();
                self.drop_frames(&mut cursor, below);
                self.leave_frames(&mut cursor, 0, "faulted", &problem.to_value());
                let mut around = cursor.token.parent;
                self.put(cursor);
                while let Some(mut outer) = around.and_then(|branch| self.take(&id, branch.token)) {
                    self.leave_frames(&mut outer, 0, "faulted", &problem.to_value());
                    around = outer.token.parent;
                    self.put(outer);
                }
                self.end_instance(&id, InstanceStatus::Faulted, Value::Null, Some(problem));
                Step::Parked
            }
            None => {
                self.incident(cursor, problem);
                Step::Parked
            }
        }
    }

    fn incident(&mut self, cursor: Cursor, problem: Problem) {
        self.trace(&cursor, "incident", problem.to_value());
        let (id, subject) = (cursor.id.clone(), format!("{}{}", cursor.id, problem.instance.as_deref().unwrap_or_default()));
        self.context.audit(Actor::flow(&id), "instance.incident", subject, problem.to_value());
        lifecycle::task_stands(self, &cursor, &problem);
        let at = self.context.now;
        self.park(cursor, Wait::Incident { at, problem: Box::new(problem) });
    }

    /// The innermost `try` around the first `below` frames of the token in hand that takes `problem`.
    fn catcher(&mut self, cursor: &Cursor, below: usize, problem: &Problem) -> Option<Catcher> {
        let mut number = cursor.number;
        let mut token = cursor.token.clone();
        token.frames.truncate(below);
        loop {
            // Scope of a handler: its token, up to its own frame.
            while let Some(top) = token.frames.last() {
                let tries = top.task().is_some_and(|frame| matches!(frame.work, Work::Try { caught: None, .. }));
                if tries {
                    let scope = Cursor { id: cursor.id.clone(), number, token: token.clone(), plan: cursor.plan.clone() };
                    if retry::takes(self, &scope, problem) {
                        return Some(Catcher { token: number, frame: token.frames.len() - 1 });
                    }
                }
                token.frames.pop();
            }
            number = token.parent?.token;
            token = (**self.instance(&cursor.id)?.tokens.get(&number)?).clone();
        }
    }

    fn unwind(&mut self, mut cursor: Cursor, catcher: &Catcher, problem: &Problem, raised: bool) -> Step {
        if cursor.number != catcher.token {
            // The handler is outside of a fork: its branches go, this one with them.
            let id = cursor.id.clone();
            self.leave_frames(&mut cursor, 0, "faulted", &problem.to_value());
            self.put(cursor);
            let Some(outer) = self.take(&id, catcher.token) else { return Step::Parked };
            cursor = outer;
        }
        self.leave_frames(&mut cursor, catcher.frame.saturating_add(1), "faulted", &problem.to_value());
        cursor.token.generation = self.serial(&cursor.id);
        self.drop_guards(&mut cursor, GuardKind::Attempt);
        retry::caught(self, cursor, problem, raised)
    }

    /// A timeout of a task frame came due.
    pub(in crate::engine) fn timed_out(&mut self, id: &InstanceId, guard: u32) {
        let Some(instance) = self.instance(id) else { return };
        if instance.timeout.is_some_and(|flow| flow.id == guard) {
            let problem = Problem::timeout("the flow took too long").at("/timeout");
            return self.end_instance(id, InstanceStatus::Faulted, Value::Null, Some(problem));
        }
        let holds = |frame: &TaskFrame| frame.guards.iter().any(|known| known.id == guard);
        let found = instance.tokens.iter().find_map(|(number, token)| {
            let place = token.frames.iter().position(|frame| frame.task().is_some_and(holds))?;
            Some((*number, place))
        });
        let Some((number, place)) = found else { return };
        if instance.status == InstanceStatus::Suspended {
            if let Some(instance) = self.instance_mut(id) {
                instance.held_guards.push(guard);
            }
            return;
        }
        let Some(mut cursor) = self.take(id, number) else { return };
        let kind = cursor
            .token
            .frames
            .get(place)
            .and_then(Frame::task)
            .and_then(|frame| frame.guards.iter().find(|known| known.id == guard))
            .map(|guard| guard.kind);
        self.abandon_wait(&cursor);
        self.leave_frames(&mut cursor, place.saturating_add(1), "cancelled", &Value::Null);
        cursor.token.generation = self.serial(id);
        let step = if kind == Some(GuardKind::Attempt) {
            self.drop_guards(&mut cursor, GuardKind::Attempt);
            let problem =
                Problem { instance: cursor.top().map(|frame| frame.reference.clone()), ..Problem::timeout("the attempt took too long") };
            // The attempt failed inside of its own `try`, which may take it.
            match self.catcher(&cursor, place.saturating_add(1), &problem) {
                Some(catcher) => self.unwind(cursor, &catcher, &problem, false),
                None => cursor.fail(problem),
            }
        } else {
            cursor.fail(Problem::timeout("the task took too long"))
        };
        if let Step::Go(cursor, next) = step {
            self.go(cursor, next);
        }
    }

    /// Gives up what the token in hand waits for.
    pub(in crate::engine) fn abandon_wait(&mut self, cursor: &Cursor) {
        let owner = Owner::Token { instance: cursor.id.clone(), token: cursor.number, generation: cursor.token.generation };
        match &cursor.token.wait {
            Wait::External(_) => function::withdraw(self.context, &owner),
            Wait::Timer { due, .. } => {
                let what = TimerWhat::Token { instance: cursor.id.clone(), token: cursor.number, generation: cursor.token.generation };
                self.context.state.timers.remove(&Timer { due: *due, what });
            }
            Wait::Child(child) => {
                // Nobody waits for its answer any more.
                if let Some(instance) = self.instance_mut(child) {
                    instance.parent = None;
                }
                self.end_instance(child, InstanceStatus::Cancelled, Value::Null, None);
            }
            Wait::Ready(_) | Wait::Events | Wait::Join | Wait::Incident { .. } => {}
        }
    }

    /// Drops the frames from place `keep` on, with their timeouts, subscriptions and branches.
    pub(in crate::engine) fn drop_frames(&mut self, cursor: &mut Cursor, keep: usize) {
        while cursor.token.frames.len() > keep {
            let Some(Frame::Task(frame)) = cursor.token.frames.pop() else { continue };
            for guard in &frame.guards {
                self.drop_timeout(&cursor.id, guard);
            }
            match &frame.work {
                Work::Listen(listening) => {
                    let plan = cursor.plan.clone();
                    if let Some(TaskKind::Listen(listen)) = task_of(&plan, frame.task).map(|task| &task.kind) {
                        self.unsubscribe(&cursor.id, cursor.number, listen, listening);
                    }
                }
                Work::Fork(_) => self.cancel_branches(&cursor.id, cursor.number),
                _ => {}
            }
        }
    }

    /// [`Self::drop_frames`] for tasks that have begun and not said how they ended: each says `what` in the trace, innermost first.
    pub(in crate::engine) fn leave_frames(&mut self, cursor: &mut Cursor, keep: usize, what: &str, data: &Value) {
        while cursor.token.frames.len() > keep {
            if matches!(cursor.token.frames.last(), Some(Frame::Task(_))) {
                self.trace(cursor, what, data.clone());
            }
            let next = cursor.token.frames.len().saturating_sub(1);
            self.drop_frames(cursor, next);
        }
    }

    /// Ends the timeouts of `kind` on the frame on top.
    pub(in crate::engine) fn drop_guards(&mut self, cursor: &mut Cursor, kind: GuardKind) {
        let Some(frame) = cursor.top_mut() else { return };
        let (gone, kept) = frame.guards.iter().partition(|guard| guard.kind == kind);
        frame.guards = kept;
        let gone: Vec<Guard> = gone;
        for guard in &gone {
            self.drop_timeout(&cursor.id, guard);
        }
    }

    pub(super) fn drop_timeout(&mut self, id: &InstanceId, guard: &Guard) {
        let what = TimerWhat::Timeout { instance: id.clone(), guard: guard.id };
        self.context.state.timers.remove(&Timer { due: guard.due, what });
    }

    /// Ends the branches below a token, and theirs. The recursion is as deep as forks nest in the document.
    pub(in crate::engine) fn cancel_branches(&mut self, id: &InstanceId, parent: u32) {
        let Some(instance) = self.instance(id) else { return };
        let below = instance.tokens.iter().filter(|(_, token)| token.parent.is_some_and(|branch| branch.token == parent));
        let numbers: Vec<u32> = below.map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(mut cursor) = self.take(id, number) {
                self.abandon_wait(&cursor);
                self.leave_frames(&mut cursor, 0, "cancelled", &Value::Null);
            }
        }
    }

    /// Goes on with the token in hand from outside the stepping loop.
    pub(in crate::engine) fn go(&mut self, cursor: Cursor, next: Next) {
        let (id, number) = (cursor.id.clone(), cursor.number);
        self.park(cursor, Wait::Ready(next));
        self.queue.push_back((id, number));
    }
}
