//! Events: which ones a `listen` or a `schedule` takes, and what `emit` sends.

use super::super::diagnostic::{Diagnostic, join};
use super::super::plan::{
    AttributeMatch, Consume, Correlation, EventFilter, ForEach, Listen, ListenRead, OutputSpec, TaskKind, Template, Until,
};
use super::Compiler;
use super::template::{expression_part, has_expression};
use crate::expression::Expression;
use crate::value::{Object, Value};
use std::sync::Arc;

const ATTRIBUTES: [&str; 9] = ["id", "source", "type", "time", "subject", "data", "datacontenttype", "dataschema", "specversion"];
/// Filters of one task: each is asked for each event.
const FILTER_COUNT_MAX: usize = 64;

/// Who consumes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Consumer {
    Task,
    /// No instance is there yet, so no filter may ask one.
    Schedule,
    /// `until`: no second `until` inside.
    Until,
}

impl Compiler {
    pub(super) fn listen(&mut self, task: &Object, pointer: &str) -> Option<TaskKind> {
        let at = join(pointer, "listen");
        let fields = self.object(task.get("listen")?, &at, "`listen`", &["to", "read"])?;
        let read = match fields.get("read").map(|read| self.word(read, &join(&at, "read"), "`read`", &["data", "envelope", "raw"])) {
            Some(Some("envelope")) => ListenRead::Envelope,
            Some(Some("raw")) => ListenRead::Raw,
            _ => ListenRead::Data,
        };
        let to = self.required(fields, "to", &at, "`listen`").and_then(|to| self.consume(to, &join(&at, "to"), Consumer::Task));
        let foreach = task.get("foreach").and_then(|foreach| self.foreach(foreach, &join(pointer, "foreach")));
        Some(TaskKind::Listen(Listen { to: to?, read, foreach }))
    }

    fn foreach(&mut self, value: &Value, pointer: &str) -> Option<ForEach> {
        let fields = self.object(value, pointer, "`foreach`", &["item", "at", "do", "output", "export"])?;
        let item = self.variable(fields.get("item"), &join(pointer, "item"), "item");
        let at = self.variable(fields.get("at"), &join(pointer, "at"), "index");
        let depth = self.scope.len();
        self.scope.extend([item.clone(), at.clone()]);
        let body = fields.get("do").map(|body| self.list(body, &join(pointer, "do"), "`do`")).unwrap_or_default();
        let output: OutputSpec = self.output_spec(fields, pointer);
        let export = self.export_spec(fields, pointer);
        self.scope.truncate(depth);
        Some(ForEach { item, at, body, output, export })
    }

    /// `one`, `any` or `all`.
    pub(super) fn consume(&mut self, value: &Value, pointer: &str, consumer: Consumer) -> Option<Consume> {
        let keys: &[&str] = if consumer == Consumer::Task { &["one", "any", "all", "until"] } else { &["one", "any", "all"] };
        let fields = self.object(value, pointer, "an event selection", keys)?;
        let until = fields.get("until").filter(|_| consumer == Consumer::Task);
        let modes: Vec<&str> = ["one", "any", "all"].into_iter().filter(|mode| fields.contains_key(*mode)).collect();
        if until.is_some() && modes != ["any"] {
            self.error_on_key("bad-value", &join(pointer, "until"), "`until` goes with `any` only", "");
        }
        match (modes.as_slice(), fields.values().next()) {
            (["one"], _) => {
                let filter = self.filter(fields.get("one")?, &join(pointer, "one"), consumer)?;
                Some(Consume::One(filter))
            }
            (["all"], _) => {
                let all = self.items(fields.get("all")?, &join(pointer, "all"), "`all`")?;
                Some(Consume::All(self.filters(all, &join(pointer, "all"), consumer)))
            }
            (["any"], _) => {
                let at = join(pointer, "any");
                let filters = match fields.get("any")? {
                    Value::Array(items) => self.filters(items, &at, consumer),
                    other => {
                        self.error(
                            "bad-type",
                            &at,
                            format!("`any` must be a list, not {}", other.type_name()),
                            "begin each item with `- `",
                        );
                        return None;
                    }
                };
                if filters.is_empty() {
                    let warning = Diagnostic::warning("filter-too-wide", at, "an empty `any` takes every event of the mesh");
                    self.findings.push(warning.suggest("name a `type`").on_key());
                }
                let until = until.and_then(|until| self.until(until, &join(pointer, "until")));
                Some(Consume::Any { filters, until })
            }
            _ => {
                self.error_on_key("missing-key", pointer, "say exactly one of `one`, `any`, `all`", "");
                None
            }
        }
    }

    fn until(&mut self, value: &Value, pointer: &str) -> Option<Until> {
        match value {
            Value::Object(_) => Some(Until::Event(Box::new(self.consume(value, pointer, Consumer::Until)?))),
            _ => self.expression(value, pointer).map(Until::Condition),
        }
    }

    fn filters(&mut self, items: &[Value], pointer: &str, consumer: Consumer) -> Vec<EventFilter> {
        if items.len() > FILTER_COUNT_MAX {
            self.error(
                "too-large",
                pointer,
                format!("more than {FILTER_COUNT_MAX} filters"),
                "one `type` or `data` expression can take several",
            );
            return Vec::new();
        }
        items.iter().enumerate().filter_map(|(index, item)| self.filter(item, &join(pointer, index), consumer)).collect()
    }

    fn filter(&mut self, value: &Value, pointer: &str, consumer: Consumer) -> Option<EventFilter> {
        let fields = self.object(value, pointer, "an event filter", &["with", "correlate"])?;
        let with = self.required(fields, "with", pointer, "an event filter");
        let with = with.map(|with| self.attributes(with, &join(pointer, "with"), consumer)).unwrap_or_default();
        let correlate = fields.get("correlate").map(|value| self.correlate(value, &join(pointer, "correlate"))).unwrap_or_default();
        Some(EventFilter { with, correlate })
    }

    fn attributes(&mut self, value: &Value, pointer: &str, consumer: Consumer) -> Vec<(Arc<str>, AttributeMatch)> {
        let Some(fields) = value.as_object() else {
            self.error(
                "bad-type",
                pointer,
                format!("`with` must map event attributes to values, not {}", value.type_name()),
                "e.g. `type: spalla.device.passed`",
            );
            return Vec::new();
        };
        if !fields.contains_key("type") {
            let warning = Diagnostic::warning("filter-too-wide", pointer, "without a `type` every event of the mesh is looked at");
            self.findings.push(warning.suggest("add `type: …`").on_key());
        }
        let mut all = Vec::new();
        for (name, wanted) in fields {
            let at = join(pointer, name);
            self.attribute_name(name, &at);
            all.extend(self.attribute(wanted, &at, consumer).map(|wanted| (name.clone(), wanted)));
        }
        all
    }

    fn attribute_name(&mut self, name: &str, pointer: &str) {
        if ATTRIBUTES.contains(&name) || (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())) {
            return;
        }
        let hint = super::super::suggest::nearest(name, ATTRIBUTES);
        let hint = hint.map_or_else(
            || "extension attributes have lower case letters and digits only".into(),
            |near| format!("did you mean `{near}`?"),
        );
        self.error_on_key("unknown-key", pointer, format!("`{name}` is no attribute of an event"), hint);
    }

    fn attribute(&mut self, wanted: &Value, pointer: &str, consumer: Consumer) -> Option<AttributeMatch> {
        let Some((_, source)) = wanted.as_str().and_then(expression_part) else {
            if has_expression(wanted) {
                let hint = "compare in one expression: '${ .visitId == $context.visit.id }'";
                self.error("bad-expression", pointer, "expressions inside data cannot be matched", hint);
                return None;
            }
            return Some(AttributeMatch::Equal(wanted.clone()));
        };
        // `${ "a constant" }` is the constant, not a condition that always holds.
        if let Ok(constant) = Value::from_json(source)
            && constant.as_bool().is_none()
        {
            return Some(AttributeMatch::Equal(constant));
        }
        let expression = self.expression(wanted, pointer)?;
        let uses_instance = !expression.variables().is_empty();
        if uses_instance && consumer == Consumer::Schedule {
            let message = "a schedule is asked before there is an instance: no variables here";
            self.error("bad-expression", pointer, message, "compare with values of the event only");
        }
        Some(AttributeMatch::Expression { expression, uses_instance })
    }

    fn correlate(&mut self, value: &Value, pointer: &str) -> Vec<Correlation> {
        let Some(fields) = value.as_object() else {
            self.error("bad-type", pointer, "`correlate` must map keys to `{ from, expect }`", "");
            return Vec::new();
        };
        let mut all = Vec::new();
        for (key, definition) in fields {
            let at = join(pointer, key);
            let Some(fields) = self.object(definition, &at, "a correlation", &["from", "expect"]) else { continue };
            let from = self.required(fields, "from", &at, "a correlation").and_then(|from| self.expression(from, &join(&at, "from")));
            let expect = fields.get("expect").and_then(|expect| self.expected(expect, &join(&at, "expect")));
            all.extend(from.map(|from| Correlation { key: key.clone(), from, expect }));
        }
        all
    }

    /// A constant or an expression: bare text is an expression only where it begins as no plain word does.
    fn expected(&mut self, value: &Value, pointer: &str) -> Option<Expression> {
        match value {
            Value::String(text) if !has_expression(value) && !text.trim_start().starts_with(['.', '$', '"', '(', '[', '{']) => {
                let source = value.to_json();
                self.parse(&source, 0, &source, pointer)
            }
            _ => self.expression(value, pointer),
        }
    }

    pub(super) fn emit(&mut self, task: &Object, pointer: &str) -> Option<TaskKind> {
        let at = join(pointer, "emit");
        let fields = self.object(task.get("emit")?, &at, "`emit`", &["event"])?;
        let event_at = join(&at, "event");
        let event = self.required(fields, "event", &at, "`emit`")?;
        let fields = self.object(event, &event_at, "`event`", &["with"])?;
        let with_at = join(&event_at, "with");
        let with = self.required(fields, "with", &event_at, "`event`")?;
        let Some(attributes) = with.as_object() else {
            self.error("bad-type", &with_at, format!("`with` must map event attributes to values, not {}", with.type_name()), "");
            return None;
        };
        self.required(attributes, "type", &with_at, "the event");
        for name in attributes.keys() {
            self.attribute_name(name, &join(&with_at, name));
        }
        let template: Template = self.template(with, &with_at);
        Some(TaskKind::Emit(template))
    }
}
