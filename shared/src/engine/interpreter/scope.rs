//! Around every task: input, `if`, timeout, extensions, output, export, and where control goes behind it.

use super::evaluate::{RAW_OUTPUT, limit, valid};
use super::{CONTEXT_SIZE_MAX, Cursor, Interpreter, Step, task_of, tasks_of};
use crate::engine::instance::{Branch, FRAMES_MAX, Frame, Guard, GuardKind, List, Next, TaskFrame, Wait, Work};
use crate::engine::lifecycle;
use crate::engine::problem::Problem;
use crate::engine::state::{Timer, TimerWhat};
use crate::engine::trace::shown;
use crate::flow::plan::{Call, ExportSpec, OutputSpec, Plan, Task, TaskKind, Then};
use crate::time::Timestamp;
use crate::value::Value;
use std::sync::Arc;

impl Interpreter<'_, '_> {
    /// A task begins: its frame, its input, whether it runs at all, its timeout.
    pub(super) fn enter(&mut self, mut cursor: Cursor, id: u32, raw_input: Value) -> Step {
        let plan = cursor.plan.clone();
        let Some(task) = task_of(&plan, id) else { return cursor.broken("the plan has no such task") };
        let too_deep = cursor.token.frames.len() >= FRAMES_MAX;
        cursor.token.frames.push(Frame::Task(Box::new(TaskFrame {
            task: id,
            reference: task.reference.clone(),
            name: task.name.clone(),
            input: raw_input.clone(),
            raw_input,
            started_at: self.context.now,
            guards: Vec::new(),
            extensions: Vec::new(),
            authorization: None,
            caller_input: None,
            case: None,
            work: Work::Nothing,
        })));
        if too_deep {
            return cursor.broken("tasks nest too deep");
        }
        lifecycle::task(self, &cursor.id, &task.reference, "created", &Value::Null);
        match self.prepare(&mut cursor, &plan, task) {
            Ok(true) => {
                let input = cursor.top().map(|frame| shown(&frame.input)).unwrap_or_default();
                self.trace(&cursor, "started", Value::object([("kind", Value::from(kind_name(&task.kind))), ("input", input)]));
                self.before(cursor, 0)
            }
            Ok(false) => {
                self.trace(&cursor, "skipped", Value::Null);
                let input = cursor.top().map(|frame| frame.raw_input.clone()).unwrap_or_default();
                cursor.token.frames.pop();
                self.leave(cursor, &Then::Continue, input)
            }
            Err(problem) => cursor.fail(problem),
        }
    }

    /// Input and `if`; false where the task is skipped.
    fn prepare(&mut self, cursor: &mut Cursor, plan: &Plan, task: &Task) -> Result<bool, Problem> {
        let raw = cursor.top().map(|frame| frame.raw_input.clone()).unwrap_or_default();
        valid(&raw, task.input.schema.as_ref(), "input")?;
        let input = match &task.input.from {
            Some(from) => self.fill(cursor, from, &raw, &[])?,
            None => raw,
        };
        limit(&input, super::VALUE_SIZE_MAX, "input")?;
        if let Some(frame) = cursor.top_mut() {
            frame.input = input.clone();
        }
        if let Some(condition) = &task.condition
            && !self.truth(cursor, condition, &input, &[])?
        {
            return Ok(false);
        }
        if let Some(timeout) = &task.timeout {
            let millis = self.duration(cursor, timeout, &input)?;
            self.guard(cursor, GuardKind::Task, millis);
        }
        if !plan.extensions.is_empty() && !self.in_extension(cursor) {
            let kind = kind_name(&task.kind);
            for (index, extension) in (0u32..).zip(&plan.extensions) {
                let composite = matches!(kind, "do" | "fork") && &*extension.extend == "composite";
                if *extension.extend != *kind && &*extension.extend != "all" && !composite {
                    continue;
                }
                let applies = match &extension.when {
                    Some(when) => self.truth(cursor, when, &input, &[])?,
                    None => true,
                };
                if applies && let Some(frame) = cursor.top_mut() {
                    frame.extensions.push(index);
                }
            }
        }
        Ok(true)
    }

    /// Starts a timeout for the frame on top.
    pub(in crate::engine) fn guard(&mut self, cursor: &mut Cursor, kind: GuardKind, millis: u64) {
        let guard = Guard { id: self.serial(&cursor.id), due: self.context.now.plus(millis), kind };
        self.context
            .state
            .timers
            .insert(Timer { due: guard.due, what: TimerWhat::Timeout { instance: cursor.id.clone(), guard: guard.id } });
        if let Some(frame) = cursor.top_mut() {
            // Few have more than one, and a vector's first step makes room for four.
            frame.guards.reserve_exact(1);
            frame.guards.push(guard);
        }
    }

    fn in_extension(&self, cursor: &Cursor) -> bool {
        let Some(instance) = self.instance(&cursor.id) else { return false };
        let mut token = &cursor.token;
        loop {
            if token.frames.iter().any(|frame| matches!(frame, Frame::List { list: List::Before(_) | List::After(_), .. })) {
                return true;
            }
            match token.parent.and_then(|branch| instance.tokens.get(&branch.token)) {
                Some(parent) => token = parent,
                None => return false,
            }
        }
    }

    /// The `before` tasks of the extension at place `at`, then the next; then the task itself.
    fn before(&mut self, mut cursor: Cursor, at: u32) -> Step {
        let plan = cursor.plan.clone();
        let Some(frame) = cursor.top_mut() else { return cursor.broken("no task before its extension") };
        for (at, extension) in (at..).zip(frame.extensions.get(at as usize..).unwrap_or_default()) {
            if !tasks_of(&plan, List::Before(*extension)).is_empty() {
                let (list, input) = (List::Before(*extension), frame.input.clone());
                frame.work = Work::Before(at);
                return self.walk(cursor, list, input);
            }
        }
        frame.work = Work::Nothing;
        Step::Go(cursor, Next::Run)
    }

    fn after(&mut self, mut cursor: Cursor, at: u32, output: Value) -> Step {
        let plan = cursor.plan.clone();
        let Some(frame) = cursor.top_mut() else { return cursor.broken("no task behind its extension") };
        for (at, extension) in (at..).zip(frame.extensions.get(at as usize..).unwrap_or_default()) {
            if !tasks_of(&plan, List::After(*extension)).is_empty() {
                let list = List::After(*extension);
                frame.work = Work::After { at, output: output.clone() };
                return self.walk(cursor, list, output);
            }
        }
        self.complete(cursor, output)
    }

    /// Runs the kind of the task on top.
    pub(super) fn run(&mut self, mut cursor: Cursor) -> Step {
        let Some((plan, id, mut input)) = cursor.task() else { return cursor.broken("no task to run") };
        let Some(task) = task_of(&plan, id) else { return cursor.broken("the plan has no such task") };
        if let Some(function) = &task.function
            && cursor.top().is_some_and(|frame| frame.caller_input.is_none())
        {
            input = match self.enter_function(&mut cursor, function, input) {
                Ok(input) => input,
                Err(problem) => return cursor.fail(problem),
            };
        }
        match &task.kind {
            TaskKind::Call(Call::Function { function, with }) => self.call_function(cursor, function, with, &input),
            TaskKind::Call(Call::Outside { function, with }) => self.call_outside(cursor, function, with, &input),
            TaskKind::Call(Call::Http(call)) => self.call_http(cursor, call, &input),
            TaskKind::Do(_) => self.walk(cursor, List::Do(id), input),
            TaskKind::Emit(template) => self.emit(cursor, template, &input),
            TaskKind::For(each) => self.for_begin(cursor, each, input),
            TaskKind::Fork { branches, .. } => self.fork(cursor, id, branches, input),
            TaskKind::Listen(listen) => self.listen_begin(cursor, listen, &input),
            TaskKind::Raise(error) => self.raise(cursor, error, &input),
            TaskKind::Run(run) => self.run_workflow(cursor, run, input),
            TaskKind::Set(template) => match self.fill(&cursor, template, &input, &[]) {
                Ok(value) => Step::Go(cursor, Next::Done { value }),
                Err(problem) => cursor.fail(problem),
            },
            TaskKind::Switch(cases) => self.switch(cursor, cases, input),
            TaskKind::Try(attempt) => self.try_begin(cursor, attempt),
            TaskKind::Wait(duration) => self.wait(cursor, duration, input),
        }
    }

    /// Begins a list above the frame on top.
    pub(in crate::engine) fn walk(&mut self, mut cursor: Cursor, list: List, input: Value) -> Step {
        let plan = cursor.plan.clone();
        match tasks_of(&plan, list).first() {
            Some(first) => {
                cursor.token.frames.push(Frame::List { list, index: 0 });
                Step::Go(cursor, Next::Enter { task: *first, input })
            }
            None => Step::Go(cursor, Next::Return { value: input }),
        }
    }

    /// The list above the task on top ended with `value`.
    pub(super) fn returned(&mut self, mut cursor: Cursor, value: Value) -> Step {
        let Some((plan, id, _)) = cursor.task() else { return cursor.broken("a list ended above no task") };
        match cursor.top().map(|frame| frame.work.clone()) {
            Some(Work::Before(at)) => return self.before(cursor, at.saturating_add(1)),
            Some(Work::After { at, output }) => return self.after(cursor, at.saturating_add(1), output),
            _ => {}
        }
        match task_of(&plan, id).map(|task| &task.kind) {
            Some(TaskKind::For(each)) => self.for_next(cursor, each, value),
            Some(TaskKind::Listen(listen)) => self.listen_body_ended(cursor, listen, &value),
            Some(TaskKind::Try(_)) => {
                self.drop_guards(&mut cursor, GuardKind::Attempt);
                Step::Go(cursor, Next::Done { value })
            }
            _ => Step::Go(cursor, Next::Done { value }),
        }
    }

    /// The task on top has its raw output.
    pub(super) fn done(&mut self, mut cursor: Cursor, value: Value) -> Step {
        if let Err(problem) = limit(&value, super::VALUE_SIZE_MAX, "output") {
            return cursor.fail(problem);
        }
        let value = match self.leave_function(&mut cursor, value) {
            Ok(value) => value,
            Err(problem) => return cursor.fail(problem),
        };
        if cursor.top().is_some_and(|frame| !frame.extensions.is_empty()) {
            return self.after(cursor, 0, value);
        }
        self.complete(cursor, value)
    }

    /// `output`, `export`, and on.
    fn complete(&mut self, mut cursor: Cursor, raw: Value) -> Step {
        let Some((plan, id, _)) = cursor.task() else { return cursor.broken("an output without its task") };
        let Some(task) = task_of(&plan, id) else { return cursor.broken("the plan has no such task") };
        let output = match self.transform(&cursor, &task.output, task.export.as_ref(), raw) {
            Ok(output) => output,
            Err(problem) => return cursor.fail(problem),
        };
        self.trace(&cursor, "completed", shown(&output));
        let then = match (&task.kind, cursor.top().and_then(|frame| frame.case)) {
            (TaskKind::Switch(cases), Some(case)) => cases.get(case as usize).map_or(&task.then, |case| &case.then),
            _ => &task.then,
        };
        let keep = cursor.token.frames.len().saturating_sub(1);
        self.drop_frames(&mut cursor, keep);
        self.leave(cursor, then, output)
    }

    /// `output.as`, its schema, and `export`.
    pub(in crate::engine) fn transform(
        &mut self,
        cursor: &Cursor,
        spec: &OutputSpec,
        export: Option<&ExportSpec>,
        raw: Value,
    ) -> Result<Value, Problem> {
        let output = match &spec.as_ {
            Some(template) => {
                let output = self.fill(cursor, template, &raw, &[("output", raw.clone()), (RAW_OUTPUT, raw.clone())])?;
                limit(&output, super::VALUE_SIZE_MAX, "output")?;
                output
            }
            None => raw.clone(),
        };
        if spec.schema.is_some() {
            valid(&output, spec.schema.as_ref(), "output")?;
        }
        if let Some(export) = export {
            let context = self.fill(cursor, &export.as_, &output, &[("output", output.clone()), (RAW_OUTPUT, raw)])?;
            limit(&context, CONTEXT_SIZE_MAX, "$context")?;
            valid(&context, export.schema.as_ref(), "export")?;
            if let Some(instance) = self.instance_mut(&cursor.id) {
                instance.context = context;
            }
        }
        Ok(output)
    }

    /// Control leaves a task of the list on top.
    pub(in crate::engine) fn leave(&mut self, mut cursor: Cursor, then: &Then, value: Value) -> Step {
        let plan = cursor.plan.clone();
        let Some(Frame::List { list, index }) = cursor.token.frames.last_mut() else {
            return cursor.broken("a task without its list");
        };
        let tasks = tasks_of(&plan, *list);
        if matches!((&then, &list), (Then::Exit, List::Before(_))) {
            // Before an extended task, `exit` leaves that task: what was given stands for its output, and it does not run.
            cursor.token.frames.pop();
            return self.complete(cursor, value);
        }
        let place = match then {
            Then::Continue => Some(index.saturating_add(1)),
            Then::Exit => None,
            Then::End => {
                self.complete_flow(cursor, value);
                return Step::Parked;
            }
            Then::Task(target) => match (0u32..).zip(tasks).find(|(_, task)| *task == target) {
                Some((place, _)) => Some(place),
                None => {
                    let detail = "`then` names a task outside of its list";
                    return cursor.fail(Problem::standard("configuration", 400, detail));
                }
            },
        };
        match place.and_then(|place| Some((place, *tasks.get(place as usize)?))) {
            Some((place, task)) => {
                *index = place;
                Step::Go(cursor, Next::Enter { task, input: value })
            }
            None => {
                cursor.token.frames.pop();
                if cursor.token.frames.is_empty() {
                    return self.token_ended(cursor, value);
                }
                Step::Go(cursor, Next::Return { value })
            }
        }
    }

    /// [`Self::leave`] from outside the stepping loop.
    pub(in crate::engine) fn leave_outside(&mut self, cursor: Cursor, then: &Then, value: Value) {
        if let Step::Go(cursor, next) = self.leave(cursor, then, value) {
            self.go(cursor, next);
        }
    }

    /// The last list of a token ended: the branch joins its fork, or the flow is done.
    fn token_ended(&mut self, cursor: Cursor, value: Value) -> Step {
        match cursor.token.parent {
            Some(Branch { token, index }) => self.join(cursor, token, index, value),
            None => self.complete_flow(cursor, value),
        }
        Step::Parked
    }

    /// When the nearest timeout around the token ends it.
    pub(in crate::engine) fn deadline(&self, cursor: &Cursor) -> Option<Timestamp> {
        let instance = self.instance(&cursor.id)?;
        let mut due = instance.timeout.map(|guard| guard.due);
        let mut token = &cursor.token;
        loop {
            let guards = token.frames.iter().filter_map(Frame::task).flat_map(|frame| &frame.guards);
            due = guards.map(|guard| guard.due).chain(due).min();
            match token.parent.and_then(|branch| instance.tokens.get(&branch.token)) {
                Some(parent) => token = parent,
                None => return due,
            }
        }
    }

    fn wait(&mut self, mut cursor: Cursor, duration: &crate::flow::plan::DurationSpec, input: Value) -> Step {
        match self.duration(&cursor, duration, &input) {
            Ok(millis) => {
                self.sleep(&mut cursor, millis, Next::Done { value: input });
                self.put(cursor);
                Step::Parked
            }
            Err(problem) => cursor.fail(problem),
        }
    }

    /// Sets the token to wait for a timer; the caller puts it back.
    pub(in crate::engine) fn sleep(&mut self, cursor: &mut Cursor, millis: u64, next: Next) {
        let due = self.context.now.plus(millis);
        cursor.token.generation = self.serial(&cursor.id);
        cursor.token.since = self.context.now;
        cursor.token.wait = Wait::Timer { due, next: Box::new(next) };
        let what = TimerWhat::Token { instance: cursor.id.clone(), token: cursor.number, generation: cursor.token.generation };
        self.context.state.timers.insert(Timer { due, what });
    }
}

/// The word that `extend` uses.
fn kind_name(kind: &TaskKind) -> &'static str {
    match kind {
        TaskKind::Call(_) => "call",
        TaskKind::Do(_) => "do",
        TaskKind::Emit(_) => "emit",
        TaskKind::For(_) => "for",
        TaskKind::Fork { .. } => "fork",
        TaskKind::Listen(_) => "listen",
        TaskKind::Raise(_) => "raise",
        TaskKind::Run(_) => "run",
        TaskKind::Set(_) => "set",
        TaskKind::Switch(_) => "switch",
        TaskKind::Try(_) => "try",
        TaskKind::Wait(_) => "wait",
    }
}

/// Text as it stands, anything else as JSON.
pub(in crate::engine) fn text_of(value: &Value) -> Arc<str> {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_json().into(),
    }
}
