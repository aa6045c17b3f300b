//! Canonical JSON of a flow document -> [`Plan`]. Runs at deploy and again at every restore, so it is deterministic and bounded,
//! and it reports every mistake that it can see instead of the first.

mod call;
mod common;
mod definitions;
mod document;
mod events;
mod function;
mod http;
mod kinds;
mod read;
mod task;
mod template;
pub(crate) use template::expression_part;
mod trying;

use super::diagnostic::{Diagnostic, Findings};
use super::plan::{Plan, Task};
use crate::value::{DEPTH_MAX, Value};
use definitions::Definitions;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Tasks of one flow, extension tasks included. Each is state that every replica holds.
pub const TASK_COUNT_MAX: usize = 2_000;
/// Size of a document ([`Value::size`]): it travels in one log entry.
pub const DOCUMENT_SIZE_MAX: usize = 256 * 1024;

impl Plan {
    /// Compiles the canonical JSON of a flow document. Pointers are set in the findings, lines are not (there is no text here).
    pub fn compile(document: &Value) -> Result<Self, Vec<Diagnostic>> {
        let compiled = compile(document);
        compiled.plan.ok_or(compiled.findings.list)
    }
}

pub(crate) struct Compiled {
    /// `None` where there is an error among the findings.
    pub plan: Option<Plan>,
    pub findings: Findings,
    /// Where a function is called by a name without version: (pointer, full name).
    pub pins: Vec<(String, String)>,
}

pub(crate) fn compile(document: &Value) -> Compiled {
    let mut compiler = Compiler::default();
    let plan = match bounded(document) {
        Ok(()) => compiler.document(document),
        Err(diagnostic) => {
            compiler.findings.push(diagnostic);
            None
        }
    };
    let plan = plan.filter(|_| !compiler.findings.any_error());
    Compiled { plan, findings: compiler.findings, pins: compiler.pins }
}

/// SHA-256 of the canonical JSON, lower-case hex.
pub(crate) fn hash(document: &Value) -> Arc<str> {
    Sha256::digest(document.to_json()).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[derive(Default)]
struct Compiler {
    findings: Findings,
    pins: Vec<(String, String)>,
    /// Slots are taken in reading order and filled when the task is compiled.
    tasks: Vec<Option<Task>>,
    definitions: Definitions,
    /// Variables of enclosing `for`, `catch` and `foreach`.
    scope: Vec<Arc<str>>,
    /// Names of the tasks that `then` can reach; `None` among fork branches.
    siblings: Option<Vec<Arc<str>>>,
    /// Inside `use`, where the variables of the place of use are not known.
    any_variable: bool,
    /// The function of the document whose task is compiled.
    in_function: Option<Arc<str>>,
    /// Functions of the document with an error of their own.
    broken_functions: BTreeSet<Arc<str>>,
    /// Size of the functions that calls have been given so far.
    written_out: usize,
}

impl Compiler {
    fn error(&mut self, code: &str, pointer: &str, message: impl Into<String>, suggestion: impl Into<String>) {
        let suggestion = suggestion.into();
        let diagnostic = Diagnostic::error(code, pointer, message);
        self.findings.push(if suggestion.is_empty() { diagnostic } else { diagnostic.suggest(suggestion) });
    }
    fn error_on_key(&mut self, code: &str, pointer: &str, message: impl Into<String>, suggestion: impl Into<String>) {
        let suggestion = suggestion.into();
        let diagnostic = Diagnostic::error(code, pointer, message).on_key();
        self.findings.push(if suggestion.is_empty() { diagnostic } else { diagnostic.suggest(suggestion) });
    }
}

/// All later recursion follows the document, so its depth is bounded first.
fn bounded(document: &Value) -> Result<(), Diagnostic> {
    let mut open = vec![(document, 0)];
    let mut nodes = 0usize;
    while let Some((value, depth)) = open.pop() {
        nodes += 1;
        if depth > DEPTH_MAX || nodes > super::document::NODE_COUNT_MAX {
            return Err(Diagnostic::error("too-deep", "", format!("nested deeper than {DEPTH_MAX} levels, or too many nodes")));
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => open.extend(fields.values().map(|item| (item, depth + 1))),
            _ => {}
        }
    }
    let size = document.size();
    if size > DOCUMENT_SIZE_MAX {
        return Err(Diagnostic::error("too-large", "", format!("the flow has {size} bytes; {DOCUMENT_SIZE_MAX} are allowed")));
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
