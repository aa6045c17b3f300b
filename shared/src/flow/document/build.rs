//! Parser events -> located documents. A stack instead of recursion, so that no nesting can exhaust ours.

use super::super::diagnostic::{Diagnostic, FINDINGS_MAX, join};
use super::scalar::plain;
use super::{DOCUMENT_COUNT_MAX, Located, Mark, NODE_COUNT_MAX};
use crate::value::{DEPTH_MAX, Object, Value};
use granit_parser::{Event, Options, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;
use std::sync::Arc;

enum Frame {
    Array {
        items: Vec<Value>,
        pointer: String,
        anchor: usize,
        nodes: usize,
    },
    /// `again`: the key stands twice, and what is behind it is left out.
    Object {
        fields: Object,
        key: Option<Arc<str>>,
        again: bool,
        pointer: String,
        anchor: usize,
        nodes: usize,
    },
}

pub(super) struct Builder<'t> {
    text: &'t str,
    shared: Arc<str>,
    stack: Vec<Frame>,
    /// By anchor: the value, how many nodes it stands for, and how deep it is.
    anchors: BTreeMap<usize, (Value, usize, usize)>,
    marks: BTreeMap<String, Mark>,
    nodes: usize,
    root: Option<Value>,
    key_position: Option<(u32, u32)>,
    /// What is wrong with the document and does not hide the rest of it.
    findings: Vec<Diagnostic>,
}

type Failure = Box<Diagnostic>;

impl<'t> Builder<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            shared: text.into(),
            stack: Vec::new(),
            anchors: BTreeMap::new(),
            marks: BTreeMap::new(),
            nodes: 0,
            root: None,
            key_position: None,
            findings: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Vec<Located>, Failure> {
        let mut options = Options::default();
        options.set_emit_comments(false);
        options.flow_nesting_limit = DEPTH_MAX;
        options.block_nesting_limit = DEPTH_MAX;
        let mut parser = Parser::new_from_str_with_options(self.text, options);
        let mut documents = Vec::new();
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let mark = error.marker();
                let failure = Diagnostic::error("bad-yaml", "", error.info()).at_line(number(mark.line()), number(mark.col() + 1));
                let colon = failure.message.contains("mapping values");
                Box::new(failure.hint(colon.then(|| "text that holds `: ` must stand in quotes".into())))
            })?;
            match event {
                Event::DocumentEnd => {
                    self.anchors.clear();
                    let (value, marks) = (self.root.take().unwrap_or_default(), std::mem::take(&mut self.marks));
                    let findings = std::mem::take(&mut self.findings);
                    if !value.is_null() {
                        documents.push(Located { value, marks, text: self.shared.clone(), findings });
                    }
                    if documents.len() > DOCUMENT_COUNT_MAX {
                        return Err(self.failure("too-large", &span, format!("more than {DOCUMENT_COUNT_MAX} documents in one file")));
                    }
                }
                event => self.event(event, &span)?,
            }
        }
        Ok(documents)
    }

    fn event(&mut self, event: Event, span: &Span) -> Result<(), Failure> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let core = tag.as_deref().map(|tag| tag.core_suffix().map(str::to_owned).ok_or_else(|| tag.to_string()));
                let value = match core {
                    Some(Err(tag)) => return Err(self.failure("bad-tag", span, format!("the tag `{tag}` is not known; leave it out"))),
                    Some(Ok(suffix)) if suffix == "str" => Value::string(&*text),
                    Some(Ok(suffix)) if suffix != "bool" && suffix != "int" && suffix != "float" && suffix != "null" => {
                        return Err(self.failure("bad-tag", span, format!("the tag `!!{suffix}` cannot stand on a scalar")));
                    }
                    _ if style == ScalarStyle::Plain => plain(&text).map_err(|message| self.failure("bad-number", span, message))?,
                    _ => Value::string(&*text),
                };
                if self.waits_for_key() {
                    return self.key(&text, &value, span);
                }
                let pointer = self.next_pointer();
                self.count(1, span)?;
                self.mark(pointer, span, span.byte_range());
                self.anchor(anchor, &value, 1, 0);
                self.place(value, 1);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(span, tag.is_some_and(|tag| !tag.is_yaml_core_schema_tag("seq")))?;
                let pointer = self.next_pointer();
                self.mark(pointer.clone(), span, None);
                self.stack.push(Frame::Array { items: Vec::new(), pointer, anchor, nodes: 1 });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(span, tag.is_some_and(|tag| !tag.is_yaml_core_schema_tag("map")))?;
                let pointer = self.next_pointer();
                self.mark(pointer.clone(), span, None);
                self.stack.push(Frame::Object { fields: Object::new(), key: None, again: false, pointer, anchor, nodes: 1 });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                if self.waits_for_key() {
                    return Err(self.failure("bad-key", span, "an alias cannot be a key".into()));
                }
                let Some((value, nodes, depth)) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.failure("bad-alias", span, "an alias inside its own anchor has no end".into()));
                };
                self.count(nodes, span)?;
                if self.stack.len() + depth > DEPTH_MAX {
                    return Err(self.failure("too-deep", span, format!("nested deeper than {DEPTH_MAX} levels")));
                }
                let pointer = self.next_pointer();
                self.mark(pointer, span, None);
                self.place(value, nodes);
            }
            _ => {}
        }
        Ok(())
    }

    fn waits_for_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Object { key: None, .. }))
    }

    fn key(&mut self, text: &str, value: &Value, span: &Span) -> Result<(), Failure> {
        self.count(1, span)?;
        self.key_position = Some(position(span));
        // A plain `1` or `true` is a fine key: JSON has no other keys than text.
        if value.is_null() {
            return Err(self.failure("bad-key", span, "a key is missing here".into()));
        }
        let name: Arc<str> = text.into();
        let Some(Frame::Object { fields, key, again, pointer, .. }) = self.stack.last_mut() else { return Ok(()) };
        if fields.contains_key(&name) {
            let pointer = join(pointer, text);
            let first = self.marks.get(&pointer).and_then(|mark| mark.key).map_or(0, |(line, _)| line);
            let message = format!("the key `{text}` stands twice; it is first in line {first}");
            (*key, *again) = (Some(name), true);
            let (line, column) = position(span);
            let finding = Diagnostic::error("duplicate-key", pointer, message).suggest("remove one of them").at_line(line, column);
            if self.findings.len() < FINDINGS_MAX {
                self.findings.push(finding);
            }
            return Ok(());
        }
        *key = Some(name);
        Ok(())
    }

    fn next_pointer(&self) -> String {
        match self.stack.last() {
            None => String::new(),
            Some(Frame::Array { items, pointer, .. }) => join(pointer, items.len()),
            Some(Frame::Object { key, pointer, .. }) => join(pointer, key.as_deref().unwrap_or_default()),
        }
    }

    fn open(&mut self, span: &Span, foreign_tag: bool) -> Result<(), Failure> {
        if foreign_tag {
            return Err(self.failure("bad-tag", span, "this tag is not known; leave it out".into()));
        }
        if self.waits_for_key() {
            return Err(self.failure(
                "bad-key",
                span,
                "a key must be text; put quotes round an expression that begins with `{` or `[`".into(),
            ));
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(self.failure("too-deep", span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.count(1, span)
    }

    fn close(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        let (value, anchor, nodes) = match frame {
            Frame::Array { items, anchor, nodes, .. } => (Value::array(items), anchor, nodes),
            Frame::Object { fields, anchor, nodes, .. } => (Value::Object(Arc::new(fields)), anchor, nodes),
        };
        if anchor != 0 {
            let depth = depth(&value);
            self.anchor(anchor, &value, nodes, depth);
        }
        self.place(value, nodes);
    }

    fn place(&mut self, value: Value, count: usize) {
        self.key_position = None;
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some(Frame::Array { items, nodes, .. }) => {
                items.push(value);
                *nodes += count;
            }
            Some(Frame::Object { fields, key, again, nodes, .. }) => {
                if let Some(key) = key.take().filter(|_| !std::mem::take(again)) {
                    fields.insert(key, value);
                }
                *nodes += count + 1;
            }
        }
    }

    fn anchor(&mut self, anchor: usize, value: &Value, nodes: usize, depth: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), nodes, depth));
        }
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Failure> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODE_COUNT_MAX {
            let message = format!("more than {NODE_COUNT_MAX} nodes, aliases counted with all that they stand for");
            return Err(self.failure("too-large", span, message));
        }
        Ok(())
    }

    fn mark(&mut self, pointer: String, span: &Span, raw: Option<std::ops::Range<usize>>) {
        let key = self.key_position.take();
        // The first of two equal keys is the one that counts.
        self.marks.entry(pointer).or_insert(Mark { value: position(span), key, raw });
    }

    fn failure(&self, code: &str, span: &Span, message: String) -> Failure {
        let (line, column) = position(span);
        Box::new(Diagnostic::error(code, "", message).at_line(line, column))
    }
}

fn position(span: &Span) -> (u32, u32) {
    (number(span.start.line()), number(span.start.col() + 1))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Levels below a value; its own nesting is bounded by the stack that built it.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
