//! Beginning and end of an instance.

use super::evaluate::{limit, valid};
use super::{Cursor, INSTANCES_MAX, Interpreter, VALUE_SIZE_MAX, static_value, tasks_of};
use crate::engine::command::Rejection;
use crate::engine::effect::Owner;
use crate::engine::effect_end;
use crate::engine::function;
use crate::engine::instance::{Frame, Guard, GuardKind, Instance, List, Next, Pace, Token, Wait};
use crate::engine::lifecycle;
use crate::engine::problem::Problem;
use crate::engine::record::{InstanceStatus, RecordBody};
use crate::engine::schedule;
use crate::engine::state::{Timer, TimerWhat};
use crate::expression::Expression;
use crate::flow::plan::{FlowKey, Plan, Template};
use crate::id::{Actor, InstanceId};
use crate::small_map::SmallMap;
use crate::value::Value;
use std::sync::Arc;

/// What begins an instance.
pub(in crate::engine) struct Begin {
    pub flow: FlowKey,
    pub input: Value,
    pub by: Actor,
    pub parent: Option<Owner>,
    pub depth: u32,
    /// None: from this entry on.
    pub events_from: Option<u64>,
    /// Another group asked for it long ago, while nobody could be told.
    pub late: bool,
}

impl Interpreter<'_, '_> {
    /// Starts an instance; its first token is queued. Refused: `not-found`, `limit`, `invalid` (its input), `conflict` (singleton).
    pub fn begin(&mut self, begin: Begin) -> Result<InstanceId, Rejection> {
        let Some(plan) = self.context.state.plans.get(&begin.flow).cloned() else {
            return Err(Rejection::new("not-found", format!("no flow {} is deployed", begin.flow)));
        };
        if self.context.state.instances.len() >= INSTANCES_MAX {
            return Err(Rejection::new("limit", format!("{INSTANCES_MAX} instances run already")));
        }
        let refuse = |problem: Problem| Rejection::new("invalid", problem.detail.as_deref().unwrap_or(&problem.title));
        valid(&begin.input, plan.input.schema.as_ref(), "input").map_err(refuse)?;
        let id = InstanceId::from(self.context.new_id("instance"));
        let input = self.flow_input(&plan, &begin, &id).map_err(refuse)?;
        let business_key = self.key(&plan, plan.business_key.as_ref(), &input, &id).map_err(refuse)?;
        let singleton = self.key(&plan, plan.singleton.as_ref(), &input, &id).map_err(refuse)?;
        if let Some(key) = &singleton
            && let Some(running) = self.context.state.index.singleton(&begin.flow, key)
        {
            return Err(Rejection::new("conflict", format!("{} runs already for `{key}` as {running}", begin.flow)));
        }
        let now = self.context.now;
        let mut instance = Instance {
            id: id.clone(),
            flow: begin.flow.clone(),
            status: InstanceStatus::Running,
            started_at: now,
            started_by: begin.by.clone(),
            business_key: business_key.clone(),
            input: input.clone(),
            raw_input: plan.input.from.is_some().then(|| begin.input.clone()),
            context: Value::empty_object(),
            incident: None,
            parent: begin.parent.map(Box::new),
            depth: begin.depth,
            events_from: begin.events_from.unwrap_or(self.context.index),
            singleton,
            timeout: None,
            tokens: SmallMap::default(),
            serial: 0,
            held_guards: Vec::new(),
            waits: 0,
            late: begin.late,
        };
        let number = instance.next_serial();
        let generation = instance.next_serial();
        let first = tasks_of(&plan, List::Root).first().copied();
        let (frames, next) = match first {
            Some(task) => (vec![Frame::List { list: List::Root, index: 0 }], Next::Enter { task, input: input.clone() }),
            None => return Err(Rejection::new("invalid", format!("{} has no task", begin.flow))),
        };
        instance.tokens.insert(
            number,
            Box::new(Token { generation, parent: None, frames, wait: Wait::Ready(next), since: now, pace: Pace::default() }),
        );
        self.context.state.index.run(&instance);
        self.context.state.instances.insert(id.clone(), Arc::new(instance));
        self.flow_timeout(&plan, &id, number, &input).map_err(|problem| {
            if let Some(instance) = self.context.state.instances.remove(&id) {
                self.context.state.index.end(&instance);
            }
            refuse(problem)
        })?;
        self.context.state.counters.started += 1;
        self.context.record(RecordBody::InstanceStarted {
            instance: id.clone(),
            flow: begin.flow.clone(),
            business_key,
            input,
            by: begin.by.clone(),
        });
        self.context.audit(begin.by, "instance.started", id.as_str(), Value::object([("flow", Value::from(begin.flow.to_string()))]));
        lifecycle::workflow(self, &id, "started", Value::Null);
        self.queue.push_back((id.clone(), number));
        Ok(id)
    }

    fn flow_input(&mut self, plan: &Plan, begin: &Begin, id: &InstanceId) -> Result<Value, Problem> {
        let Some(from) = &plan.input.from else { return Ok(begin.input.clone()) };
        let input = self.fill_static(plan, from, &begin.input, id)?;
        limit(&input, VALUE_SIZE_MAX, "input")?;
        Ok(input)
    }

    /// A template of the flow itself, before there is a token.
    fn fill_static(&mut self, plan: &Plan, template: &Template, input: &Value, id: &InstanceId) -> Result<Value, Problem> {
        Ok(match template {
            Template::Literal(value) => value.clone(),
            Template::Expression(expression) => {
                let variables = self.flow_variables(plan, input, id);
                static_value(&mut self.budgets, expression, input, &borrowed(&variables))?
            }
            Template::Array(items) => {
                Value::array(items.iter().map(|item| self.fill_static(plan, item, input, id)).collect::<Result<_, _>>()?)
            }
            Template::Object(fields) => {
                let filled: Vec<(&Arc<str>, Value)> = fields
                    .iter()
                    .map(|(key, field)| Ok((key, self.fill_static(plan, field, input, id)?)))
                    .collect::<Result<_, Problem>>()?;
                Value::object(filled)
            }
        })
    }

    fn flow_variables(&self, plan: &Plan, input: &Value, id: &InstanceId) -> Vec<(&'static str, Value)> {
        let workflow = super::evaluate::workflow(self.context.state, &plan.key, id, input, self.context.now);
        let secrets = Value::object(plan.secrets.iter().map(|name| (name, Value::from(format!("secret:{name}")))));
        vec![
            ("input", input.clone()),
            ("workflow", workflow),
            ("context", Value::empty_object()),
            ("secrets", secrets),
            ("runtime", super::evaluate::runtime(self.context.state.semantics)),
        ]
    }

    /// A key expression: text as it is, null for none, anything else as JSON.
    fn key(&mut self, plan: &Plan, expression: Option<&Expression>, input: &Value, id: &InstanceId) -> Result<Option<Arc<str>>, Problem> {
        let Some(expression) = expression else { return Ok(None) };
        let variables = self.flow_variables(plan, input, id);
        let value = static_value(&mut self.budgets, expression, input, &borrowed(&variables))?;
        limit(&value, 256, "key")?;
        Ok(match value {
            Value::Null => None,
            value => Some(super::scope::text_of(&value)),
        })
    }

    fn flow_timeout(&mut self, plan: &Plan, id: &InstanceId, number: u32, input: &Value) -> Result<(), Problem> {
        let Some(timeout) = &plan.timeout else { return Ok(()) };
        let Some(cursor) = self.take(id, number) else { return Ok(()) };
        let millis = self.duration(&cursor, timeout, input);
        self.put(cursor);
        let guard = Guard { id: self.serial(id), due: self.context.now.plus(millis?), kind: GuardKind::Flow };
        self.context.state.timers.insert(Timer { due: guard.due, what: TimerWhat::Timeout { instance: id.clone(), guard: guard.id } });
        if let Some(instance) = self.instance_mut(id) {
            instance.timeout = Some(guard);
        }
        Ok(())
    }

    /// The flow came to its end with `raw`; an `output` that fails faults it, for no task stands there any more.
    pub(super) fn complete_flow(&mut self, mut cursor: Cursor, raw: Value) {
        let plan = cursor.plan.clone();
        // Whatever stands around an `end` has done its part.
        self.leave_frames(&mut cursor, 0, "completed", &Value::Null);
        let output = self.transform(&cursor, &plan.output, None, raw);
        let id = cursor.id.clone();
        self.put(cursor);
        match output {
            Ok(output) => self.end_instance(&id, InstanceStatus::Completed, output, None),
            Err(problem) => self.end_instance(&id, InstanceStatus::Faulted, Value::Null, Some(problem.at("/output"))),
        }
    }

    /// Ends an instance in a terminal state: everything it waits for and owns is given back, and it leaves the state.
    /// Ends awaited children with it: the recursion is bounded by `CHILD_DEPTH_MAX`.
    pub fn end_instance(&mut self, id: &InstanceId, status: InstanceStatus, output: Value, problem: Option<Problem>) {
        let Some(instance) = self.instance(id) else { return };
        let numbers: Vec<u32> = instance.tokens.keys().copied().collect();
        for number in numbers {
            if let Some(mut cursor) = self.take(id, number) {
                self.abandon_wait(&cursor);
                self.leave_frames(&mut cursor, 0, "cancelled", &Value::Null);
            }
        }
        function::release_instance(self.context, id);
        let Some(instance) = self.context.state.instances.remove(id) else { return };
        self.context.state.index.end(&instance);
        if let Some(guard) = &instance.timeout {
            self.drop_timeout(id, guard);
        }
        let counters = &mut self.context.state.counters;
        let (word, count) = match status {
            InstanceStatus::Faulted => ("faulted", &mut counters.faulted),
            InstanceStatus::Cancelled => ("cancelled", &mut counters.cancelled),
            InstanceStatus::Completed | InstanceStatus::Running | InstanceStatus::Suspended => ("completed", &mut counters.completed),
        };
        *count += 1;
        let shown = problem.as_ref().map(Problem::to_value);
        self.context.record(RecordBody::InstanceEnded { instance: id.clone(), status, output: output.clone(), problem: shown.clone() });
        self.context.audit(Actor::flow(id), &format!("instance.{word}"), id.as_str(), shown.clone().unwrap_or_default());
        lifecycle::ended(self, &instance, word, &output, shown);
        if let Some(parent) = instance.parent.clone() {
            let result = match (status, problem) {
                (InstanceStatus::Completed, _) => Ok(output),
                (_, Some(problem)) => Err(problem),
                (_, None) => Err(Problem::own("cancelled", 409, format!("{} {id} was cancelled", instance.flow))),
            };
            // What the sub-flow waited for, the one that called it waited for as well.
            if instance.waits > 0
                && let Some(caller) = parent.instance().and_then(|caller| self.instance_mut(caller))
            {
                caller.waits = caller.waits.wrapping_add(1);
            }
            effect_end::answer(self.context, *parent, result);
        }
        schedule::instance_ended(self.context, &instance);
    }
}

fn borrowed<'a>(variables: &'a [(&'static str, Value)]) -> Vec<(&'a str, Value)> {
    variables.iter().map(|(name, value)| (*name, value.clone())).collect()
}
