//! Strings that are expressions. In a *template* only `${ … }` is one; in a place that the language reserves for expressions
//! (`if`, `when`, `as`, …) the bare text is one too.

use super::super::diagnostic::{Diagnostic, join};
use super::super::plan::Template;
use super::super::suggest;
use super::Compiler;
use crate::expression::{Expression, SyntaxError};
use crate::value::Value;

/// Runtime arguments of the language.
pub(super) const ARGUMENTS: [&str; 8] = ["context", "input", "output", "task", "workflow", "runtime", "secrets", "authorization"];
/// Longest expression, in bytes.
pub const EXPRESSION_LEN_MAX: usize = 4_096;

/// The expression in `${ … }` and the byte where it begins; `None` for other text.
pub(crate) fn expression_part(text: &str) -> Option<(usize, &str)> {
    let inner = text.trim().strip_prefix("${")?.strip_suffix('}')?;
    let lead = text.len() - text.trim_start().len() + 2 + inner.len() - inner.trim_start().len();
    Some((lead, inner.trim()))
}

/// Whether an expression stands anywhere in `value`.
pub(crate) fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => expression_part(text).is_some(),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(fields) => fields.values().any(has_expression),
        _ => false,
    }
}

impl Compiler {
    /// A place reserved for an expression: `${ … }`, bare text, or a plain value (which stands for itself).
    pub(super) fn expression(&mut self, value: &Value, pointer: &str) -> Option<Expression> {
        match value {
            Value::String(text) => {
                let (lead, source) = expression_part(text).unwrap_or_else(|| (text.len() - text.trim_start().len(), text.trim()));
                self.parse(text, lead, source, pointer)
            }
            Value::Null => {
                self.error_on_key("missing-key", pointer, "an expression is missing here", "");
                None
            }
            other if has_expression(other) => {
                let hint = "write the whole of it as one expression: '${ { key: .value } }'";
                self.error("bad-expression", pointer, "expressions inside data cannot stand here", hint);
                None
            }
            other => {
                let source = other.to_json();
                self.parse(&source, 0, &source, pointer)
            }
        }
    }

    /// `as`, `from`: text is an expression in either form, a mapping is a template.
    pub(super) fn shape(&mut self, value: &Value, pointer: &str) -> Option<Template> {
        match value {
            Value::String(_) => self.expression(value, pointer).map(Template::Expression),
            Value::Object(_) => Some(self.template(value, pointer)),
            other => {
                let message = format!("an expression or a mapping must stand here, not {}", other.type_name());
                self.error("bad-type", pointer, message, "");
                None
            }
        }
    }

    /// Data in which `${ … }` strings are expressions.
    pub(super) fn template(&mut self, value: &Value, pointer: &str) -> Template {
        match value {
            Value::String(text) => match expression_part(text) {
                Some((lead, source)) => {
                    let parsed = self.parse(text, lead, source, pointer);
                    parsed.map_or(Template::Literal(Value::Null), Template::Expression)
                }
                None => {
                    if text.contains("${") {
                        let warning = Diagnostic::warning("not-evaluated", pointer, "`${` inside longer text is not evaluated");
                        self.findings.push(warning.suggest("make the whole text one expression: ${ \"plate \" + .plate }"));
                    }
                    Template::Literal(value.clone())
                }
            },
            Value::Array(items) if mentions_expression(value) => {
                Template::Array(items.iter().enumerate().map(|(index, item)| self.template(item, &join(pointer, index))).collect())
            }
            Value::Object(fields) if mentions_expression(value) => {
                Template::Object(fields.iter().map(|(key, item)| (key.clone(), self.template(item, &join(pointer, key)))).collect())
            }
            plain => Template::Literal(plain.clone()),
        }
    }

    pub(super) fn parse(&mut self, text: &str, lead: usize, source: &str, pointer: &str) -> Option<Expression> {
        if source.is_empty() {
            self.error("bad-expression", pointer, "an empty expression", "`.` stands for the whole input");
            return None;
        }
        if source.len() > EXPRESSION_LEN_MAX {
            let message = format!("an expression of {} bytes; {EXPRESSION_LEN_MAX} are allowed", source.len());
            self.error("bad-expression", pointer, message, "split it over several `set` tasks");
            return None;
        }
        let before = text.get(..lead).map_or(0, |lead| lead.chars().count());
        match Expression::parse(source) {
            Ok(expression) => {
                self.variables(&expression, pointer, before, source);
                Some(expression)
            }
            Err(error) => {
                let at = before + characters(source, &error);
                let diagnostic = Diagnostic::error("bad-expression", pointer, error.message).inside(at);
                self.findings.push(match source.contains("${") {
                    true => diagnostic.suggest("one text holds one expression: join parts with `+`"),
                    false => diagnostic,
                });
                None
            }
        }
    }

    fn variables(&mut self, expression: &Expression, pointer: &str, before: usize, source: &str) {
        for name in expression.variables() {
            let at = source.find(&format!("${name}")).and_then(|at| source.get(..at)).map_or(0, |lead| lead.chars().count());
            if name == "secrets" {
                let message = "a secret in an expression would be written into the log on every gateway";
                let hint = "name it under `use.authentications`, e.g. `bearer: { use: erpToken }`";
                self.findings.push(Diagnostic::error("secret-in-expression", pointer, message).suggest(hint).inside(before + at));
                continue;
            }
            if self.any_variable || ARGUMENTS.contains(&&*name) || self.scope.iter().any(|known| **known == *name) {
                continue;
            }
            let known: Vec<&str> = self.scope.iter().map(|known| &**known).chain(ARGUMENTS).collect();
            let diagnostic = Diagnostic::error("unknown-variable", pointer, format!("`${name}` is not known here"));
            let hint = suggest::nearest(&name, known).map(|near| format!("did you mean `${near}`?"));
            self.findings.push(diagnostic.hint(hint).inside(before + at));
        }
    }
}

/// Whether `${` stands anywhere, also where it will not be evaluated (which is worth a warning).
fn mentions_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(mentions_expression),
        Value::Object(fields) => fields.values().any(mentions_expression),
        _ => false,
    }
}

/// Characters before the place of a syntax error.
fn characters(source: &str, error: &SyntaxError) -> usize {
    let above: usize = source.split('\n').take(error.line.saturating_sub(1) as usize).map(|line| line.chars().count() + 1).sum();
    above + error.column.saturating_sub(1) as usize
}
