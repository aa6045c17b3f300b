//! Lines of an instance's trace that say who or what acted: people, devices, gateways, events, operators.
//! Never more of a value than people read.

use super::context::Context;
use super::effect::Owner;
use super::instance::{Frame, TaskFrame};
use super::problem::Problem;
use super::record::{RecordBody, TaskRecord};
use crate::id::{Actor, InstanceId};
use crate::value::Value;
use std::sync::Arc;

/// Size of a value in a trace line, bytes: a larger one is of use to a program, which finds it elsewhere.
pub const VALUE_SIZE_MAX: usize = 2048;

/// The value, or how large it is.
pub(super) fn shown(value: &Value) -> Value {
    let size = value.size();
    if size <= VALUE_SIZE_MAX {
        return value.clone();
    }
    Value::object([("spalla/leftOut", Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))])
}

/// Whoever was asked has answered the token that owns an effect or a work item. `from`: a device, an address, a choice.
pub(super) fn answered(context: &mut Context, owner: &Owner, by: &Actor, from: &str, problem: Option<&Problem>) {
    let (Owner::Token { instance, token, generation } | Owner::Member { instance, token, generation, .. }) = owner else { return };
    let Some(standing) = context.state.instances.get(instance).and_then(|instance| instance.tokens.get(token)) else { return };
    let Some(frame) = standing.top_task().filter(|_| standing.generation == *generation) else { return };
    let (reference, name) = place(frame);
    let mut data = vec![("by", Value::from(by.as_str())), ("from", Value::from(from))];
    data.extend(problem.map(|problem| ("problem", Value::String(problem.title.clone()))));
    record(context, instance, reference, name, "answered", Value::object(data));
}

/// The listening frame at `frame` of a token took an event.
pub(super) fn heard(context: &mut Context, instance: &InstanceId, token: u32, frame: usize, attributes: &Value) {
    let standing = context.state.instances.get(instance).and_then(|instance| instance.tokens.get(&token));
    let Some((reference, name)) = standing.and_then(|token| token.frames.get(frame)).and_then(Frame::task).map(place) else { return };
    let attribute = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    let data = [("by", attribute("source")), ("from", attribute("type")), ("event", attribute("id"))];
    record(context, instance, reference, name, "answered", Value::object(data));
}

/// An operator did something to the instance, at its incident where there is one.
pub(super) fn operated(context: &mut Context, instance: &InstanceId, action: &str, by: &Actor) {
    let Some(standing) = context.state.instances.get(instance) else { return };
    let incident = standing.incident.as_ref().and_then(|incident| standing.tokens.get(&incident.token));
    let (reference, name) = incident.and_then(|token| token.top_task()).map_or_else(|| ("/do".into(), "".into()), place);
    let data = [("by", Value::from(by.as_str())), ("action", Value::from(action))];
    record(context, instance, reference, name, "operator", Value::object(data));
}

fn place(frame: &TaskFrame) -> (Arc<str>, Arc<str>) {
    (frame.reference.clone(), frame.name.clone())
}

fn record(context: &mut Context, instance: &InstanceId, reference: Arc<str>, name: Arc<str>, what: &str, data: Value) {
    context.record(RecordBody::Task(TaskRecord { instance: instance.clone(), reference, name, what: what.into(), data }));
}
