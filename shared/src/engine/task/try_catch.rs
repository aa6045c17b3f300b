//! `try`: its body, attempt by attempt. What happens with a caught error stands in `retry`.

use crate::engine::instance::{GuardKind, List, Work};
use crate::engine::interpreter::{Cursor, Interpreter, Step};
use crate::flow::plan::Try;

impl Interpreter<'_, '_> {
    /// Begins, or begins again: a retry comes here as well, with its work kept.
    pub(in crate::engine) fn try_begin(&mut self, mut cursor: Cursor, attempt: &Try) -> Step {
        let now = self.context.now;
        let Some(frame) = cursor.top_mut() else { return cursor.broken("a `try` without its frame") };
        let (task, input) = (frame.task, frame.input.clone());
        if !matches!(frame.work, Work::Try { .. }) {
            frame.work = Work::Try { retries: 0, first_at: now, caught: None };
        }
        if let Some(duration) = attempt.catch.retry.as_ref().and_then(|retry| retry.attempt_duration.as_ref()) {
            match self.duration(&cursor, duration, &input) {
                Ok(millis) => self.guard(&mut cursor, GuardKind::Attempt, millis),
                Err(problem) => return cursor.fail(problem),
            }
        }
        self.walk(cursor, List::Try(task), input)
    }
}
