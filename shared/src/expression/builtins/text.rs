//! Strings, and values as text.

use super::super::fuel::{Flow, Machine, Stop, wide};
use super::Run;
use crate::value::Value;
use std::sync::Arc;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("tostring", 0, |m, input, _| to_string(m, input)),
    ("tojson", 0, |m, input, _| to_json(m, input)),
    ("fromjson", 0, |m, input, _| from_json(m, input)),
    ("tonumber", 0, |m, input, _| to_number(m, input)),
    ("toboolean", 0, |_, input, _| to_boolean(input)),
    ("ascii_downcase", 0, |m, input, _| mapped(m, input, str::to_ascii_lowercase)),
    ("ascii_upcase", 0, |m, input, _| mapped(m, input, str::to_ascii_uppercase)),
    ("trim", 0, |m, input, _| trimmed(m, input, |text| text.trim_matches(is_blank))),
    ("ltrim", 0, |m, input, _| trimmed(m, input, |text| text.trim_start_matches(is_blank))),
    ("rtrim", 0, |m, input, _| trimmed(m, input, |text| text.trim_end_matches(is_blank))),
    ("ltrimstr", 1, |m, input, args| strip(m, input, args, true, false)),
    ("rtrimstr", 1, |m, input, args| strip(m, input, args, false, true)),
    ("trimstr", 1, |m, input, args| strip(m, input, args, true, true)),
    ("startswith", 1, |m, input, args| ends(m, input, args, "startswith", |text, part| text.starts_with(part))),
    ("endswith", 1, |m, input, args| ends(m, input, args, "endswith", |text, part| text.ends_with(part))),
    ("split", 1, |m, input, args| match (input, args) {
        (Value::String(text), [Value::String(separator)]) => split(m, text, separator),
        _ => Stop::raise("split input and separator must be strings"),
    }),
    ("join", 1, join),
    ("explode", 0, |m, input, _| explode(m, input)),
    ("implode", 0, |m, input, _| implode(m, input)),
    ("utf8bytelength", 0, |_, input, _| match input {
        Value::String(text) => Ok(Value::Int(i64::try_from(text.len()).unwrap_or(i64::MAX))),
        other => Stop::raise(format!("{} only strings have UTF-8 byte length", describe(other))),
    }),
];

/// Longest excerpt of a value in an error message, in bytes.
const EXCERPT: usize = 11;

/// A value in a few bytes, for error messages.
pub(in super::super) fn dump(value: &Value) -> String {
    let mut out = String::new();
    excerpt(value, &mut out);
    if out.len() <= EXCERPT {
        return out;
    }
    format!("{}...", cut(&out, EXCERPT - 1))
}

/// A key in an error message: whole unless it is long.
pub(in super::super) fn shorten(text: &str) -> String {
    const KEY: usize = 64;
    if text.len() <= KEY { text.to_owned() } else { format!("{}...", cut(text, KEY)) }
}

fn cut(text: &str, length: usize) -> &str {
    let end = (0..=length.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Writes only as much as an excerpt takes, so that it costs the same for values of any size.
fn excerpt(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => out.push_str(&json_text(cut(text, EXCERPT + 1))),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                if out.len() > EXCERPT {
                    return;
                }
                excerpt(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (place, (key, field)) in fields.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                if out.len() > EXCERPT {
                    return;
                }
                out.push_str(&json_text(cut(key, EXCERPT + 1)));
                out.push(':');
                excerpt(field, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_json()),
    }
}

/// `number (1)`
pub(in super::super) fn describe(value: &Value) -> String {
    if value.is_null() { "null (null)".to_owned() } else { format!("{} ({})", value.type_name(), dump(value)) }
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Appends a string as it is, anything else as JSON.
pub(in super::super) fn append(m: &mut Machine, value: &Value, out: &mut String) -> Flow {
    match value {
        Value::String(text) => {
            m.mem_text(text.len())?;
            out.push_str(text);
            Ok(())
        }
        other => append_json(m, other, out),
    }
}

/// Canonical JSON, charged value by value. Recursion is bounded by the depth of values.
pub(in super::super) fn append_json(m: &mut Machine, value: &Value, out: &mut String) -> Flow {
    m.mem(32)?;
    match value {
        Value::String(text) => {
            // An escaped control character is six bytes.
            m.mem(wide(text.len()).saturating_mul(6))?;
            out.push_str(&json_text(text));
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                append_json(m, item, out)?;
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (place, (key, field)) in fields.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                m.mem(wide(key.len()).saturating_mul(6))?;
                out.push_str(&json_text(key));
                out.push(':');
                append_json(m, field, out)?;
            }
            out.push('}');
        }
        other => out.push_str(&other.to_json()),
    }
    Ok(())
}

fn to_string(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    if let Value::String(_) = input { Ok(input.clone()) } else { to_json(m, input) }
}

fn to_json(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let mut text = String::new();
    append_json(m, input, &mut text)?;
    m.mem_text(text.len())?;
    Ok(Value::from(text))
}

fn from_json(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let Value::String(text) = input else { return Stop::raise(format!("{} cannot be parsed as JSON", describe(input))) };
    // What the text may turn into, before it does: an object takes a tree node, an item a place in a vector.
    let weight = |byte| match byte {
        b'{' => 640,
        b'[' => 64,
        b',' | b':' => 64,
        _ => 2,
    };
    m.scan(wide(text.len()).saturating_mul(8))?;
    m.mem(text.bytes().map(weight).sum::<u64>())?;
    Value::from_json(text).or_else(|_| Stop::raise(format!("{} cannot be parsed as JSON", describe(input))))
}

fn to_number(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    match input {
        Value::Int(_) | Value::Float(_) => Ok(input.clone()),
        Value::String(text) => {
            m.scan(wide(text.len()).saturating_mul(8))?;
            let digits = text.strip_prefix('-').unwrap_or(text);
            // Rust also reads `inf`, `nan` and `+1`; jq reads `.5` and `5.`.
            let sound = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
            let number = match text.parse::<i64>() {
                Ok(whole) if sound => Some(Value::Int(whole)),
                _ => text.parse::<f64>().ok().filter(|_| sound).and_then(Value::number),
            };
            number.map_or_else(|| Stop::raise(format!("{} cannot be parsed as a number", describe(input))), Ok)
        }
        other => Stop::raise(format!("{} cannot be parsed as a number", describe(other))),
    }
}

fn to_boolean(input: &Value) -> Result<Value, Stop> {
    match input {
        Value::Bool(_) => Ok(input.clone()),
        Value::String(text) if text.as_ref() == "true" => Ok(Value::Bool(true)),
        Value::String(text) if text.as_ref() == "false" => Ok(Value::Bool(false)),
        other => Stop::raise(format!("{} cannot be parsed as a boolean", describe(other))),
    }
}

fn mapped(m: &mut Machine, input: &Value, map: fn(&str) -> String) -> Result<Value, Stop> {
    let Value::String(text) = input else { return Stop::raise("explode input must be a string") };
    m.mem_text(text.len())?;
    Ok(Value::from(map(text)))
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

fn trimmed(m: &mut Machine, input: &Value, trim: fn(&str) -> &str) -> Result<Value, Stop> {
    let Value::String(text) = input else { return Stop::raise(format!("{} cannot be trimmed", describe(input))) };
    m.mem_text(text.len())?;
    Ok(Value::from(trim(text)))
}

fn strip(m: &mut Machine, input: &Value, args: &[Value], start: bool, end: bool) -> Result<Value, Stop> {
    let (Value::String(text), [Value::String(part)]) = (input, args) else { return Ok(input.clone()) };
    m.mem_text(text.len())?;
    let mut rest = text.as_ref();
    if start {
        rest = rest.strip_prefix(part.as_ref()).unwrap_or(rest);
    }
    if end {
        rest = rest.strip_suffix(part.as_ref()).unwrap_or(rest);
    }
    Ok(Value::from(rest))
}

fn ends(m: &mut Machine, input: &Value, args: &[Value], name: &str, test: fn(&str, &str) -> bool) -> Result<Value, Stop> {
    let (Value::String(text), [Value::String(part)]) = (input, args) else {
        return Stop::raise(format!("{name}() requires string inputs"));
    };
    m.scan(part.len())?;
    Ok(Value::Bool(test(text, part)))
}

pub(in super::super) fn split(m: &mut Machine, text: &str, separator: &str) -> Result<Value, Stop> {
    // At most one part more than there are bytes.
    m.scan(wide(text.len()).saturating_mul(8))?;
    if text.is_empty() {
        return Ok(Value::array(Vec::new()));
    }
    let mut parts = Vec::new();
    let mut push = |m: &mut Machine, part: &str| -> Flow {
        m.mem_element()?;
        m.mem_text(part.len())?;
        parts.push(Value::from(part));
        Ok(())
    };
    if separator.is_empty() {
        text.chars().try_for_each(|c| push(m, c.encode_utf8(&mut [0; 4])))?;
    } else {
        text.split(separator).try_for_each(|part| push(m, part))?;
    }
    Ok(Value::array(parts))
}

fn join(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Value, Stop> {
    let Value::Array(items) = input else { return Stop::raise(format!("Cannot iterate over {}", describe(input))) };
    if items.is_empty() {
        return Ok(Value::from(""));
    }
    let [Value::String(separator)] = args else {
        let other = args.first().cloned().unwrap_or_default();
        return Stop::raise(format!("{} cannot be a separator", describe(&other)));
    };
    let mut text = String::new();
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            m.mem_text(separator.len())?;
            text.push_str(separator);
        }
        match item {
            Value::Null => {}
            Value::Array(_) | Value::Object(_) => {
                return Stop::raise(format!(
                    "string ({}) and {} cannot be added",
                    dump(&Value::from(cut(&text, EXCERPT + 1))),
                    describe(item)
                ));
            }
            other => append(m, other, &mut text)?,
        }
    }
    m.mem_text(text.len())?;
    Ok(Value::from(text))
}

fn explode(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let Value::String(text) = input else { return Stop::raise("explode input must be a string") };
    m.mem_array(text.len())?;
    Ok(Value::array(text.chars().map(|c| Value::Int(i64::from(u32::from(c)))).collect()))
}

fn implode(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let Value::Array(items) = input else { return Stop::raise("implode input must be an array") };
    m.mem_text(wide(items.len()).saturating_mul(4))?;
    let mut text = String::new();
    for item in items.iter() {
        let Some(code) = item.as_i64() else { return Stop::raise("Unicode codepoint must be numeric") };
        let Some(c) = u32::try_from(code).ok().and_then(char::from_u32) else { return Stop::raise("Invalid codepoint literal") };
        text.push(c);
    }
    Ok(Value::String(Arc::from(text)))
}
