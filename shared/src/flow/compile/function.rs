//! Functions of the document: tasks under `use.functions` that `call` runs by their name. The caller's `with` becomes the function's
//! input, as the specification has it: nothing is merged into the function's own arguments.
//!
//! Each is checked where it stands, called or not, and compiled again into each task that calls it: in the trace and in errors a call
//! is one task. A function calls no other one, so that what is written out has an end.

use super::super::diagnostic::{Diagnostic, join};
use super::super::plan::{DurationSpec, Function, TaskKind};
use super::call::is_taken;
use super::template::expression_part;
use super::{Compiler, DOCUMENT_SIZE_MAX};
use crate::value::{Object, Value};
use std::sync::Arc;

/// What all calls of one flow may be together once their functions are written out ([`Value::size`]): every replica keeps it.
const WRITTEN_OUT_SIZE_MAX: usize = 4 * DOCUMENT_SIZE_MAX;

/// A call of a function of the document.
pub(super) struct Called {
    pub kind: TaskKind,
    pub function: Function,
    /// The function's, for where the caller has none.
    pub timeout: Option<DurationSpec>,
}

impl Compiler {
    /// The function of the document that a task calls.
    pub(super) fn custom_call(&self, fields: &Object) -> Option<Arc<str>> {
        let Some(Value::String(name)) = fields.get("call") else { return None };
        self.is_defined("functions", name).then(|| name.clone())
    }

    /// A task that calls `name`, which is defined. `None` where the function or its arguments are wrong; that is told.
    pub(super) fn called(&mut self, name: &Arc<str>, fields: &Object, pointer: &str) -> Option<Called> {
        let at = join(pointer, "call");
        let (definition, _) = self.definition("functions", name, &at)?;
        if self.calls_within_function(name, &at) {
            return None;
        }
        let arguments = fields.get("with").and_then(|with| self.call_arguments(name, with, &join(pointer, "with")));
        self.written_out = self.written_out.saturating_add(definition.size());
        if self.written_out > WRITTEN_OUT_SIZE_MAX {
            let message = format!("all calls of functions come to more than {WRITTEN_OUT_SIZE_MAX} bytes");
            self.error("too-large", &at, message, "make a flow of the function and call it with `run: { workflow: … }`");
            return None;
        }
        if self.broken_functions.contains(name) {
            // Told where it stands.
            return None;
        }
        let inner = definition.as_object()?;
        let (told, pinned) = (self.findings.list.len(), self.pins.len());
        let called = self.written_out(name, inner, pointer);
        // What is wrong only here (a variable that this place does not have) is told at the call; names are pinned where they stand.
        for diagnostic in self.findings.list.iter_mut().skip(told) {
            let message = format!("in the function `{name}`: {}", diagnostic.message);
            let moved = Diagnostic::error(&diagnostic.code, at.as_str(), message).hint(diagnostic.suggestion.take());
            *diagnostic = Diagnostic { severity: diagnostic.severity, ..moved };
        }
        self.pins.truncate(pinned);
        let mut called = called?;
        called.function.arguments = arguments;
        Some(called)
    }

    /// Whether a function of the document is called inside another one; that is told.
    pub(super) fn calls_within_function(&mut self, name: &str, at: &str) -> bool {
        let Some(outer) = self.in_function.clone().filter(|_| self.is_defined("functions", name)) else { return false };
        let message = format!("the function `{outer}` calls `{name}`: a function under `use.functions` cannot call another one of them");
        self.error("bad-value", at, message, "call what that one calls");
        true
    }

    fn call_arguments(&mut self, name: &str, with: &Value, pointer: &str) -> Option<super::super::plan::Template> {
        let whole = with.as_str().is_some_and(|text| expression_part(text).is_some());
        if with.as_object().is_none() && !whole {
            let message = format!("`with` of `{name}` must be a mapping or an expression, not {}", with.type_name());
            self.error("bad-type", pointer, message, "it is the function's input: write `with: { name: value }`");
            return None;
        }
        Some(self.template(with, pointer))
    }

    /// The function as the task at `pointer`.
    fn written_out(&mut self, name: &Arc<str>, fields: &Object, pointer: &str) -> Option<Called> {
        let what = format!("the function `{name}`");
        let kind = self.kind_of(fields, pointer, &what)?;
        for (key, hint) in [
            ("if", "say it at the task that calls the function"),
            ("then", "nothing stands beside a function: say it at the task that calls it"),
            ("switch", "nothing stands beside a function that it could go to: use `switch` where it is called"),
        ] {
            if fields.contains_key(key) {
                self.error_on_key("refused", &join(pointer, key), format!("{what} cannot have `{key}`"), hint);
            }
        }
        let outside = (self.in_function.replace(name.clone()), self.siblings.take());
        let function = Function {
            name: name.clone(),
            definition: Value::Object(Arc::new(fields.clone())),
            arguments: None,
            input: self.input_spec(fields, pointer),
            output: self.output_spec(fields, pointer),
            export: self.export_spec(fields, pointer),
        };
        let timeout = self.timeout(fields, pointer);
        let kind = self.kind(kind, fields, pointer);
        (self.in_function, self.siblings) = outside;
        Some(Called { kind: kind?, function, timeout })
    }

    /// A definition under `use.functions`.
    pub(super) fn check_function(&mut self, name: &Arc<str>, value: &Value, pointer: &str) {
        let told = self.findings.list.len();
        if is_taken(name) {
            self.error_on_key("bad-name", pointer, format!("`{name}` is a function already"), "choose another name");
        }
        match value.as_object() {
            Some(fields) => {
                let before = self.tasks.len();
                self.written_out(name, fields, pointer);
                self.tasks.truncate(before);
            }
            None => {
                let message = format!("a function must be a task, not {}", value.type_name());
                self.error("bad-type", pointer, message, "say what it does, e.g. `call: http` and `with: …`");
            }
        }
        if self.findings.list.iter().skip(told).any(Diagnostic::is_error) {
            self.broken_functions.insert(name.clone());
        }
    }
}
