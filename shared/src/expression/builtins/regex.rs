//! `test`, `match`, `sub` and the rest, on the `regex` crate.
//!
//! A pattern's size is measured by us, on its parsed form, and bounds what compiling may cost; a search is charged
//! up front by that size times the length of the text, which is the worst that an automaton can take. `\d`, `\w`,
//! `\s` and `\b` mean ASCII, so that they do not change with a Unicode version.

use super::super::fuel::{Machine, Stop, wide};
use super::Run;
use super::text::describe;
use crate::value::{Object, Value};
use regex_syntax::hir::{Hir, HirKind};
use std::sync::Arc;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("test", 2, |m, input, args| {
        let (text, pattern, _) = prepare(m, input, args)?;
        Ok(Value::Bool(pattern.regex.is_match(text)))
    }),
    ("_match", 2, matches),
    ("_captured", 0, |m, input, _| captured(m, input)),
    ("_split", 2, split),
];

/// Longest pattern, in bytes.
const PATTERN_MAX: usize = 1024;
/// Largest automaton, in states as [`states`] counts them: compiles well below a millisecond.
const STATES_MAX: u64 = 2_000;

pub(in super::super) struct Pattern {
    regex: regex::Regex,
    states: u64,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    global: bool,
    insensitive: bool,
    extended: bool,
    dot_all: bool,
    skip_empty: bool,
}

fn flags(value: &Value) -> Result<Flags, Stop> {
    let mut flags = Flags::default();
    let text = match value {
        Value::Null => return Ok(flags),
        Value::String(text) => text,
        other => return Stop::raise(format!("{} is not a string", describe(other))),
    };
    for flag in text.chars() {
        match flag {
            'g' => flags.global = true,
            'i' => flags.insensitive = true,
            'x' => flags.extended = true,
            // `^` and `$` always are the ends of the whole text.
            's' => {}
            'n' => flags.skip_empty = true,
            'p' => flags.dot_all = true,
            // `l` asks for the longest match, which an automaton of this kind does not give.
            _ => return Stop::raise(format!("{} is not a valid modifier string", super::text::shorten(text))),
        }
    }
    Ok(flags)
}

pub(in super::super) fn not_text<T>(input: &Value) -> Result<T, Stop> {
    Stop::raise(format!("{} cannot be matched, as it is not a string", describe(input)))
}

/// Reads the arguments, compiles, and charges one search through the whole text.
fn prepare<'t>(m: &mut Machine, input: &'t Value, args: &[Value]) -> Result<(&'t str, Arc<Pattern>, Flags), Stop> {
    let Value::String(text) = input else { return not_text(input) };
    let (source, modifiers) = match args {
        // `test(["a", "i"])`
        [Value::Array(both), Value::Null] => (both.first().cloned().unwrap_or_default(), both.get(1).cloned().unwrap_or_default()),
        [source, modifiers] => (source.clone(), modifiers.clone()),
        _ => return Stop::raise("a pattern is missing"),
    };
    let Value::String(source) = &source else { return not_text(&source) };
    let flags = flags(&modifiers)?;
    let pattern = compile(m, source, flags)?;
    m.step(wide(text.len()).saturating_mul(pattern.states) / 64 + wide(text.len()) / 8)?;
    Ok((text, pattern, flags))
}

fn compile(m: &mut Machine, source: &str, flags: Flags) -> Result<Arc<Pattern>, Stop> {
    let complex = || Stop::raise("the regular expression is too complex");
    if source.len() > PATTERN_MAX {
        return complex();
    }
    m.mem_text(wide(source.len()).saturating_mul(64))?;
    let key = format!("{}{}{}{source}", u8::from(flags.insensitive), u8::from(flags.extended), u8::from(flags.dot_all));
    if let Some(pattern) = m.patterns.get(&key).cloned() {
        m.mem(pattern.states.saturating_mul(64))?;
        return Ok(pattern);
    }
    let invalid = || Stop::raise(format!("{} is not a valid regular expression", super::text::shorten(source)));
    let ascii = ascii_classes(source);
    let parsed = regex_syntax::ParserBuilder::new()
        .nest_limit(50)
        .case_insensitive(flags.insensitive)
        .ignore_whitespace(flags.extended)
        .dot_matches_new_line(flags.dot_all)
        .build()
        .parse(&ascii);
    let Ok(hir) = parsed else { return invalid() };
    let states = states(&hir);
    if states > STATES_MAX {
        return complex();
    }
    m.mem(states.saturating_mul(64))?;
    let built = regex::RegexBuilder::new(&ascii)
        .nest_limit(50)
        .case_insensitive(flags.insensitive)
        .ignore_whitespace(flags.extended)
        .dot_matches_new_line(flags.dot_all)
        .build();
    let Ok(regex) = built else { return invalid() };
    let pattern = Arc::new(Pattern { regex, states });
    m.patterns.insert(key, pattern.clone());
    Ok(pattern)
}

/// Spells out the Perl classes, which stand for the same text inside and outside of brackets.
fn ascii_classes(source: &str) -> String {
    let mut made = String::with_capacity(source.len());
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            made.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => made.push_str("[0-9]"),
            Some('D') => made.push_str("[^0-9]"),
            Some('w') => made.push_str("[0-9A-Za-z_]"),
            Some('W') => made.push_str("[^0-9A-Za-z_]"),
            Some('s') => made.push_str("[\\t\\n\\v\\f\\r ]"),
            Some('S') => made.push_str("[^\\t\\n\\v\\f\\r ]"),
            Some('h') => made.push_str("[0-9A-Fa-f]"),
            Some('b') => made.push_str("(?-u:\\b)"),
            Some(other) => made.extend(['\\', other]),
            None => made.push('\\'),
        }
    }
    made
}

/// About how many states an automaton has. Recursion is bounded by the parser's `nest_limit`.
fn states(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty => 1,
        HirKind::Literal(literal) => wide(literal.0.len()),
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => wide(class.ranges().len()).saturating_mul(4),
        HirKind::Class(regex_syntax::hir::Class::Bytes(class)) => wide(class.ranges().len()),
        HirKind::Look(_) => 2,
        HirKind::Repetition(repetition) => {
            let times = u64::from(repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1));
            states(&repetition.sub).saturating_add(1).saturating_mul(times)
        }
        HirKind::Capture(capture) => states(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(1, |sum, part| sum.saturating_add(states(part)).saturating_add(1))
        }
    }
}

/// Where to look for the next match: after an empty one, one character on.
fn each_match<'t>(
    m: &mut Machine,
    (text, pattern, flags): (&'t str, &Pattern, Flags),
    out: &mut dyn FnMut(&mut Machine, &regex::Captures<'t>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut from = 0;
    let mut first = true;
    while from <= text.len() {
        if !first {
            // The first search was charged by `prepare`; each further one may go to the end again.
            m.step(wide(text.len() - from).saturating_mul(pattern.states) / 1024 + 2)?;
        }
        first = false;
        let Some(found) = pattern.regex.captures_at(text, from) else { break };
        let Some(whole) = found.get(0) else { break };
        let step = text.get(whole.end()..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        from = if whole.is_empty() { whole.end() + step } else { whole.end() };
        if !(flags.skip_empty && whole.is_empty()) {
            out(m, &found)?;
        }
        if !flags.global {
            break;
        }
    }
    Ok(())
}

fn matches(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Value, Stop> {
    let (text, pattern, flags) = prepare(m, input, args)?;
    let names: Vec<Option<&str>> = pattern.regex.capture_names().skip(1).collect();
    let mut found = Vec::new();
    let mut counted = Counter::new(text);
    each_match(m, (text, &pattern, flags), &mut |m, captures| {
        m.mem_element()?;
        let mut groups = Vec::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            let mut group = describe_match(m, &mut counted, captures.get(place + 1))?;
            group.insert(Arc::from("name"), name.map_or(Value::Null, Value::from));
            m.mem_element()?;
            groups.push(Value::Object(Arc::new(group)));
        }
        let mut whole = describe_match(m, &mut counted, captures.get(0))?;
        whole.insert(Arc::from("captures"), Value::array(groups));
        found.push(Value::Object(Arc::new(whole)));
        Ok(())
    })?;
    Ok(Value::array(found))
}

fn describe_match(m: &mut Machine, counted: &mut Counter, found: Option<regex::Match>) -> Result<Object, Stop> {
    m.mem_object(4u64)?;
    let mut made = Object::new();
    let (offset, length, text) = match found {
        Some(found) => {
            m.mem_text(found.as_str().len())?;
            let length = i64::try_from(found.as_str().chars().count()).unwrap_or(i64::MAX);
            (counted.characters(m, found.start())?, length, Value::from(found.as_str()))
        }
        None => (-1, 0, Value::Null),
    };
    made.insert(Arc::from("offset"), Value::Int(offset));
    made.insert(Arc::from("length"), Value::Int(length));
    made.insert(Arc::from("string"), text);
    Ok(made)
}

/// Turns byte offsets into characters, remembering the last so that a run of matches is counted once.
struct Counter<'t> {
    text: &'t str,
    byte: usize,
    character: i64,
}

impl<'t> Counter<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, byte: 0, character: 0 }
    }

    fn characters(&mut self, m: &mut Machine, byte: usize) -> Result<i64, Stop> {
        if byte < self.byte {
            (self.byte, self.character) = (0, 0);
        }
        let between = self.text.get(self.byte..byte).unwrap_or_default();
        m.scan(wide(between.len()).saturating_mul(4))?;
        self.character = self.character.saturating_add(i64::try_from(between.chars().count()).unwrap_or(i64::MAX));
        self.byte = byte;
        Ok(self.character)
    }
}

/// The named groups of a match object, as `capture` gives them.
fn captured(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let groups = input.get("captures").and_then(Value::as_array).unwrap_or_default();
    m.mem_object(groups.len())?;
    let mut made = Object::new();
    for group in groups {
        if let Some(Value::String(name)) = group.get("name") {
            made.insert(name.clone(), group.get("string").cloned().unwrap_or_default());
        }
    }
    Ok(Value::Object(Arc::new(made)))
}

/// Byte ranges of all matches, with their named groups.
pub(in super::super) fn captures(
    m: &mut Machine,
    text: &Arc<str>,
    source: &Value,
    modifiers: &Value,
) -> Result<Vec<(usize, usize, Value)>, Stop> {
    let input = Value::String(text.clone());
    let (text, pattern, flags) = prepare(m, &input, &[source.clone(), modifiers.clone()])?;
    let names: Vec<&str> = pattern.regex.capture_names().flatten().collect();
    let mut found = Vec::new();
    each_match(m, (text, &pattern, flags), &mut |m, captures| {
        m.mem_object(names.len())?;
        let mut made = Object::new();
        for name in &names {
            let group = captures.name(name).map(|group| group.as_str());
            m.mem_field(name)?;
            m.mem_text(group.map_or(0, str::len))?;
            made.insert(Arc::from(*name), group.map_or(Value::Null, Value::from));
        }
        if let Some(whole) = captures.get(0) {
            m.mem_element()?;
            found.push((whole.start(), whole.end(), Value::Object(Arc::new(made))));
        }
        Ok(())
    })?;
    Ok(found)
}

fn split(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Value, Stop> {
    let (text, pattern, flags) = prepare(m, input, args)?;
    let mut parts = Vec::new();
    let mut before = 0;
    let mut push = |m: &mut Machine, part: &str| -> Result<(), Stop> {
        m.mem_element()?;
        m.mem_text(part.len())?;
        parts.push(Value::from(part));
        Ok(())
    };
    each_match(m, (text, &pattern, Flags { global: true, ..flags }), &mut |m, captures| {
        let Some(whole) = captures.get(0) else { return Ok(()) };
        push(m, text.get(before..whole.start()).unwrap_or_default())?;
        before = whole.end();
        Ok(())
    })?;
    push(m, text.get(before..).unwrap_or_default())?;
    Ok(Value::array(parts))
}
