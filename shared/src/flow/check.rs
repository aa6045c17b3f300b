//! `flow check`: text -> everything that is wrong with it, or the document that may be deployed.

use super::compile::{compile, hash};
use super::diagnostic::Diagnostic;
use super::document::{self, Located};
use super::lint;
use super::plan::Plan;
use crate::value::{Object, Value};
use std::sync::Arc;

/// A flow that may be deployed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Canonical JSON; functions named without version are pinned to the newest.
    pub document: Value,
    /// SHA-256 of the canonical JSON, lower-case hex.
    pub hash: Arc<str>,
    pub plan: Plan,
    pub warnings: Vec<Diagnostic>,
}

/// Checks one YAML document. On failure all errors and warnings, by line.
pub fn check(text: &str) -> Result<Checked, Vec<Diagnostic>> {
    check_located(&document::read_one(text)?)
}

/// The same for a document that has been read already.
pub fn check_located(located: &Located) -> Result<Checked, Vec<Diagnostic>> {
    let mut compiled = compile(&located.value);
    if let Some(plan) = &compiled.plan {
        lint::run(plan, &mut compiled.findings);
    }
    let any_error = compiled.findings.any_error() || !located.findings().is_empty();
    let mut found: Vec<Diagnostic> = compiled.findings.list.into_iter().map(|diagnostic| located.locate(diagnostic)).collect();
    found.extend_from_slice(located.findings());
    found.sort_by_key(|found| (found.line, found.column, found.severity));
    match compiled.plan {
        Some(mut plan) if !any_error => {
            let document = compiled.pins.iter().fold(located.value.clone(), |document, (pointer, name)| replaced(&document, pointer, name));
            let hash = hash(&document);
            plan.hash = hash.clone();
            Ok(Checked { document, hash, plan, warnings: found })
        }
        _ => Err(found),
    }
}

/// The same document with the text at `pointer` replaced.
fn replaced(value: &Value, pointer: &str, text: &str) -> Value {
    let Some(rest) = pointer.strip_prefix('/') else { return Value::from(text) };
    let (part, below) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let key = part.replace("~1", "/").replace("~0", "~");
    match value {
        Value::Object(fields) => {
            let mut fields: Object = (**fields).clone();
            if let Some(field) = fields.get_mut(&*key) {
                *field = replaced(field, below, text);
            }
            Value::Object(Arc::new(fields))
        }
        Value::Array(items) => {
            let mut items = (**items).clone();
            if let Some(item) = key.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                *item = replaced(item, below, text);
            }
            Value::array(items)
        }
        other => other.clone(),
    }
}
