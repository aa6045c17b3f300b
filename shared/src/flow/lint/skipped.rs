//! A skipped task hands its input on. Whoever then reads a field that only the task gives finds nothing, or something else.

use super::super::catalog;
use super::super::diagnostic::{Diagnostic, Findings, join};
use super::super::plan::{Call, Plan, Task, TaskKind, Template};
use super::{children, task};
use crate::value::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keys of a task whose expressions see the task's input.
const SEE_INPUT: [&str; 8] = ["if", "with", "set", "emit", "switch", "raise", "run", "wait"];

pub(super) fn run(plan: &Plan, findings: &mut Findings) {
    for task in plan.tasks.iter().filter(|task| task.condition.is_some()) {
        let given = given(task);
        if given.is_empty() {
            continue;
        }
        let mut seen = BTreeSet::new();
        for (pointer, text) in readers(plan, task) {
            for field in given.iter().filter(|field| reads(&text, field)) {
                if !seen.insert(pointer.clone()) {
                    continue;
                }
                let message = format!("`.{field}` comes from `{}`, which its `if` may skip; then its input stands here instead", task.name);
                let warning = Diagnostic::warning("skipped-output", &*pointer, message);
                findings.push(warning.suggest("put it into a `switch`, or give a default with `//`"));
            }
        }
    }
}

/// Fields of the task's output, as far as its text tells.
fn given(task: &Task) -> Vec<Arc<str>> {
    if let Some(shape) = &task.output.as_ {
        return template_fields(shape);
    }
    match &task.kind {
        TaskKind::Call(Call::Function { function, .. }) => catalog::function(function)
            .and_then(|function| function.output_schema.get("properties")?.as_object())
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default(),
        TaskKind::Set(template) => template_fields(template),
        _ => Vec::new(),
    }
}

fn template_fields(template: &Template) -> Vec<Arc<str>> {
    match template {
        Template::Object(fields) => fields.iter().map(|(key, _)| key.clone()).collect(),
        Template::Literal(Value::Object(fields)) => fields.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Texts that see the task's output next, with their places: what is around it if it comes last there (or is a branch), else its
/// next neighbour.
fn readers(plan: &Plan, skipped: &Task) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for other in &plan.tasks {
        let below = children(&other.kind);
        let fork = matches!(other.kind, TaskKind::Fork { .. });
        if if fork { below.contains(&skipped.id) } else { below.last() == Some(&skipped.id) } {
            shapes(&other.reference, &other.definition, &["output", "export"], &mut found);
        }
    }
    for list in super::all_lists(plan) {
        let next = list.iter().position(|id| *id == skipped.id).and_then(|at| task(plan, *list.get(at + 1)?));
        let Some(next) = next else { continue };
        if next.input.from.is_some() {
            if let Some(text) = next.definition.get("input").and_then(|input| input.get("from")).and_then(Value::as_str) {
                found.push((join(&join(&next.reference, "input"), "from"), text.to_owned()));
            }
            continue;
        }
        for key in SEE_INPUT {
            if let Some(part) = next.definition.get(key) {
                texts(&join(&next.reference, key), part, key == "if" || key == "switch", &mut found);
            }
        }
    }
    found
}

fn shapes(reference: &str, definition: &Value, keys: &[&str], found: &mut Vec<(String, String)>) {
    for key in keys {
        if let Some(text) = definition.get(key).and_then(|part| part.get("as")).and_then(Value::as_str) {
            found.push((join(&join(reference, key), "as"), text.to_owned()));
        }
    }
}

/// Expressions anywhere in `value`; `bare`: text without `${ }` is one too.
fn texts(pointer: &str, value: &Value, bare: bool, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) if bare || text.contains("${") => found.push((pointer.to_owned(), text.to_string())),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| texts(&join(pointer, index), item, bare, found)),
        Value::Object(fields) => fields.iter().for_each(|(key, item)| texts(&join(pointer, key), item, bare && &**key != "then", found)),
        _ => {}
    }
}

/// Whether jq text has `.field` of its own input: as a whole word, not behind a variable or another field.
fn reads(text: &str, field: &str) -> bool {
    let wanted = format!(".{field}");
    text.match_indices(&wanted).any(|(at, found)| {
        let before = text.get(..at).unwrap_or_default().chars().next_back();
        let rest = text.get(at + found.len()..).unwrap_or_default();
        let behind = rest.chars().next();
        let of_other = before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        !of_other && !behind.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') && !rest.trim_start().starts_with("//")
    })
}
