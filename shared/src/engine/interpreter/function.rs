//! Around the kind of a task that calls a function of the document: the caller's `with` is the function's input, and what the function
//! makes of its output is the calling task's raw output.

use super::evaluate::{limit, valid};
use super::{Cursor, Interpreter, VALUE_SIZE_MAX, task_of};
use crate::engine::problem::Problem;
use crate::flow::plan::Function;
use crate::value::Value;

impl Interpreter<'_, '_> {
    /// The function's input; the calling task's own is set aside.
    pub(super) fn enter_function(&mut self, cursor: &mut Cursor, function: &Function, input: Value) -> Result<Value, Problem> {
        let arguments = match &function.arguments {
            Some(with) => self.fill(cursor, with, &input, &[])?,
            None => input.clone(),
        };
        valid(&arguments, function.input.schema.as_ref(), "with")?;
        let inner = match &function.input.from {
            Some(from) => self.fill(cursor, from, &arguments, &[])?,
            None => arguments,
        };
        limit(&inner, VALUE_SIZE_MAX, "input")?;
        if let Some(frame) = cursor.top_mut() {
            frame.caller_input = Some(Box::new(std::mem::replace(&mut frame.input, inner.clone())));
        }
        Ok(inner)
    }

    /// What the function of the task on top gives for its raw output; that output itself where the task calls none.
    pub(super) fn leave_function(&mut self, cursor: &mut Cursor, raw: Value) -> Result<Value, Problem> {
        let plan = cursor.plan.clone();
        let task = cursor.top().and_then(|frame| task_of(&plan, frame.task));
        let Some(function) = task.and_then(|task| task.function.as_ref()) else { return Ok(raw) };
        let output = self.transform(cursor, &function.output, function.export.as_ref(), raw)?;
        if let Some(frame) = cursor.top_mut()
            && let Some(input) = frame.caller_input.take()
        {
            frame.input = *input;
        }
        Ok(output)
    }
}
