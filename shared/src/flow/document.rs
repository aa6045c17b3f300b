//! YAML 1.2 text -> JSON data, with the place of every node. Never judges what the data means.
//!
//! Only `true` and `false` are booleans (`on`, `yes`, `no` are strings). Duplicate keys, keys that are no text, foreign tags and
//! aliases that blow up are errors. Nothing recurses: the tree is built from parser events with a stack.

mod build;
mod scalar;

use super::diagnostic::{Diagnostic, Place};
use crate::value::Value;
use build::Builder;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest file. A flow of 1,000 tasks is about 200 KiB.
pub const TEXT_LEN_MAX: usize = 1024 * 1024;
/// Most nodes of one file, each alias counted with all that it stands for.
pub const NODE_COUNT_MAX: usize = 100_000;
/// Most documents of one file.
pub const DOCUMENT_COUNT_MAX: usize = 10_000;

/// One YAML document and where its nodes stand.
#[derive(Clone, Debug)]
pub struct Located {
    pub value: Value,
    marks: BTreeMap<String, Mark>,
    text: Arc<str>,
    findings: Vec<Diagnostic>,
}

#[derive(Clone, Debug)]
struct Mark {
    /// Line and column, both from 1.
    value: (u32, u32),
    key: Option<(u32, u32)>,
    /// Where the scalar's own characters lie in the text.
    raw: Option<std::ops::Range<usize>>,
}

/// Reads a file that must hold exactly one document, with nothing wrong in it.
pub fn read(text: &str) -> Result<Located, Vec<Diagnostic>> {
    let located = read_one(text)?;
    if located.findings.is_empty() { Ok(located) } else { Err(located.findings) }
}

/// The same, where what is wrong may be said together with what is found later ([`Located::findings`]).
pub(crate) fn read_one(text: &str) -> Result<Located, Vec<Diagnostic>> {
    let mut documents = read_all(text)?;
    match documents.len() {
        1 => Ok(documents.remove(0)),
        0 => Err(vec![Diagnostic::error("empty-file", "", "the file holds no document").at_line(1, 1)]),
        _ => {
            let (line, column) = documents[1].position("");
            let error = Diagnostic::error("several-documents", "", "a second document begins here, but one is wanted");
            Err(vec![error.suggest("put each flow into a file of its own, or use `spalla apply`").at_line(line, column)])
        }
    }
}

/// Reads a file of `---` separated documents. Empty documents are left out.
pub fn read_all(text: &str) -> Result<Vec<Located>, Vec<Diagnostic>> {
    if text.len() > TEXT_LEN_MAX {
        let message = format!("the file has {} bytes; {TEXT_LEN_MAX} are allowed", text.len());
        return Err(vec![Diagnostic::error("too-large", "", message).at_line(1, 1)]);
    }
    Builder::new(text).run().map_err(|diagnostic| vec![*diagnostic])
}

impl Located {
    /// Line and column of the node at `pointer`, or of the nearest node above it.
    pub fn position(&self, pointer: &str) -> (u32, u32) {
        self.mark(pointer).map_or((1, 1), |(mark, exact)| if exact { mark.value } else { mark.key.unwrap_or(mark.value) })
    }

    /// Errors of the text that did not hide the rest of it: keys that stand twice.
    pub(crate) fn findings(&self) -> &[Diagnostic] {
        &self.findings
    }

    /// Fills line and column in.
    pub fn locate(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        let Some((mark, exact)) = self.mark(&diagnostic.pointer) else { return diagnostic.at_line(1, 1) };
        (diagnostic.line, diagnostic.column) = match diagnostic.place {
            Place::Inside(characters) if exact => self.inside(&diagnostic.pointer, mark, characters).unwrap_or(mark.value),
            Place::Key => mark.key.unwrap_or(mark.value),
            _ if !exact => mark.key.unwrap_or(mark.value),
            _ => mark.value,
        };
        diagnostic
    }

    fn mark(&self, pointer: &str) -> Option<(&Mark, bool)> {
        let mut at = pointer;
        loop {
            if let Some(mark) = self.marks.get(at) {
                return Some((mark, at.len() == pointer.len()));
            }
            at = &at[..at.rfind('/')?];
        }
    }

    /// The place of the `characters`-th character of a string: its text and its value have the same visible characters in the same
    /// order, whatever the quoting and folding.
    fn inside(&self, pointer: &str, mark: &Mark, characters: usize) -> Option<(u32, u32)> {
        let range = mark.raw.clone()?;
        let value = find(&self.value, pointer)?.as_str()?;
        let raw = self.text.get(range)?;
        let (mut line, mut column) = mark.value;
        let block = raw.starts_with(['|', '>']);
        let mut source = raw.chars();
        let step = |character: char, line: &mut u32, column: &mut u32| {
            if character == '\n' {
                (*line, *column) = (*line + 1, 1);
            } else {
                *column += 1;
            }
        };
        if block {
            for character in source.by_ref() {
                step(character, &mut line, &mut column);
                if character == '\n' {
                    break;
                }
            }
        }
        let mut wanted = value.chars().enumerate().filter(|(_, character)| !character.is_whitespace());
        let (mut index, mut next) = wanted.next()?;
        let mut end = None;
        for character in source {
            if character == next {
                if index >= characters {
                    return Some((line, column));
                }
                end = Some((line, column + 1));
                match wanted.next() {
                    Some(further) => (index, next) = further,
                    // Behind the last character: where something is missing.
                    None => return end,
                }
            }
            step(character, &mut line, &mut column);
        }
        end
    }
}

/// The node at a JSON pointer.
pub fn find<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut at = value;
    for part in pointer.split('/').skip(1) {
        at = match at {
            Value::Object(fields) => fields.get(&*part.replace("~1", "/").replace("~0", "~"))?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(at)
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
