//! `for`: a body per item, one after the other.

use crate::engine::instance::{List, Next, Work};
use crate::engine::interpreter::{Cursor, Interpreter, Step};
use crate::engine::problem::Problem;
use crate::flow::plan::For;
use crate::value::Value;
use std::sync::Arc;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn for_begin(&mut self, mut cursor: Cursor, each: &For, input: Value) -> Step {
        let items = match self.eval(&cursor, &each.in_, &input, &[]) {
            Ok(Value::Array(items)) => items,
            Ok(Value::Null) => Arc::default(),
            Ok(other) => {
                let detail = format!("`for.in` gave a {}, not an array", other.type_name());
                return cursor.fail(Problem::standard("expression", 400, detail));
            }
            Err(problem) => return cursor.fail(problem),
        };
        if let Some(frame) = cursor.top_mut() {
            frame.work = Work::For { items, index: 0 };
        }
        self.for_item(cursor, each, input)
    }

    /// The body ended with `value`: the next item takes it on.
    pub(in crate::engine) fn for_next(&mut self, mut cursor: Cursor, each: &For, value: Value) -> Step {
        match cursor.top_mut().map(|frame| &mut frame.work) {
            Some(Work::For { index, .. }) => *index = index.saturating_add(1),
            _ => return cursor.broken("a `for` without its items"),
        }
        self.for_item(cursor, each, value)
    }

    fn for_item(&mut self, cursor: Cursor, each: &For, value: Value) -> Step {
        let Some(frame) = cursor.top() else { return cursor.broken("a `for` without its frame") };
        let (task, more) = match &frame.work {
            Work::For { items, index } => (frame.task, (*index as usize) < items.len()),
            _ => return cursor.broken("a `for` without its items"),
        };
        if !more {
            return Step::Go(cursor, Next::Done { value });
        }
        if let Some(condition) = &each.while_ {
            match self.truth(&cursor, condition, &value, &[]) {
                Ok(true) => {}
                Ok(false) => return Step::Go(cursor, Next::Done { value }),
                Err(problem) => return cursor.fail(problem),
            }
        }
        self.walk(cursor, List::For(task), value)
    }
}
