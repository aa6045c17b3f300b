//! Lists of named tasks, and which kind each task is.

use super::super::diagnostic::join;
use super::super::plan::{Task, TaskId, TaskKind, Then};
use super::super::suggest;
use super::{Compiler, TASK_COUNT_MAX};
use crate::value::{Object, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

const COMMON: [&str; 7] = ["if", "input", "output", "export", "timeout", "then", "metadata"];
/// What a task is told by, and the keys that go with it.
const KINDS: [(&str, &[&str]); 12] = [
    ("call", &["with"]),
    ("emit", &[]),
    ("for", &["while", "do"]),
    ("fork", &[]),
    ("listen", &["foreach"]),
    ("raise", &[]),
    ("run", &[]),
    ("set", &[]),
    ("switch", &[]),
    ("try", &["catch"]),
    ("wait", &[]),
    ("do", &[]),
];

impl Compiler {
    /// The tasks under a `do` (`try`, `before`, …); `pointer` points to the list.
    pub(super) fn list(&mut self, value: &Value, pointer: &str, what: &str) -> Vec<TaskId> {
        self.named_tasks(value, pointer, what, true)
    }

    /// Fork branches: each is one task, and none can jump to another.
    pub(super) fn branches(&mut self, value: &Value, pointer: &str) -> Vec<TaskId> {
        self.named_tasks(value, pointer, "`branches`", false)
    }

    fn named_tasks(&mut self, value: &Value, pointer: &str, what: &str, jumps: bool) -> Vec<TaskId> {
        let Some(items) = self.items(value, pointer, what) else { return Vec::new() };
        let mut named = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let Some((name, definition, at)) = self.named(item, &join(pointer, index), "a task") else { continue };
            self.task_name(name, &at, &mut seen);
            named.push((name.clone(), definition, at));
        }
        let names = named.iter().map(|(name, _, _)| name.clone()).collect();
        let outside = std::mem::replace(&mut self.siblings, jumps.then_some(names));
        let ids: Vec<TaskId> = named.iter().filter_map(|(name, definition, at)| self.task(name, definition, at)).collect();
        self.siblings = outside;
        self.resolve_targets(&ids);
        ids
    }

    fn task_name(&mut self, name: &Arc<str>, pointer: &str, seen: &mut BTreeSet<Arc<str>>) {
        if name.trim().is_empty() {
            self.error_on_key("missing-name", pointer, "a task has no name", "");
        } else if matches!(&**name, "continue" | "exit" | "end") {
            self.error_on_key(
                "bad-name",
                pointer,
                format!("a task cannot be called `{name}`: `then` means something else by it"),
                "rename it",
            );
        } else if !seen.insert(name.clone()) {
            let message = format!("a second task `{name}` in the same list");
            self.error_on_key("duplicate-name", pointer, message, "rename one of them: `then` could not tell which is meant");
        }
    }

    /// Places among siblings become task ids.
    fn resolve_targets(&mut self, ids: &[TaskId]) {
        let resolve = |then: &mut Then| {
            if let Then::Task(at) = then {
                *then = ids.get(*at as usize).map_or(Then::Continue, |id| Then::Task(*id));
            }
        };
        for id in ids {
            let Some(Some(task)) = self.tasks.get_mut(*id as usize) else { continue };
            resolve(&mut task.then);
            if let TaskKind::Switch(cases) = &mut task.kind {
                cases.iter_mut().for_each(|case| resolve(&mut case.then));
            }
        }
    }

    fn task(&mut self, name: &Arc<str>, definition: &Value, pointer: &str) -> Option<TaskId> {
        let id = TaskId::try_from(self.tasks.len()).ok().filter(|_| self.tasks.len() < TASK_COUNT_MAX);
        let Some(id) = id else {
            let hint = "split it into flows that call each other with `run: { workflow: … }`";
            self.error_on_key("too-large", "/do", format!("more than {TASK_COUNT_MAX} tasks in one flow"), hint);
            return None;
        };
        self.tasks.push(None);
        let what = format!("the task `{name}`");
        let Some(fields) = definition.as_object() else {
            self.error(
                "bad-type",
                pointer,
                format!("{what} must be a mapping, not {}", definition.type_name()),
                "say what it does, e.g. `call: audit.note`",
            );
            return Some(id);
        };
        let kind = self.kind_of(fields, pointer, &what);
        let mut task = Task {
            id,
            reference: pointer.into(),
            name: name.clone(),
            definition: definition.clone(),
            condition: fields.get("if").and_then(|condition| self.expression(condition, &join(pointer, "if"))),
            input: self.input_spec(fields, pointer),
            output: self.output_spec(fields, pointer),
            export: self.export_spec(fields, pointer),
            timeout: self.timeout(fields, pointer),
            then: self.then(fields.get("then"), &join(pointer, "then")),
            function: None,
            kind: TaskKind::Do(Vec::new()),
        };
        if let Some(metadata) = fields.get("metadata")
            && metadata.as_object().is_none()
        {
            self.error("bad-type", &join(pointer, "metadata"), "`metadata` must be a mapping", "");
        }
        match self.custom_call(fields).filter(|_| kind == Some("call")) {
            Some(function) => {
                if let Some(called) = self.called(&function, fields, pointer) {
                    task.timeout = task.timeout.or(called.timeout);
                    (task.kind, task.function) = (called.kind, Some(Box::new(called.function)));
                }
            }
            None => {
                if let Some(kind) = kind.and_then(|kind| self.kind(kind, fields, pointer)) {
                    task.kind = kind;
                }
            }
        }
        if let Some(slot) = self.tasks.get_mut(id as usize) {
            *slot = Some(task);
        }
        Some(id)
    }

    pub(super) fn kind_of(&mut self, fields: &Object, pointer: &str, what: &str) -> Option<&'static str> {
        let present: Vec<(&str, &[&str])> = KINDS.into_iter().filter(|(kind, _)| fields.contains_key(*kind)).collect();
        let (kind, extra) = match present.as_slice() {
            [one] | [one @ ("for", _), ("do", _)] => *one,
            [] => {
                let kinds = KINDS.map(|(kind, _)| kind);
                let near = fields.keys().find_map(|key| suggest::nearest(key, kinds).map(|near| (key, near)));
                let hint =
                    near.map_or_else(|| format!("one of {}", kinds.join(", ")), |(key, near)| format!("`{key}`: did you mean `{near}`?"));
                self.error_on_key("no-kind", pointer, format!("{what} does not say what to do"), hint);
                return None;
            }
            [(one, _), (two, _), ..] => {
                let message = format!("{what} wants to be both `{one}` and `{two}`");
                self.error_on_key("several-kinds", pointer, message, "a task does one thing: make two tasks of it");
                return None;
            }
        };
        let allowed: Vec<&str> = [kind].into_iter().chain(extra.iter().copied()).chain(COMMON).collect();
        self.keys(fields, pointer, &format!("{what} (`{kind}`)"), &allowed);
        Some(kind)
    }
}
