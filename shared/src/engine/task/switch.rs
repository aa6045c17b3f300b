//! `switch`: the first case that holds says where control goes.

use crate::engine::instance::Next;
use crate::engine::interpreter::{Cursor, Interpreter, Step};
use crate::flow::plan::Case;
use crate::value::Value;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn switch(&mut self, mut cursor: Cursor, cases: &[Case], input: Value) -> Step {
        let mut taken = None;
        for (index, case) in (0u32..).zip(cases) {
            match &case.when {
                // The default counts only when no other case holds, wherever it stands.
                None => {}
                Some(when) => match self.truth(&cursor, when, &input, &[]) {
                    Ok(true) => {
                        taken = Some(index);
                        break;
                    }
                    Ok(false) => {}
                    Err(problem) => return cursor.fail(problem),
                },
            }
        }
        let default = (0u32..).zip(cases).find(|(_, case)| case.when.is_none()).map(|(index, _)| index);
        if let Some(frame) = cursor.top_mut() {
            frame.case = taken.or(default);
        }
        Step::Go(cursor, Next::Done { value: input })
    }
}
