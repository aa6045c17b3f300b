//! What every task may carry: `if`, `input`, `output`, `export`, `timeout`, `then`.

use super::super::diagnostic::{Diagnostic, join};
use super::super::plan::{DurationSpec, ExportSpec, InputSpec, OutputSpec, Schema, Then};
use super::super::suggest;
use super::Compiler;
use crate::schema;
use crate::time::parse_duration_ms;
use crate::value::{Object, Value};
use std::sync::Arc;

impl Compiler {
    pub(super) fn input_spec(&mut self, fields: &Object, pointer: &str) -> InputSpec {
        let Some((value, pointer)) = fields.get("input").map(|value| (value, join(pointer, "input"))) else { return InputSpec::default() };
        let Some(fields) = self.object(value, &pointer, "`input`", &["schema", "from"]) else { return InputSpec::default() };
        let from = fields.get("from").and_then(|from| self.shape(from, &join(&pointer, "from")));
        InputSpec { schema: self.schema_of(fields, &pointer), from }
    }

    pub(super) fn output_spec(&mut self, fields: &Object, pointer: &str) -> OutputSpec {
        let Some((value, pointer)) = fields.get("output").map(|value| (value, join(pointer, "output"))) else {
            return OutputSpec::default();
        };
        let Some(fields) = self.object(value, &pointer, "`output`", &["as", "schema"]) else { return OutputSpec::default() };
        let as_ = fields.get("as").and_then(|shape| self.shape(shape, &join(&pointer, "as")));
        OutputSpec { as_, schema: self.schema_of(fields, &pointer) }
    }

    pub(super) fn export_spec(&mut self, fields: &Object, pointer: &str) -> Option<ExportSpec> {
        let (value, pointer) = fields.get("export").map(|value| (value, join(pointer, "export")))?;
        let fields = self.object(value, &pointer, "`export`", &["as", "schema"])?;
        let shape = self.required(fields, "as", &pointer, "`export`")?;
        let as_ = self.shape(shape, &join(&pointer, "as"))?;
        Some(ExportSpec { as_, schema: self.schema_of(fields, &pointer) })
    }

    fn schema_of(&mut self, fields: &Object, pointer: &str) -> Option<Schema> {
        let (value, pointer) = fields.get("schema").map(|value| (value, join(pointer, "schema")))?;
        let fields = self.object(value, &pointer, "`schema`", &["format", "document", "resource"])?;
        if fields.contains_key("resource") {
            let message = "remote schemas are refused: a flow must run when the building is cut off";
            self.error_on_key("refused", &join(&pointer, "resource"), message, "write the schema out under `document`");
            return None;
        }
        if let Some(format) = fields.get("format")
            && !format.as_str().is_some_and(|format| format == "json" || format.starts_with("json:"))
        {
            self.error("refused", &join(&pointer, "format"), format!("the schema format {format} is not known"), "only `json` is");
        }
        let document = self.required(fields, "document", &pointer, "`schema`")?;
        self.json_schema(document, &join(&pointer, "document"));
        Some(Arc::new(document.clone()))
    }

    /// Reports what our validator does not know.
    pub(super) fn json_schema(&mut self, document: &Value, pointer: &str) {
        for violation in schema::check(document).err().unwrap_or_default() {
            let on_key = violation.message.starts_with("unknown schema keyword");
            let diagnostic = Diagnostic::error("bad-schema", format!("{pointer}{}", violation.pointer), violation.message);
            self.findings.push(if on_key { diagnostic.on_key() } else { diagnostic });
        }
    }

    /// `timeout: { after: … }` or the name of one under `use.timeouts`.
    pub(super) fn timeout(&mut self, fields: &Object, pointer: &str) -> Option<DurationSpec> {
        let (value, pointer) = fields.get("timeout").map(|value| (value, join(pointer, "timeout")))?;
        if let Value::String(name) = value {
            if !self.is_defined("timeouts", name) && parse_duration_ms(name).is_some() {
                let message = format!("`{name}` is a duration, but a name under `use.timeouts` is meant here");
                self.error("bad-type", &pointer, message, format!("write `timeout: {{ after: {name} }}`"));
                return None;
            }
            let (definition, pointer) = self.definition("timeouts", name, &pointer)?;
            return self.timeout_spec(&definition, &pointer);
        }
        self.timeout_spec(value, &pointer)
    }

    pub(super) fn timeout_spec(&mut self, value: &Value, pointer: &str) -> Option<DurationSpec> {
        let fields = self.object(value, pointer, "a timeout", &["after"])?;
        let after = self.required(fields, "after", pointer, "a timeout")?;
        let spec = self.duration(after, &join(pointer, "after"))?;
        if matches!(spec, DurationSpec::Millis(0)) {
            self.error("bad-duration", &join(pointer, "after"), "a timeout of nothing would end the task before it begins", "");
        }
        Some(spec)
    }

    /// A target is given as its place among the siblings; the list turns it into a task id.
    pub(super) fn then(&mut self, value: Option<&Value>, pointer: &str) -> Then {
        let Some(value) = value else { return Then::Continue };
        let Some(name) = self.text(value, pointer, "`then`") else { return Then::Continue };
        match &*name {
            "continue" => return Then::Continue,
            "exit" => return Then::Exit,
            "end" => return Then::End,
            _ => {}
        }
        let Some(siblings) = &self.siblings else {
            let hint = "put the branch's tasks into a `do`";
            self.error("missing-target", pointer, format!("`{name}`: a fork branch is one task and cannot jump to another"), hint);
            return Then::Continue;
        };
        if let Some(at) = siblings.iter().position(|sibling| *sibling == name) {
            return Then::Task(u32::try_from(at).unwrap_or(u32::MAX));
        }
        let near = suggest::nearest(&name, siblings.iter().map(|sibling| &**sibling).chain(["continue", "exit", "end"]));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`then` reaches the tasks of the same `do`, and `continue`, `exit`, `end`".into(),
        };
        self.error("missing-target", pointer, format!("there is no task `{name}` beside this one"), hint);
        Then::Continue
    }
}
