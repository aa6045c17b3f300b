//! What an operator may do to an instance: cancel, suspend, resume, retry, skip, set its context.

use super::command::{Accepted, OperatorAction, Rejection, Reply};
use super::instance::{Frame, Next, Wait};
use super::interpreter::{CONTEXT_SIZE_MAX, Cursor, Interpreter, VALUE_SIZE_MAX, limit, task_of};
use super::lifecycle;
use super::problem::Problem;
use super::record::InstanceStatus;
use super::trace;
use crate::flow::plan::Then;
use crate::id::{Actor, InstanceId};
use crate::value::Value;

/// Refused: `not-found`, `conflict` (no incident, not suspended), `limit`.
pub(super) fn act(interpreter: &mut Interpreter, id: &InstanceId, action: &OperatorAction, by: &Actor) -> Reply {
    let Some(instance) = interpreter.instance(id) else {
        return Err(Rejection::new("not-found", format!("no instance {id} is running")));
    };
    let status = instance.status;
    let (word, data) = match action {
        OperatorAction::Cancel { reason } => ("cancel", Value::String(reason.clone())),
        OperatorAction::Suspend if status == InstanceStatus::Suspended => return Ok(Accepted::Duplicate),
        OperatorAction::Suspend => ("suspend", Value::Null),
        OperatorAction::Resume if status != InstanceStatus::Suspended => {
            return Err(Rejection::new("conflict", format!("{id} is not suspended")));
        }
        OperatorAction::Resume => ("resume", Value::Null),
        OperatorAction::Retry | OperatorAction::Skip { .. } if instance.incident.is_none() => {
            return Err(Rejection::new("conflict", format!("{id} has no incident")));
        }
        OperatorAction::Retry => ("retry", Value::Null),
        OperatorAction::Skip { output } => {
            fits(output, VALUE_SIZE_MAX, "output")?;
            ("skip", output.clone())
        }
        OperatorAction::SetContext { context } => {
            fits(context, CONTEXT_SIZE_MAX, "$context")?;
            ("set-context", context.clone())
        }
    };
    interpreter.context.audit(by.clone(), &format!("operator.{word}"), id.as_str(), data);
    trace::operated(interpreter.context, id, word, by);
    match action {
        OperatorAction::Cancel { .. } => interpreter.end_instance(id, InstanceStatus::Cancelled, Value::Null, None),
        OperatorAction::Suspend => suspend(interpreter, id),
        OperatorAction::Resume => resume(interpreter, id),
        OperatorAction::Retry => retry(interpreter, id),
        OperatorAction::Skip { output } => skip(interpreter, id, output),
        OperatorAction::SetContext { context } => {
            if let Some(instance) = interpreter.instance_mut(id) {
                instance.context = context.clone();
            }
        }
    }
    Ok(Accepted::Nothing)
}

fn fits(value: &Value, size_max: usize, what: &str) -> Result<(), Rejection> {
    limit(value, size_max, what).map_err(|problem| Rejection::new("limit", problem.detail.as_deref().unwrap_or("too large")))
}

/// Nothing steps; what it waits for goes on, and its answers are kept.
fn suspend(interpreter: &mut Interpreter, id: &InstanceId) {
    if let Some(instance) = interpreter.instance_mut(id) {
        instance.status = InstanceStatus::Suspended;
    }
    lifecycle::workflow(interpreter, id, "suspended", Value::Null);
    trace_all(interpreter, id, "suspended");
}

fn resume(interpreter: &mut Interpreter, id: &InstanceId) {
    let Some(instance) = interpreter.instance_mut(id) else { return };
    instance.status = InstanceStatus::Running;
    let held = std::mem::take(&mut instance.held_guards);
    let ready: Vec<u32> =
        instance.tokens.iter().filter(|(_, token)| matches!(token.wait, Wait::Ready(_))).map(|(number, _)| *number).collect();
    lifecycle::workflow(interpreter, id, "resumed", Value::Null);
    trace_all(interpreter, id, "resumed");
    for guard in held {
        interpreter.timed_out(id, guard);
    }
    interpreter.queue.extend(ready.into_iter().map(|number| (id.clone(), number)));
}

/// The task at which each token stands says `what`.
fn trace_all(interpreter: &mut Interpreter, id: &InstanceId, what: &str) {
    let Some(instance) = interpreter.instance(id) else { return };
    let tops = instance.tokens.values().filter_map(|token| token.top_task());
    let tops: Vec<_> = tops.map(|frame| (frame.reference.clone(), frame.name.clone())).collect();
    for (reference, name) in tops {
        interpreter.trace_frame(id, reference, name, what, Value::Null);
    }
}

/// The token of the incident in front, in hand.
fn incident(interpreter: &mut Interpreter, id: &InstanceId) -> Option<Cursor> {
    let number = interpreter.instance(id)?.incident.as_ref()?.token;
    let mut cursor = interpreter.take(id, number)?;
    cursor.token.generation = interpreter.serial(id);
    Some(cursor)
}

/// The task begins again, from its raw input.
fn retry(interpreter: &mut Interpreter, id: &InstanceId) {
    let Some(mut cursor) = incident(interpreter, id) else { return };
    interpreter.trace(&cursor, "retrying", Value::Null);
    let next = match cursor.top() {
        Some(frame) => {
            let next = Next::Enter { task: frame.task, input: frame.raw_input.clone() };
            let keep = cursor.token.frames.len() - 1;
            interpreter.drop_frames(&mut cursor, keep);
            next
        }
        None => Next::Fail { problem: Box::new(Problem::standard("runtime", 500, "no task stands here")), raised: false },
    };
    interpreter.go(cursor, next);
}

/// The task is left behind, with `output` as if it had given it.
fn skip(interpreter: &mut Interpreter, id: &InstanceId, output: &Value) {
    let Some(mut cursor) = incident(interpreter, id) else { return };
    let plan = cursor.plan.clone();
    let then = cursor.top().and_then(|frame| task_of(&plan, frame.task)).map_or(Then::Continue, |task| task.then.clone());
    interpreter.trace(&cursor, "skipped", output.clone());
    if matches!(cursor.token.frames.last(), Some(Frame::Task(_))) {
        let keep = cursor.token.frames.len() - 1;
        interpreter.drop_frames(&mut cursor, keep);
    }
    interpreter.leave_outside(cursor, &then, output.clone());
}
