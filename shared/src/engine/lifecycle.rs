//! CloudEvents of the specification's life cycle: numbered for the cloud, and heard by flows that listen to them.
//!
//! Every task's step stands in the instance's trace; the cloud is told of instances, and of tasks that stand still.

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

const TYPE_BASE: &str = "io.serverlessworkflow.";
/// An output larger than this stays in history, bytes.
const OUTPUT_MAX: usize = 16 * 1024;

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
    send(interpreter, &flow, id, &format!("workflow.{word}.v1"), data, false);
}

/// `workflow.completed|faulted|cancelled.v1` of an instance that is out of the state already.
pub(super) fn ended(interpreter: &mut Interpreter, instance: &Instance, word: &str, output: &Value, error: Option<Value>) {
    let mut data = describe(instance);
    data.push(("endedAt", Value::from(interpreter.context.now.to_rfc3339())));
    if word == "completed" && output.size() <= OUTPUT_MAX {
        data.push(("output", output.clone()));
    }
    let faulted = error.is_some();
    if let Some(error) = error {
        data.push(("error", error));
    }
    send(interpreter, &instance.flow, &instance.id, &format!("workflow.{word}.v1"), data, faulted);
}

/// `task.faulted.v1`: a task stands still until an operator decides.
pub(super) fn task_faulted(interpreter: &mut Interpreter, cursor: &Cursor, problem: &Problem) {
    let Some(instance) = interpreter.instance(&cursor.id) else { return };
    let (flow, mut data) = (instance.flow.clone(), describe(instance));
    if let Some(frame) = cursor.token.top_task() {
        data.push(("task", Value::String(frame.reference.clone())));
    }
    data.push(("error", problem.to_value()));
    send(interpreter, &flow, &cursor.id, "task.faulted.v1", data, true);
}

fn describe(instance: &Instance) -> Vec<(&'static str, Value)> {
    let flow = &instance.flow;
    let definition = [("namespace", &flow.namespace), ("name", &flow.name), ("version", &flow.version)];
    let mut data = vec![
        ("name", Value::from(format!("{}.{}", instance.id, flow.namespace))),
        ("definition", Value::object(definition.map(|(name, text)| (name, Value::String(text.clone()))))),
        ("startedAt", Value::from(instance.started_at.to_rfc3339())),
    ];
    if let Some(key) = &instance.business_key {
        data.push(("businessKey", Value::String(key.clone())));
    }
    data
}

fn send(interpreter: &mut Interpreter, flow: &FlowKey, id: &InstanceId, word: &str, data: Vec<(&'static str, Value)>, trouble: bool) {
    let life_safety = interpreter.context.state.plans.get(flow).is_some_and(|plan| plan.life_safety);
    let event = Event {
        id: interpreter.context.new_id("lifecycle").into(),
        source: format!("/flows/{}/{}/{id}", flow.namespace, flow.name).into(),
        kind: format!("{TYPE_BASE}{word}").into(),
        subject: Some(id.as_str().into()),
        time: interpreter.context.now,
        data: Value::object(data),
        extensions: BTreeMap::new(),
    };
    publish(interpreter.context, trouble || life_safety, event.clone());
    // Flows that start by the life cycle of flows could feed each other for ever: past the bound only the cloud hears of it.
    if !interpreter.events_are_spent() && interpreter.context.state.interests.hears_type(&event.kind) {
        interpreter.events_total += 1;
        interpreter.context.events.push_back(event);
    }
}
