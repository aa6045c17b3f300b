//! CloudEvents of the specification's life cycle, of flows and of their tasks: heard by flows that listen to them.
//!
//! Every task's step stands in the instance's trace. The cloud is told of instances, and of tasks that stand still: the steps of
//! every task would be most of what travels there.

use super::context::Context;
use super::instance::Instance;
use super::interpreter::{Cursor, Interpreter};
use super::outbox::{self, OutboxClass};
use super::problem::Problem;
use crate::event::Event;
use crate::flow::plan::FlowKey;
use crate::id::InstanceId;
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An output larger than this stays in history, bytes.
const OUTPUT_MAX: usize = 16 * 1024;

/// Types of the specification's life cycle begin so.
const PREFIX: &str = "io.serverlessworkflow.";

/// Whether an event of this type tells what a flow or a task does.
pub(crate) fn is(kind: &str) -> bool {
    kind.starts_with(PREFIX)
}

/// Numbers an event for the cloud. Those of life-safety flows go at once.
pub(super) fn publish(context: &mut Context, alarm: bool, event: Event) {
    let class = if alarm { OutboxClass::Alarm } else { OutboxClass::State };
    outbox::push(context, class, event);
}

/// `workflow.<word>.v1` of a running instance. `error`: what stopped it.
pub(super) fn workflow(interpreter: &mut Interpreter, id: &InstanceId, word: &str, error: Value) {
    let Some(instance) = interpreter.instance(id) else { return };
    let (flow, mut data) = (instance.flow.clone(), describe(instance));
    if !error.is_null() {
        data.push(("error", error));
    }
    workflow_event(interpreter, &flow, id, word, data, false);
}

/// `workflow.completed|faulted|cancelled.v1` of an instance that is out of the state already.
pub(super) fn ended(interpreter: &mut Interpreter, instance: &Instance, word: &str, output: &Value, error: Option<Value>) {
    let mut data = describe(instance);
    if word == "completed" && output.size() <= OUTPUT_MAX {
        data.push(("output", output.clone()));
    }
    let faulted = error.is_some();
    if let Some(error) = error {
        data.push(("error", error));
    }
    workflow_event(interpreter, &instance.flow, &instance.id, word, data, faulted);
}

/// What the cloud hears of a task that stands still until an operator decides. Flows heard of it when it failed.
pub(super) fn task_stands(interpreter: &mut Interpreter, cursor: &Cursor, problem: &Problem) {
    let Some(instance) = interpreter.instance(&cursor.id) else { return };
    let (flow, mut data) = (instance.flow.clone(), describe(instance));
    if let Some(frame) = cursor.token.top_task() {
        data.push(("task", Value::String(frame.reference.clone())));
    }
    data.push(("faultedAt", Value::from(interpreter.context.now.to_rfc3339())));
    data.push(("error", problem.to_value()));
    let event = event_of(interpreter.context, &flow, &cursor.id, "io.serverlessworkflow.task.faulted.v1", Value::object(data));
    publish(interpreter.context, true, event);
}

/// One step of a task, for flows that listen to it; `what` and `data` as in its trace.
pub(super) fn task(interpreter: &mut Interpreter, id: &InstanceId, reference: &Arc<str>, what: &str, data: &Value) {
    let Some((kind, at)) = task_kind(what) else { return };
    if !interpreter.context.state.interests.hears_type(kind) {
        return;
    }
    if interpreter.events_are_spent() {
        interpreter.context.state.counters.lapsed_events += 1;
        return;
    }
    let Some(instance) = interpreter.instance(id) else { return };
    let flow = instance.flow.clone();
    let mut fields = vec![
        ("workflow", Value::from(qualified_name(instance))),
        ("task", Value::String(reference.clone())),
        (at, Value::from(interpreter.context.now.to_rfc3339())),
    ];
    match what {
        "completed" if !data.is_null() => fields.push(("output", data.clone())),
        "faulted" | "retrying" if !data.is_null() => fields.push(("error", data.clone())),
        _ => {}
    }
    let event = event_of(interpreter.context, &flow, id, kind, Value::object(fields));
    interpreter.events_total += 1;
    interpreter.context.events.push_back(event);
}

/// The event that a word of the trace stands for, and the field that says when. A skipped task was created and never started.
fn task_kind(what: &str) -> Option<(&'static str, &'static str)> {
    Some(match what {
        "created" => ("io.serverlessworkflow.task.created.v1", "createdAt"),
        "started" => ("io.serverlessworkflow.task.started.v1", "startedAt"),
        "suspended" => ("io.serverlessworkflow.task.suspended.v1", "suspendedAt"),
        "resumed" => ("io.serverlessworkflow.task.resumed.v1", "resumedAt"),
        "retrying" => ("io.serverlessworkflow.task.retried.v1", "retriedAt"),
        "cancelled" => ("io.serverlessworkflow.task.cancelled.v1", "cancelledAt"),
        "faulted" => ("io.serverlessworkflow.task.faulted.v1", "faultedAt"),
        "completed" => ("io.serverlessworkflow.task.completed.v1", "completedAt"),
        _ => return None,
    })
}

fn qualified_name(instance: &Instance) -> String {
    format!("{}.{}", instance.id, instance.flow.namespace)
}

fn describe(instance: &Instance) -> Vec<(&'static str, Value)> {
    let flow = &instance.flow;
    let definition = [("namespace", &flow.namespace), ("name", &flow.name), ("version", &flow.version)];
    let mut data = vec![
        ("name", Value::from(qualified_name(instance))),
        ("definition", Value::object(definition.map(|(name, text)| (name, Value::String(text.clone()))))),
        ("startedAt", Value::from(instance.started_at.to_rfc3339())),
    ];
    if let Some(key) = &instance.business_key {
        data.push(("businessKey", Value::String(key.clone())));
    }
    data
}

fn workflow_event(
    interpreter: &mut Interpreter,
    flow: &FlowKey,
    id: &InstanceId,
    word: &str,
    data: Vec<(&'static str, Value)>,
    trouble: bool,
) {
    let at = format!("{word}At");
    let when = (&*at, Value::from(interpreter.context.now.to_rfc3339()));
    let data: Vec<(&str, Value)> = data.into_iter().chain([when]).collect();
    let life_safety = interpreter.context.state.plans.get(flow).is_some_and(|plan| plan.life_safety);
    let event = event_of(interpreter.context, flow, id, &format!("io.serverlessworkflow.workflow.{word}.v1"), Value::object(data));
    publish(interpreter.context, trouble || life_safety, event.clone());
    // Flows that start by the life cycle of flows could feed each other for ever: past the bound only the cloud hears of it.
    if !interpreter.events_are_spent() && interpreter.context.state.interests.hears_type(&event.kind) {
        interpreter.events_total += 1;
        interpreter.context.events.push_back(event);
    }
}

fn event_of(context: &mut Context, flow: &FlowKey, id: &InstanceId, kind: &str, data: Value) -> Event {
    Event {
        id: context.new_id("lifecycle").into(),
        source: format!("/flows/{}/{}/{id}", flow.namespace, flow.name).into(),
        kind: kind.into(),
        subject: Some(id.as_str().into()),
        time: context.now,
        data,
        extensions: BTreeMap::new(),
    }
}
