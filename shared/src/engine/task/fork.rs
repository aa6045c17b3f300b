//! `fork`: a token per branch. Joined in log order; with `compete` the first to end wins and the others are cancelled.

use crate::engine::instance::{Branch, Frame, List, Next, TOKENS_MAX, Token, Wait, Work};
use crate::engine::interpreter::{Cursor, Interpreter, Step, task_of};
use crate::engine::problem::Problem;
use crate::flow::plan::{TaskId, TaskKind};
use crate::value::Value;
use std::collections::BTreeMap;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn fork(&mut self, mut cursor: Cursor, task: TaskId, branches: &[TaskId], input: Value) -> Step {
        let Some(instance) = self.instance(&cursor.id) else { return Step::Parked };
        if instance.tokens.len() + branches.len() >= TOKENS_MAX {
            return cursor.fail(Problem::standard("runtime", 500, format!("an instance has at most {TOKENS_MAX} branches at a time")));
        }
        if branches.is_empty() {
            return Step::Go(cursor, Next::Done { value: Value::array(Vec::new()) });
        }
        let (id, parent, now) = (cursor.id.clone(), cursor.number, self.context.now);
        if let Some(frame) = cursor.top_mut() {
            frame.work = Work::Fork(BTreeMap::new());
        }
        // Or a loop around a fork would count anew in each branch.
        let pace = cursor.token.pace;
        self.park(cursor, Wait::Join);
        for (index, first) in (0u32..).zip(branches) {
            let (number, generation) = (self.serial(&id), self.serial(&id));
            let token = Token {
                generation,
                parent: Some(Branch { token: parent, index }),
                frames: vec![Frame::List { list: List::Branch { task, index }, index: 0 }],
                wait: Wait::Ready(Next::Enter { task: *first, input: input.clone() }),
                since: now,
                pace,
            };
            if let Some(instance) = self.instance_mut(&id) {
                instance.tokens.insert(number, Box::new(token));
            }
            self.queue.push_back((id.clone(), number));
        }
        Step::Parked
    }

    /// A branch ended: the token in hand is gone, its output stands at the fork.
    pub(in crate::engine) fn join(&mut self, branch: Cursor, parent: u32, index: u32, value: Value) {
        let id = branch.id.clone();
        drop(branch);
        let Some(mut cursor) = self.take(&id, parent) else { return };
        let plan = cursor.plan.clone();
        let kind = cursor.top().and_then(|frame| task_of(&plan, frame.task)).map(|task| &task.kind);
        let (Some(TaskKind::Fork { branches, compete }), Some(Work::Fork(outputs))) =
            (kind, cursor.token.frames.last_mut().and_then(Frame::task_mut).map(|frame| &mut frame.work))
        else {
            return self.put(cursor);
        };
        outputs.insert(index, value.clone());
        if *compete {
            outputs.clear();
            self.cancel_branches(&id, parent);
            self.go(cursor, Next::Done { value });
        } else if outputs.len() >= branches.len() {
            let value = Value::array(std::mem::take(outputs).into_values().collect());
            self.go(cursor, Next::Done { value });
        } else {
            self.put(cursor);
        }
    }
}
