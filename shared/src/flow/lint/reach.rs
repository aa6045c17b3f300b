//! Tasks that control never reaches: what stands before them always goes elsewhere, and no `then` names them.

use super::super::diagnostic::{Diagnostic, Findings};
use super::super::plan::{Plan, Task, TaskId, TaskKind, Then};
use super::{all_lists, task};

pub(super) fn run(plan: &Plan, findings: &mut Findings) {
    for list in all_lists(plan) {
        let reached = reached(plan, &list);
        // The first of a row says it for those behind it.
        let mut before_reached = true;
        for (at, id) in list.iter().enumerate() {
            let here = reached.get(at).copied().unwrap_or(true);
            if let Some(task) = task(plan, *id).filter(|_| !here && before_reached) {
                let message = format!("`{}` is never reached", task.name);
                let warning = Diagnostic::warning("unreachable-task", &*task.reference, message).on_key();
                findings.push(warning.suggest("name it in a `then`, or take it out"));
            }
            before_reached = here;
        }
    }
}

fn reached(plan: &Plan, list: &[TaskId]) -> Vec<bool> {
    let mut reached = vec![false; list.len()];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        let Some(seen) = reached.get_mut(at) else { continue };
        if std::mem::replace(seen, true) {
            continue;
        }
        let Some(task) = list.get(at).and_then(|id| task(plan, *id)) else { continue };
        for then in ways(task) {
            match then {
                Then::Continue => open.push(at + 1),
                Then::Task(target) => open.extend(list.iter().position(|id| *id == target)),
                Then::Exit | Then::End => {}
            }
        }
    }
    reached
}

/// Where control may go behind a task.
fn ways(task: &Task) -> Vec<Then> {
    let mut ways = match &task.kind {
        TaskKind::Switch(cases) => {
            let mut ways: Vec<Then> = cases.iter().map(|case| case.then.clone()).collect();
            if cases.iter().all(|case| case.when.is_some()) {
                ways.push(task.then.clone());
            }
            ways
        }
        TaskKind::Raise(_) => Vec::new(),
        _ => vec![task.then.clone()],
    };
    if task.condition.is_some() {
        ways.push(Then::Continue);
    }
    ways
}
