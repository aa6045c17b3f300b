//! The kinds of task that need few words: do, for, fork, run, set, switch, wait.

use super::super::diagnostic::join;
use super::super::plan::{Case, For, RunWorkflow, TaskKind};
use super::Compiler;
use super::template::expression_part;
use crate::value::{Object, Value};

/// Branches of one fork.
const BRANCH_COUNT_MAX: usize = 100;

impl Compiler {
    pub(super) fn kind(&mut self, kind: &str, fields: &Object, pointer: &str) -> Option<TaskKind> {
        match kind {
            "call" => self.call(fields, pointer),
            "do" => Some(TaskKind::Do(self.list(fields.get("do")?, &join(pointer, "do"), "`do`"))),
            "emit" => self.emit(fields, pointer),
            "for" => self.for_each(fields, pointer),
            "fork" => self.fork(fields.get("fork")?, &join(pointer, "fork")),
            "listen" => self.listen(fields, pointer),
            "raise" => self.raise(fields, pointer),
            "run" => self.run(fields.get("run")?, &join(pointer, "run")),
            "set" => self.set(fields.get("set")?, &join(pointer, "set")),
            "switch" => self.switch(fields.get("switch")?, &join(pointer, "switch")),
            "try" => self.trying(fields, pointer),
            _ => self.duration(fields.get("wait")?, &join(pointer, "wait")).map(TaskKind::Wait),
        }
    }

    fn for_each(&mut self, task: &Object, pointer: &str) -> Option<TaskKind> {
        let at = join(pointer, "for");
        let fields = self.object(task.get("for")?, &at, "`for`", &["each", "in", "at"])?;
        let in_ = self.required(fields, "in", &at, "`for`").and_then(|list| self.expression(list, &join(&at, "in")));
        let each = self.variable(fields.get("each"), &join(&at, "each"), "item");
        let index = self.variable(fields.get("at"), &join(&at, "at"), "index");
        let depth = self.scope.len();
        self.scope.extend([each.clone(), index.clone()]);
        let while_ = task.get("while").and_then(|condition| self.expression(condition, &join(pointer, "while")));
        let body = self.required(task, "do", pointer, "a `for`").map(|body| self.list(body, &join(pointer, "do"), "`do`"));
        self.scope.truncate(depth);
        Some(TaskKind::For(For { each, at: index, in_: in_?, while_, body: body? }))
    }

    fn fork(&mut self, value: &Value, pointer: &str) -> Option<TaskKind> {
        let fields = self.object(value, pointer, "`fork`", &["branches", "compete"])?;
        let compete = self.flag(fields, "compete", pointer, false);
        let branches = self.required(fields, "branches", pointer, "`fork`")?;
        let at = join(pointer, "branches");
        if branches.as_array().is_some_and(|branches| branches.len() > BRANCH_COUNT_MAX) {
            self.error("too-large", &at, format!("more than {BRANCH_COUNT_MAX} branches"), "use `for` with `run: { await: false }`");
        }
        Some(TaskKind::Fork { branches: self.branches(branches, &at), compete })
    }

    fn run(&mut self, value: &Value, pointer: &str) -> Option<TaskKind> {
        for refused in ["shell", "script", "container"] {
            if value.get(refused).is_some() {
                let message = format!("`run: {refused}` is refused: who can change a flow could then run programs on every gateway");
                let hint = "use `call: http` to a service that does it, or `call: device.command`";
                self.error_on_key("refused", &join(pointer, refused), message, hint);
                return None;
            }
        }
        let fields = self.object(value, pointer, "`run`", &["workflow", "await"])?;
        let await_ = self.flag(fields, "await", pointer, true);
        let at = join(pointer, "workflow");
        let workflow = self.required(fields, "workflow", pointer, "`run`")?;
        let fields = self.object(workflow, &at, "`workflow`", &["namespace", "name", "version", "input"])?;
        let mut part = |key: &str| {
            let value = self.required(fields, key, &at, "`workflow`")?;
            self.text(value, &join(&at, key), &format!("`{key}`"))
        };
        let (namespace, name) = (part("namespace"), part("name"));
        let version = match fields.get("version") {
            None => "latest".into(),
            Some(version) => {
                let version = self.text(version, &join(&at, "version"), "`version`")?;
                if &*version != "latest" && !super::document::is_semantic(&version) {
                    let message = format!("`{version}` is no version");
                    self.error("bad-value", &join(&at, "version"), message, "write `latest` or a version like `1.0.0`");
                }
                version
            }
        };
        let input = fields.get("input").map(|input| self.template(input, &join(&at, "input")));
        Some(TaskKind::Run(RunWorkflow { namespace: namespace?, name: name?, version, input, await_ }))
    }

    fn set(&mut self, value: &Value, pointer: &str) -> Option<TaskKind> {
        let fits = match value {
            Value::Object(fields) => !fields.is_empty(),
            Value::String(text) => expression_part(text).is_some(),
            _ => false,
        };
        if !fits {
            let message = format!("`set` takes a mapping or an expression, not {value}");
            self.error("bad-value", pointer, message, "write `set: { key: value }` or `set: ${ … }`");
            return None;
        }
        Some(TaskKind::Set(self.template(value, pointer)))
    }

    fn switch(&mut self, value: &Value, pointer: &str) -> Option<TaskKind> {
        let items = self.items(value, pointer, "`switch`")?;
        let mut cases: Vec<Case> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some((name, definition, at)) = self.named(item, &join(pointer, index), "a case") else { continue };
            let Some(fields) = self.object(definition, &at, "a case", &["when", "then"]) else { continue };
            if cases.iter().any(|case| case.name == *name) {
                self.error_on_key("duplicate-name", &at, format!("a second case `{name}`"), "rename one of them");
            }
            let when = fields.get("when").and_then(|when| self.expression(when, &join(&at, "when")));
            if !fields.contains_key("when") && cases.iter().any(|case| case.when.is_none()) {
                let message = "a second case without `when`: only one can be the default";
                self.error_on_key("duplicate-default", &at, message, "give it a `when`");
            }
            self.required(fields, "then", &at, "a case");
            let then = self.then(fields.get("then"), &join(&at, "then"));
            cases.push(Case { name: name.clone(), when, then });
        }
        Some(TaskKind::Switch(cases))
    }
}
