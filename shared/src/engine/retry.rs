//! What a `try` does with an error: whether it takes it, when it tries again, when it gives up.

use super::instance::{List, Next, Work};
use super::interpreter::{Cursor, Interpreter, Step, task_of};
use super::problem::Problem;
use crate::flow::plan::{Backoff, Catch, Retry, TaskKind};
use crate::id::derived_u64;
use crate::value::Value;

/// Retries where the flow names no limit: no retry without a bound.
pub const RETRY_COUNT_DEFAULT: u32 = 100;
/// Longest delay between attempts: a day.
pub const RETRY_DELAY_MAX_MS: u64 = 86_400_000;

/// Whether the `try` on top of `scope` takes `problem`: its filters hold, and it can either try again or has a handler.
/// Retries that are used up with no handler give the error back to those around.
pub(super) fn takes(interpreter: &mut Interpreter, scope: &Cursor, problem: &Problem) -> bool {
    let plan = scope.plan.clone();
    let Some(catch) = catch_of(&plan, scope) else { return false };
    let error = problem.to_value();
    if !catch.errors.iter().all(|(attribute, expected)| attribute_equals(&error, attribute, expected)) {
        return false;
    }
    let input = scope.top().map(|frame| frame.input.clone()).unwrap_or_default();
    if !holds(interpreter, scope, catch, catch.when.as_ref(), catch.except_when.as_ref(), &input, &error) {
        return false;
    }
    match &catch.retry {
        None => true,
        Some(retry) => !catch.body.is_empty() || delay(interpreter, scope, catch, retry, &error).is_some(),
    }
}

/// Control is back at the `try` that takes `problem`.
pub(super) fn caught(interpreter: &mut Interpreter, mut cursor: Cursor, problem: &Problem, raised: bool) -> Step {
    let plan = cursor.plan.clone();
    let Some(catch) = catch_of(&plan, &cursor) else { return cursor.broken("an error caught by no `try`") };
    let error = problem.to_value();
    let again = catch.retry.as_ref().and_then(|retry| delay(interpreter, &cursor, catch, retry, &error));
    if let Some(millis) = again {
        if let Some(Work::Try { retries, .. }) = cursor.top_mut().map(|frame| &mut frame.work) {
            *retries = retries.saturating_add(1);
        }
        interpreter.trace(&cursor, "retrying", error);
        interpreter.sleep(&mut cursor, millis, Next::Run);
        interpreter.put(cursor);
        return Step::Parked;
    }
    if catch.retry.is_some() && catch.body.is_empty() {
        // Used up between the two looks; cannot happen while both see the same entry.
        return Step::Go(cursor, Next::Fail { problem: Box::new(problem.clone()), raised });
    }
    let Some(frame) = cursor.top_mut() else { return cursor.broken("a `try` without its frame") };
    let (task, input) = (frame.task, frame.input.clone());
    if let Work::Try { caught, .. } = &mut frame.work {
        *caught = Some(error);
    }
    interpreter.walk(cursor, List::Catch(task), input)
}

fn catch_of<'a>(plan: &'a crate::flow::plan::Plan, cursor: &Cursor) -> Option<&'a Catch> {
    match &task_of(plan, cursor.top()?.task)?.kind {
        TaskKind::Try(attempt) => Some(&attempt.catch),
        _ => None,
    }
}

/// `when` and `exceptWhen`; an expression that fails takes nothing.
fn holds(
    interpreter: &mut Interpreter,
    scope: &Cursor,
    catch: &Catch,
    when: Option<&crate::expression::Expression>,
    except_when: Option<&crate::expression::Expression>,
    input: &Value,
    error: &Value,
) -> bool {
    let extra = [(&*catch.as_, error.clone())];
    let mut truth = |expression| interpreter.truth(scope, expression, input, &extra).ok();
    when.is_none_or(|expression| truth(expression) == Some(true)) && except_when.is_none_or(|expression| truth(expression) == Some(false))
}

/// Milliseconds until the next attempt; `None` when there is none.
fn delay(interpreter: &mut Interpreter, scope: &Cursor, catch: &Catch, retry: &Retry, error: &Value) -> Option<u64> {
    let frame = scope.top()?;
    let Work::Try { retries, first_at, .. } = frame.work else { return None };
    let input = frame.input.clone();
    if retries >= retry.attempt_count_max.unwrap_or(RETRY_COUNT_DEFAULT) {
        return None;
    }
    if !holds(interpreter, scope, catch, retry.when.as_ref(), retry.except_when.as_ref(), &input, error) {
        return None;
    }
    let base = interpreter.duration(scope, &retry.delay, &input).ok()?;
    let mut millis = match retry.backoff {
        Backoff::Constant => base,
        Backoff::Linear { increment_ms } => base.saturating_add(increment_ms.saturating_mul(u64::from(retries))),
        Backoff::Exponential => base.saturating_mul(1u64.checked_shl(retries).unwrap_or(u64::MAX)),
    };
    if let Some((from, to)) = retry.jitter_ms {
        // The same on every replica, and the same for both looks at it inside one entry: drawn from the entry and the token.
        let context = &interpreter.context;
        let purpose = format!("jitter {} {retries}", scope.id);
        let drawn = derived_u64(&context.state.group, context.index, scope.number, &purpose);
        millis = millis.saturating_add(from.saturating_add(drawn % to.saturating_sub(from).saturating_add(1)));
    }
    let millis = millis.min(RETRY_DELAY_MAX_MS);
    if let Some(total) = &retry.duration_max {
        let total = interpreter.duration(scope, total, &input).ok()?;
        if interpreter.context.now.plus(millis).since(first_at) > total {
            return None;
        }
    }
    Some(millis)
}

/// Both hosts and both spellings of the specification's error types are the same type.
fn attribute_equals(error: &Value, attribute: &str, expected: &Value) -> bool {
    let Some(actual) = error.get(attribute) else { return false };
    match (attribute, actual, expected) {
        ("type", Value::String(actual), Value::String(expected)) => {
            actual == expected || standard_name(actual).is_some_and(|name| standard_name(expected) == Some(name))
        }
        _ => actual == expected,
    }
}

/// `timeout` of `https://serverlessworkflow.io/spec/1.0.0/errors/timeout`.
fn standard_name(kind: &str) -> Option<&str> {
    let rest = kind.strip_prefix("https://").or_else(|| kind.strip_prefix("http://"))?;
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    let path = rest.strip_prefix("serverlessworkflow.io/").or_else(|| rest.strip_prefix("open-workflow-specification.org/"))?;
    let (_, name) = path.split_once("/errors/")?;
    Some(name.strip_prefix("types/").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_standard_error_are_one_type() {
        let same = |left: &str, right: &str| attribute_equals(&Value::object([("type", Value::from(left))]), "type", &Value::from(right));
        let ours = "https://serverlessworkflow.io/spec/1.0.0/errors/timeout";
        assert!(same(ours, ours));
        assert!(same(ours, "https://serverlessworkflow.io/dsl/errors/types/timeout"));
        assert!(same(ours, "https://open-workflow-specification.org/spec/1.0.0/errors/timeout"));
        assert!(!same(ours, "https://serverlessworkflow.io/spec/1.0.0/errors/communication"));
        assert!(!same(ours, "https://flow.example/spec/1.0.0/errors/timeout"));
    }
}
