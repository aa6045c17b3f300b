//! What is legal but likely wrong. Each lint looks at a plan that compiled; none ever changes it.

mod blocking;
mod endless;
mod reach;
mod skipped;
mod swallowed;

use super::diagnostic::Findings;
use super::plan::{Plan, Task, TaskId, TaskKind};

pub(crate) fn run(plan: &Plan, findings: &mut Findings) {
    blocking::run(plan, findings);
    endless::run(plan, findings);
    reach::run(plan, findings);
    skipped::run(plan, findings);
    swallowed::run(plan, findings);
}

fn task(plan: &Plan, id: TaskId) -> Option<&Task> {
    plan.tasks.get(id as usize)
}

/// Tasks right below one of this kind.
fn children(kind: &TaskKind) -> Vec<TaskId> {
    lists(kind).concat()
}

/// The lists of tasks right below one of this kind; each branch of a fork is a list of its own.
fn lists(kind: &TaskKind) -> Vec<Vec<TaskId>> {
    match kind {
        TaskKind::Do(body) => vec![body.clone()],
        TaskKind::For(each) => vec![each.body.clone()],
        TaskKind::Fork { branches, .. } => branches.iter().map(|branch| vec![*branch]).collect(),
        TaskKind::Listen(listen) => listen.foreach.iter().map(|foreach| foreach.body.clone()).collect(),
        TaskKind::Try(trying) => vec![trying.body.clone(), trying.catch.body.clone()],
        _ => Vec::new(),
    }
}

/// All lists of the plan: the root, what extensions add, and those below tasks.
fn all_lists(plan: &Plan) -> Vec<Vec<TaskId>> {
    let extensions = plan.extensions.iter().flat_map(|extension| [extension.before.clone(), extension.after.clone()]);
    std::iter::once(plan.root.clone()).chain(extensions).chain(plan.tasks.iter().flat_map(|task| lists(&task.kind))).collect()
}

#[cfg(test)]
mod tests;
