//! A small JSON Schema validator that may run inside `apply`: bounded, deterministic, no `$ref`, no network.
//!
//! Knows: type, enum, const, required, properties, additionalProperties, items, min/maxItems, uniqueItems, min/maxLength, pattern,
//! format (date-time, duration, email, uri), minimum, maximum, exclusiveMinimum, exclusiveMaximum, allOf, anyOf, oneOf, not.
//! Notes (title, description, default, examples, $comment, $schema) say nothing. Any other keyword is refused by [`check`].

mod known;

use crate::flow::{join, suggest};
use crate::time::{Timestamp, parse_duration_ms};
use crate::value::Value;
use std::collections::BTreeSet;

/// Deepest nesting of a schema.
pub const DEPTH_MAX: usize = 32;
/// Schema nodes times data nodes that one validation may look at.
pub const STEP_COUNT_MAX: u32 = 100_000;
/// Violations that are worth reading.
pub const VIOLATION_COUNT_MAX: usize = 32;
/// Bytes of a compiled pattern. `\w+` with Unicode takes about 50 KiB.
const PATTERN_SIZE_MAX: usize = 256 * 1024;
const PATTERN_LEN_MAX: usize = 512;

/// What does not fit, and where: a JSON pointer into the data (for [`validate`]) or into the schema (for [`check`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{message}", pointer, if pointer.is_empty() { "" } else { ": " })]
pub struct Violation {
    pub pointer: String,
    pub message: String,
}

/// Whether `schema` is one that [`validate`] knows whole.
pub fn check(schema: &Value) -> Result<(), Vec<Violation>> {
    let mut found = Found::default();
    known::check_node(schema, "", 0, &mut found);
    found.result()
}

/// Whether `data` fits `schema`. The schema must have passed [`check`]; what it does not know is ignored here.
pub fn validate(schema: &Value, data: &Value) -> Result<(), Vec<Violation>> {
    let mut found = Found::default();
    let mut steps = STEP_COUNT_MAX;
    validate_node(schema, data, "", 0, &mut steps, &mut found);
    if steps == 0 {
        found.list.clear();
        found.say("", "the data is too large for this schema");
    }
    found.result()
}

#[derive(Default)]
struct Found {
    list: Vec<Violation>,
}

impl Found {
    fn say(&mut self, pointer: &str, message: impl Into<String>) {
        if self.list.len() < VIOLATION_COUNT_MAX {
            self.list.push(Violation { pointer: pointer.into(), message: message.into() });
        }
    }
    fn result(self) -> Result<(), Vec<Violation>> {
        if self.list.is_empty() { Ok(()) } else { Err(self.list) }
    }
}

fn validate_node(schema: &Value, data: &Value, at: &str, depth: usize, steps: &mut u32, found: &mut Found) {
    *steps = steps.saturating_sub(1);
    if *steps == 0 || depth > DEPTH_MAX * 2 {
        return;
    }
    let fields = match schema {
        Value::Bool(false) => return found.say(at, "nothing is allowed here"),
        Value::Object(fields) => fields,
        _ => return,
    };
    if let Some(wanted) = fields.get("type")
        && !type_fits(wanted, data)
    {
        let wanted = match wanted {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        return found.say(at, format!("must be {wanted}, is {}", data.type_name()));
    }
    if let Some(Value::Array(choices)) = fields.get("enum")
        && !choices.contains(data)
    {
        let list = choices.iter().map(Value::to_json).collect::<Vec<_>>().join(", ");
        found.say(at, format!("must be one of {list}"));
    }
    if let Some(wanted) = fields.get("const")
        && wanted != data
    {
        found.say(at, format!("must be {wanted}"));
    }
    match data {
        Value::Object(_) => validate_object(schema, data, at, depth, steps, found),
        Value::Array(items) => validate_array(schema, items, at, depth, steps, found),
        Value::String(text) => validate_text(schema, text, at, steps, found),
        Value::Int(_) | Value::Float(_) => validate_number(schema, data, at, found),
        Value::Null | Value::Bool(_) => {}
    }
    validate_combined(schema, data, at, depth, steps, found);
}

fn type_fits(wanted: &Value, data: &Value) -> bool {
    let one = |name: &Value| match (name.as_str().unwrap_or_default(), data) {
        ("number", Value::Int(_) | Value::Float(_)) | ("integer", Value::Int(_)) => true,
        ("integer", _) => false,
        (name, data) => name == data.type_name(),
    };
    match wanted {
        Value::Array(names) => names.iter().any(one),
        single => one(single),
    }
}

fn validate_object(schema: &Value, data: &Value, at: &str, depth: usize, steps: &mut u32, found: &mut Found) {
    let Some(fields) = data.as_object() else { return };
    for name in schema.get("required").and_then(Value::as_array).unwrap_or_default() {
        if let Some(name) = name.as_str()
            && !fields.contains_key(name)
        {
            found.say(at, format!("`{name}` is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties");
    for (name, value) in fields {
        match properties.and_then(|properties| properties.get(name)) {
            Some(part) => validate_node(part, value, &join(at, name), depth + 1, steps, found),
            None if others == Some(&Value::Bool(false)) => {
                let known = properties.into_iter().flat_map(|properties| properties.keys().map(AsRef::as_ref));
                let hint = suggest::hint(name, known.collect::<Vec<_>>()).map(|hint| format!("; {hint}"));
                found.say(&join(at, name), format!("unknown key `{name}`{}", hint.unwrap_or_default()));
            }
            None => {
                if let Some(part) = others {
                    validate_node(part, value, &join(at, name), depth + 1, steps, found);
                }
            }
        }
    }
}

fn validate_array(schema: &Value, items: &[Value], at: &str, depth: usize, steps: &mut u32, found: &mut Found) {
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(least) = schema.get("minItems").and_then(Value::as_i64)
        && count < least
    {
        found.say(at, format!("must have at least {least} items, has {count}"));
    }
    if let Some(most) = schema.get("maxItems").and_then(Value::as_i64)
        && count > most
    {
        found.say(at, format!("must have at most {most} items, has {count}"));
    }
    if schema.get("uniqueItems").and_then(Value::as_bool) == Some(true) {
        let mut seen = BTreeSet::new();
        if let Some(again) = items.iter().position(|item| !seen.insert(item.to_json())) {
            found.say(&join(at, again), "is there before: items must differ");
        }
    }
    if let Some(part) = schema.get("items") {
        for (index, item) in items.iter().enumerate() {
            validate_node(part, item, &join(at, index), depth + 1, steps, found);
        }
    }
}

fn validate_text(schema: &Value, text: &str, at: &str, steps: &mut u32, found: &mut Found) {
    let count = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(least) = schema.get("minLength").and_then(Value::as_i64)
        && count() < least
    {
        found.say(at, format!("must have at least {least} characters"));
    }
    if let Some(most) = schema.get("maxLength").and_then(Value::as_i64)
        && count() > most
    {
        found.say(at, format!("must have at most {most} characters"));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        // Compiling and searching cost by length, so they are charged by it.
        *steps = steps.saturating_sub(u32::try_from(pattern.len() + text.len() / 16).unwrap_or(u32::MAX));
        if *steps > 0 && !regex(pattern).is_ok_and(|regex| regex.is_match(text)) {
            found.say(at, format!("must match `{pattern}`"));
        }
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        let (fits, example) = match format {
            "date-time" => (Timestamp::parse_rfc3339(text).is_some(), "2026-11-23T09:00:00Z"),
            "duration" => (parse_duration_ms(text).is_some(), "PT5S"),
            "email" => (is_email(text), "anna@example.com"),
            "uri" => (is_uri(text), "https://example.com/path"),
            _ => (true, ""),
        };
        if !fits {
            found.say(at, format!("must be a {format} like `{example}`"));
        }
    }
}

fn validate_number(schema: &Value, data: &Value, at: &str, found: &mut Found) {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let compared = |limit: &Value| match (data, limit) {
        (Value::Int(number), Value::Int(limit)) => Some(number.cmp(limit)),
        _ => data.as_f64().zip(limit.as_f64()).and_then(|(number, limit)| number.partial_cmp(&limit)),
    };
    for (key, words, refused) in [
        ("minimum", "at least", &[Less][..]),
        ("maximum", "at most", &[Greater]),
        ("exclusiveMinimum", "more than", &[Less, Equal]),
        ("exclusiveMaximum", "less than", &[Greater, Equal]),
    ] {
        if let Some(limit) = schema.get(key)
            && compared(limit).is_some_and(|order| refused.contains(&order))
        {
            found.say(at, format!("must be {words} {limit}, is {data}"));
        }
    }
}

fn validate_combined(schema: &Value, data: &Value, at: &str, depth: usize, steps: &mut u32, found: &mut Found) {
    let parts = |key| schema.get(key).and_then(Value::as_array);
    for part in parts("allOf").unwrap_or_default() {
        validate_node(part, data, at, depth + 1, steps, found);
    }
    let mut fits = |part: &Value| {
        let mut inner = Found::default();
        validate_node(part, data, at, depth + 1, steps, &mut inner);
        inner.list
    };
    if let Some(parts) = parts("anyOf") {
        let tried: Vec<_> = parts.iter().map(&mut fits).collect();
        if tried.iter().all(|list| !list.is_empty()) {
            found.say(at, none_fits(&tried));
        }
    }
    if let Some(parts) = parts("oneOf") {
        let tried: Vec<_> = parts.iter().map(&mut fits).collect();
        match tried.iter().filter(|list| list.is_empty()).count() {
            1 => {}
            0 => found.say(at, none_fits(&tried)),
            count => found.say(at, format!("must fit exactly one of the allowed forms, fits {count}")),
        }
    }
    if let Some(part) = schema.get("not")
        && fits(part).is_empty()
    {
        found.say(at, "has a form that is not allowed");
    }
}

fn none_fits(tried: &[Vec<Violation>]) -> String {
    let reasons: BTreeSet<String> = tried.iter().filter_map(|list| list.first()).map(ToString::to_string).collect();
    format!("fits none of the allowed forms ({})", reasons.into_iter().collect::<Vec<_>>().join("; "))
}

fn regex(pattern: &str) -> Result<regex::Regex, String> {
    if pattern.len() > PATTERN_LEN_MAX {
        return Err(format!("a pattern may have {PATTERN_LEN_MAX} bytes"));
    }
    regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_SIZE_MAX)
        .dfa_size_limit(PATTERN_SIZE_MAX)
        .nest_limit(50)
        .build()
        .map_err(|error| format!("not a regular expression: {}", error.to_string().lines().last().unwrap_or_default()))
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@');
    text.len() <= 254 && plain(local) && plain(domain) && !domain.starts_with('.') && !domain.ends_with('.')
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(letter)
        && !rest.is_empty()
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"'))
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
