//! What is legal but likely wrong: waiting inside a `for`, and reading what a skipped task did not give.

use super::catalog;
use super::diagnostic::{Diagnostic, Findings, Severity, join};
use super::plan::{Call, Plan, Task, TaskId, TaskKind};
use crate::value::Value;

pub(crate) fn run(plan: &Plan, findings: &mut Findings) {
    for task in &plan.tasks {
        if let TaskKind::For(each) = &task.kind {
            blocking_inside(plan, &each.body, task, findings);
        }
        if task.condition.is_some() {
            skipped(plan, task, findings);
        }
    }
}

/// `for` goes one by one: whatever waits holds up all that come behind.
fn blocking_inside(plan: &Plan, body: &[TaskId], each: &Task, findings: &mut Findings) {
    let mut open = body.to_vec();
    while let Some(task) = open.pop().and_then(|id| plan.tasks.get(id as usize)) {
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

/// Tasks right below one of this kind.
pub(crate) fn children(kind: &TaskKind) -> Vec<TaskId> {
    match kind {
        TaskKind::Do(body) => body.clone(),
        TaskKind::For(each) => each.body.clone(),
        TaskKind::Fork { branches, .. } => branches.clone(),
        TaskKind::Listen(listen) => listen.foreach.as_ref().map(|foreach| foreach.body.clone()).unwrap_or_default(),
        TaskKind::Try(trying) => trying.body.iter().chain(&trying.catch.body).copied().collect(),
        _ => Vec::new(),
    }
}

/// A skipped task hands its input on. Whoever then reads a field that only the task gives finds nothing, or something else.
fn skipped(plan: &Plan, task: &Task, findings: &mut Findings) {
    let TaskKind::Call(Call::Function { function, .. }) = &task.kind else { return };
    let given = catalog::function(function).and_then(|function| function.output_schema.get("properties")?.as_object());
    let Some(given) = given else { return };
    for (reader, key) in readers(plan, task) {
        for field in given.keys() {
            let Some(text) = reader.definition.get(key).and_then(|part| part.get("as")).and_then(Value::as_str) else { continue };
            if !reads(text, field) {
                continue;
            }
            let message = format!("`.{field}` comes from `{}`, which its `if` may skip; then its input stands here instead", task.name);
            let at = join(&join(&reader.reference, key), "as");
            findings
                .push(Diagnostic::warning("skipped-output", at, message).suggest("put it into a `switch`, or give a default with `//`"));
        }
    }
}

/// Who sees the task's output next: what is around it if it comes last there (or is a branch), else its next neighbour.
fn readers<'p>(plan: &'p Plan, task: &'p Task) -> Vec<(&'p Task, &'static str)> {
    let mut found = Vec::new();
    for other in &plan.tasks {
        let below = children(&other.kind);
        let around = match &other.kind {
            TaskKind::Fork { .. } => below.contains(&task.id),
            _ => below.last() == Some(&task.id),
        };
        if around {
            found.extend([(other, "output"), (other, "export")]);
        }
        if let Some(at) = below.iter().position(|id| *id == task.id)
            && !matches!(other.kind, TaskKind::Fork { .. })
            && let Some(next) = below.get(at + 1).and_then(|id| plan.tasks.get(*id as usize))
        {
            found.push((next, "input"));
        }
    }
    found
}

/// Whether jq text has `.field` as a whole word.
fn reads(text: &str, field: &str) -> bool {
    let wanted = format!(".{field}");
    text.match_indices(&wanted).any(|(at, found)| {
        let behind = text.get(at + found.len()..).and_then(|rest| rest.chars().next());
        !behind.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
            && !text.get(at + found.len()..).unwrap_or_default().trim_start().starts_with("//")
    })
}
