//! `use`: what tasks refer to by name. Each definition is checked where it stands, used or not, and compiled at each place of use.

use super::super::diagnostic::{Diagnostic, join};
use super::super::plan::Extension;
use super::super::suggest;
use super::Compiler;
use crate::value::{Object, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const KINDS: [&str; 5] = ["authentications", "errors", "functions", "retries", "timeouts"];
/// `composite` is the specification's word for `do` and `fork` together.
const EXTENDABLE: [&str; 14] =
    ["all", "call", "composite", "do", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait"];

#[derive(Default)]
pub(super) struct Definitions {
    /// By kind (`retries`, …) and name.
    named: BTreeMap<&'static str, Object>,
    pub secrets: Vec<Arc<str>>,
    /// (kind, name) of what something refers to.
    used: BTreeSet<(&'static str, Arc<str>)>,
}

impl Compiler {
    /// The definition that a task names, and where it stands.
    pub(super) fn definition(&mut self, kind: &'static str, name: &str, used_at: &str) -> Option<(Value, String)> {
        let pointer = join(&format!("/use/{kind}"), name);
        let known = self.definitions.named.get(kind);
        if let Some(found) = known.and_then(|known| known.get(name)).cloned() {
            self.definitions.used.insert((kind, name.into()));
            return Some((found, pointer));
        }
        let hint = match known {
            Some(known) if !known.is_empty() => suggest::hint(name, known.keys().map(|key| &**key).collect::<Vec<_>>()).unwrap_or_default(),
            _ => format!("define it under `use.{kind}`"),
        };
        self.error("unknown-name", used_at, format!("there is no `{name}` under `use.{kind}`"), hint);
        None
    }

    /// Takes the definitions in; tasks may be compiled after it.
    pub(super) fn definitions(&mut self, value: &Value) {
        let keys = ["authentications", "catalogs", "errors", "extensions", "functions", "retries", "secrets", "timeouts"];
        let Some(fields) = self.object(value, "/use", "`use`", &keys) else { return };
        if fields.contains_key("catalogs") {
            let message = "remote catalogs are refused: a flow must run when the building is cut off";
            self.error_on_key("refused", "/use/catalogs", message, "the `default` catalog needs no entry");
        }
        self.secrets(fields.get("secrets"));
        for kind in KINDS {
            let Some(value) = fields.get(kind) else { continue };
            match value.as_object() {
                Some(named) => {
                    self.definitions.named.insert(kind, named.clone());
                }
                None => self.error("bad-type", &format!("/use/{kind}"), format!("`{kind}` must map names to definitions"), ""),
            }
        }
        self.any_variable = true;
        for kind in KINDS {
            for (name, value) in self.definitions.named.get(kind).cloned().unwrap_or_default() {
                self.check_definition(kind, &name, &value, &join(&format!("/use/{kind}"), &name));
            }
        }
        self.any_variable = false;
    }

    fn check_definition(&mut self, kind: &str, name: &Arc<str>, value: &Value, pointer: &str) {
        match kind {
            "authentications" => {
                self.authentication_spec(value, pointer);
            }
            "errors" => {
                self.error_spec(value, pointer);
            }
            "functions" => self.check_function(name, value, pointer),
            "retries" => {
                self.retry_spec(value, pointer);
            }
            _ => {
                self.timeout_spec(value, pointer);
            }
        }
    }

    fn secrets(&mut self, value: Option<&Value>) {
        let Some(value) = value else { return };
        let Some(names) = self.items(value, "/use/secrets", "`secrets`") else { return };
        for (index, name) in names.iter().enumerate() {
            if let Some(name) = self.text(name, &format!("/use/secrets/{index}"), "a secret's name")
                && !self.definitions.secrets.contains(&name)
            {
                self.definitions.secrets.push(name);
            }
        }
    }

    /// A secret must be declared, so that a gateway can tell at deploy what it lacks.
    pub(super) fn secret(&mut self, value: &Value, pointer: &str) -> Option<Arc<str>> {
        let name = self.text(value, pointer, "a secret's name")?;
        if !self.definitions.secrets.contains(&name) {
            let hint = suggest::nearest(&name, self.definitions.secrets.iter().map(|secret| &**secret))
                .map_or_else(|| "list it under `use.secrets`".to_owned(), |near| format!("did you mean `{near}`?"));
            self.error("unknown-name", pointer, format!("the secret `{name}` is not declared"), hint);
        }
        self.definitions.used.insert(("secrets", name.clone()));
        Some(name)
    }

    /// What nothing refers to; called when all tasks are compiled.
    pub(super) fn unused_definitions(&mut self) {
        let definitions = &self.definitions;
        let named = definitions
            .named
            .iter()
            .flat_map(|(kind, named)| named.keys().map(move |name| (*kind, name, join(&format!("/use/{kind}"), name))));
        let secrets = definitions.secrets.iter().enumerate().map(|(at, name)| ("secrets", name, format!("/use/secrets/{at}")));
        let unused: Vec<Diagnostic> = named
            .chain(secrets)
            .filter(|(kind, name, _)| !definitions.used.contains(&(*kind, (*name).clone())))
            .map(|(kind, name, pointer)| {
                let warning = Diagnostic::warning("unused-definition", pointer, format!("nothing refers to `{name}` under `use.{kind}`"));
                let warning = warning.suggest("take it out, or mend the name where it is meant");
                if kind == "secrets" { warning } else { warning.on_key() }
            })
            .collect();
        unused.into_iter().for_each(|warning| self.findings.push(warning));
    }

    pub(super) fn extensions(&mut self, value: Option<&Value>) -> Vec<Extension> {
        let pointer = "/use/extensions";
        let Some(items) = value.and_then(|value| self.items(value, pointer, "`extensions`")) else { return Vec::new() };
        let mut all: Vec<Extension> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some((name, definition, at)) = self.named(item, &join(pointer, index), "an extension") else { continue };
            if all.iter().any(|known| known.name == *name) {
                self.error_on_key("duplicate-name", &at, format!("a second extension `{name}`"), "rename one of them");
            }
            let Some(fields) = self.object(definition, &at, "an extension", &["extend", "when", "before", "after"]) else { continue };
            let extend = self
                .required(fields, "extend", &at, "an extension")
                .and_then(|kind| self.word(kind, &join(&at, "extend"), "`extend`", &EXTENDABLE))
                .unwrap_or("all");
            if !fields.contains_key("before") && !fields.contains_key("after") {
                self.error_on_key("missing-key", &at, format!("the extension `{name}` does nothing"), "give it `before` or `after`");
            }
            let when = fields.get("when").and_then(|when| self.expression(when, &join(&at, "when")));
            let before = fields.get("before").map(|tasks| self.list(tasks, &join(&at, "before"), "`before`")).unwrap_or_default();
            let after = fields.get("after").map(|tasks| self.list(tasks, &join(&at, "after"), "`after`")).unwrap_or_default();
            all.push(Extension { name: name.clone(), extend: extend.into(), when, before, after });
        }
        all
    }
}

impl Compiler {
    pub(super) fn is_defined(&self, kind: &str, name: &str) -> bool {
        self.definitions.named.get(kind).is_some_and(|named| named.contains_key(name))
    }

    /// Names under one kind.
    pub(super) fn defined(&self, kind: &str) -> Vec<Arc<str>> {
        self.definitions.named.get(kind).map(|named| named.keys().cloned().collect()).unwrap_or_default()
    }
}
