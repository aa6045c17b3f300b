//! What is wrong in a file, where, and how to mend it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// More findings than this help nobody; the rest of a hostile file is not described.
pub const FINDINGS_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One finding. Lines and columns count from 1; both are 0 where there is no text (a document taken from the log).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable, kebab-case: `unknown-key`, `missing-key`, `bad-expression`, …
    pub code: Arc<str>,
    pub severity: Severity,
    pub line: u32,
    pub column: u32,
    /// JSON pointer into the document.
    pub pointer: String,
    pub message: String,
    pub suggestion: Option<String>,
    #[serde(skip)]
    pub(crate) place: Place,
}

/// Which part of the node at the pointer is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Value,
    /// The key under which it stands.
    Key,
    /// So many characters into the string value.
    Inside(usize),
}

/// The lines of a text as YAML, and with it [`Diagnostic::line`], counts them: a carriage return by itself ends one as well.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

impl Diagnostic {
    pub fn error(code: &str, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity: Severity::Error,
            line: 0,
            column: 0,
            pointer: pointer.into(),
            message: message.into(),
            suggestion: None,
            place: Place::Value,
        }
    }
    pub fn warning(code: &str, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, pointer, message) }
    }
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
    #[must_use]
    pub fn hint(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
    #[must_use]
    pub fn at_line(mut self, line: u32, column: u32) -> Self {
        (self.line, self.column) = (line, column);
        self
    }
    #[must_use]
    pub(crate) fn on_key(mut self) -> Self {
        self.place = Place::Key;
        self
    }
    #[must_use]
    pub(crate) fn inside(mut self, characters: usize) -> Self {
        self.place = Place::Inside(characters);
        self
    }
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        } else if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        let severity = if self.is_error() { "error" } else { "warning" };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// Findings as they pile up, bounded.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub list: Vec<Diagnostic>,
}

impl Findings {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.len() < FINDINGS_MAX && !self.list.contains(&diagnostic) {
            self.list.push(diagnostic);
        }
    }
    pub fn any_error(&self) -> bool {
        self.list.iter().any(Diagnostic::is_error)
    }
}

/// `pointer` with one more level, escaped as RFC 6901 says.
pub(crate) fn join(pointer: &str, key: impl fmt::Display) -> String {
    let key = key.to_string();
    if key.contains(['~', '/']) {
        return format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    }
    format!("{pointer}/{key}")
}
