//! A `catch` that takes an error and does nothing with it.

use super::super::diagnostic::{Diagnostic, Findings, join};
use super::super::plan::{Plan, TaskKind};

pub(super) fn run(plan: &Plan, findings: &mut Findings) {
    for task in &plan.tasks {
        if let TaskKind::Try(trying) = &task.kind
            && trying.catch.body.is_empty()
            && trying.catch.retry.is_none()
        {
            let message = format!("`{}` takes errors and says nothing of them", task.name);
            let warning = Diagnostic::warning("swallowed-error", join(&task.reference, "catch"), message).on_key();
            findings.push(warning.suggest("say in `do` what happens then, if only an `audit.note`"));
        }
    }
}
