//! `for` goes one by one: whatever waits inside holds up all that come behind.

use super::super::catalog;
use super::super::diagnostic::{Diagnostic, Findings, Severity};
use super::super::plan::{Call, Plan, Task, TaskId, TaskKind};
use super::{children, task};

pub(super) fn run(plan: &Plan, findings: &mut Findings) {
    for each in &plan.tasks {
        if let TaskKind::For(body) = &each.kind {
            inside(plan, &body.body, each, findings);
        }
    }
}

fn inside(plan: &Plan, body: &[TaskId], each: &Task, findings: &mut Findings) {
    let mut open = body.to_vec();
    while let Some(task) = open.pop().and_then(|id| task(plan, id)) {
        open.extend(children(&task.kind));
        let Some(what) = waits(&task.kind) else { continue };
        let severity = if plan.life_safety { Severity::Error } else { Severity::Warning };
        let message =
            format!("`{}` {what} inside the `for` of `{}`, which goes one by one: a slow one holds up the rest", task.name, each.name);
        let diagnostic = Diagnostic { severity, ..Diagnostic::warning("blocking-in-for", &*task.reference, message) };
        findings
            .push(diagnostic.suggest("start a flow for each with `run: { await: false }`, or use a `group:` target or a `fork`").on_key());
    }
}

fn waits(kind: &TaskKind) -> Option<&'static str> {
    match kind {
        TaskKind::Wait(_) => Some("waits"),
        TaskKind::Listen(_) => Some("waits for an event"),
        TaskKind::Run(run) if run.await_ => Some("waits for another flow"),
        TaskKind::Call(Call::Http(_)) => Some("waits for an answer"),
        TaskKind::Call(Call::Function { function, .. }) if catalog::function(function)?.blocking => Some("waits for an answer"),
        _ => None,
    }
}
