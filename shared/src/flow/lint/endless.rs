//! A `listen` that nothing ends but its event: an instance that waits for ever looks like one that works.

use super::super::diagnostic::{Diagnostic, Findings};
use super::super::plan::Consume;
use super::super::plan::{Plan, TaskId, TaskKind, Until};
use super::{lists, task};

pub(super) fn run(plan: &Plan, findings: &mut Findings) {
    if plan.timeout.is_some() {
        return;
    }
    let extensions = plan.extensions.iter().flat_map(|extension| extension.before.iter().chain(&extension.after));
    let mut open: Vec<TaskId> = plan.root.iter().chain(extensions).copied().collect();
    while let Some(task) = open.pop().and_then(|id| task(plan, id)) {
        // Whatever stands below a timeout ends, and the losers of a race do too.
        let bounded = task.timeout.is_some() || matches!(&task.kind, TaskKind::Fork { compete: true, branches } if branches.len() > 1);
        if bounded {
            continue;
        }
        let attempt = matches!(&task.kind, TaskKind::Try(trying) if trying.catch.retry.as_ref().is_some_and(|retry| retry.attempt_duration.is_some()));
        match &task.kind {
            TaskKind::Try(trying) if attempt => open.extend(&trying.catch.body),
            kind => open.extend(lists(kind).concat()),
        }
        if let TaskKind::Listen(listen) = &task.kind
            && !matches!(&listen.to, Consume::Any { until: Some(Until::Condition(_)), .. })
        {
            let message = format!("`{}` waits for ever if its event never comes", task.name);
            let warning = Diagnostic::warning("endless-listen", &*task.reference, message).on_key();
            findings.push(warning.suggest("add `timeout: { after: … }`, or let it race against a `wait` in a `fork` with `compete: true`"));
        }
    }
}
