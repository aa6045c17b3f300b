//! `call`: functions of the default catalog, `http`; and why other calls are refused. Functions of the document: `function.rs`.

use super::super::catalog::{self, Function};
use super::super::diagnostic::{Diagnostic, join};
use super::super::plan::{Call, TaskKind};
use super::super::suggest;
use super::Compiler;
use super::template::{expression_part, has_expression};
use crate::schema;
use crate::value::{Object, Value};
use std::sync::Arc;

/// Calls of the language that this profile leaves out, and why.
const REFUSED: [(&str, &str); 5] = [
    ("grpc", "gRPC is not carried; use `http`"),
    ("openapi", "OpenAPI documents are not fetched; use `http`"),
    ("asyncapi", "AsyncAPI documents are not fetched; use `emit`, `listen` or `device.command`"),
    ("a2a", "agent protocols are not carried; use `http`"),
    ("mcp", "agent protocols are not carried; use `http`"),
];

/// Whether `call` means something by this name without the document's help.
pub(super) fn is_taken(name: &str) -> bool {
    name == "http" || catalog::resolve(name).is_ok() || REFUSED.iter().any(|(refused, _)| *refused == name)
}

impl Compiler {
    pub(super) fn call(&mut self, fields: &Object, pointer: &str) -> Option<TaskKind> {
        let at = join(pointer, "call");
        let name = self.text(fields.get("call")?, &at, "`call`")?;
        if self.calls_within_function(&name, &at) {
            return None;
        }
        let own = fields.get("with").cloned();
        let with_at = if own.is_some() { join(pointer, "with") } else { pointer.to_owned() };
        let own = own.unwrap_or_else(Value::empty_object);
        self.call_target(&name, &at, &own, &with_at)
    }

    fn call_target(&mut self, name: &Arc<str>, at: &str, with: &Value, with_at: &str) -> Option<TaskKind> {
        if &**name == "http" {
            return self.http(with, with_at).map(|http| TaskKind::Call(Call::Http(http)));
        }
        let function = self.function(name, at)?;
        if **name == *function.name {
            self.pins.push((at.to_owned(), function.full_name()));
        }
        self.arguments(function, with, with_at);
        let function_name = Arc::from(function.name.as_str());
        Some(TaskKind::Call(Call::Function { function: function_name, with: self.template(with, with_at) }))
    }

    fn function(&mut self, name: &str, at: &str) -> Option<&'static Function> {
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            self.error("refused", at, format!("`call: {name}` is refused"), *reason);
            return None;
        }
        if name.contains("://") {
            let message = "functions are not fetched from elsewhere: a flow must run when the building is cut off";
            self.error("refused", at, message, "use a function of the default catalog, or `call: http`");
            return None;
        }
        match catalog::resolve(name) {
            Ok(function) => Some(function),
            Err(unknown) => {
                let own = self.defined("functions");
                let custom = suggest::nearest(name, own.iter().map(|name| &**name).chain(["http"]));
                let hint = custom.map(|near| format!("did you mean `{near}`?")).or_else(|| unknown.hint());
                self.findings.push(Diagnostic::error("unknown-function", at, unknown.to_string()).hint(hint));
                None
            }
        }
    }

    /// Checks what is literal in `with`; expressions are checked when they have a value.
    fn arguments(&mut self, function: &Function, with: &Value, pointer: &str) {
        if with.as_str().is_some_and(|text| expression_part(text).is_some()) {
            return;
        }
        if with.as_object().is_none() {
            self.error("bad-type", pointer, format!("`with` of `{}` must be a mapping, not {}", function.name, with.type_name()), "");
            return;
        }
        self.literal(&function.with_schema, with, pointer, &function.name);
        if let Some(form) = with.get("form").filter(|form| function.name == "human.task" && !has_expression(form) && !is_short_form(form)) {
            self.json_schema(form, &join(pointer, "form"));
        }
    }

    fn literal(&mut self, schema: &Value, value: &Value, pointer: &str, function: &str) {
        if value.as_str().is_some_and(|text| expression_part(text).is_some()) {
            return;
        }
        if !has_expression(value) {
            return self.violations(schema, value, pointer, function);
        }
        match value {
            Value::Object(fields) => {
                let known = schema.get("properties").and_then(Value::as_object);
                // The parts of the schema that speak of keys only, not of values that are not there yet.
                let mut keys_only = Object::new();
                for key in ["required", "oneOf", "anyOf", "additionalProperties"] {
                    if let Some(part) = schema.get(key) {
                        keys_only.insert(key.into(), part.clone());
                    }
                }
                if let Some(known) = known {
                    let any = known.keys().map(|key| (key.clone(), Value::Bool(true))).collect();
                    keys_only.insert("properties".into(), Value::Object(Arc::new(any)));
                }
                self.violations(&Value::Object(Arc::new(keys_only)), value, pointer, function);
                for (key, item) in fields.iter() {
                    if let Some(part) = known.and_then(|known| known.get(key)) {
                        self.literal(part, item, &join(pointer, key), function);
                    }
                }
            }
            Value::Array(items) => {
                let Some(part) = schema.get("items") else { return };
                for (index, item) in items.iter().enumerate() {
                    self.literal(part, item, &join(pointer, index), function);
                }
            }
            _ => self.violations(schema, value, pointer, function),
        }
    }

    fn violations(&mut self, schema: &Value, value: &Value, pointer: &str, function: &str) {
        for violation in schema::validate(schema, value).err().unwrap_or_default() {
            let at = format!("{pointer}{}", violation.pointer);
            let diagnostic = Diagnostic::error("bad-argument", at, format!("`{function}`: {}", violation.message));
            let on_key = violation.message.starts_with("unknown key") || violation.message.ends_with("is missing");
            self.findings.push(if on_key { diagnostic.on_key() } else { diagnostic });
        }
    }
}

/// `{verified: boolean}`: field names with their types, short for a schema.
fn is_short_form(form: &Value) -> bool {
    let types = ["boolean", "string", "number", "integer", "object", "array"];
    form.as_object().is_some_and(|fields| fields.values().all(|kind| kind.as_str().is_some_and(|kind| types.contains(&kind))))
}
