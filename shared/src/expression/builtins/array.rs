//! Arrays: putting them in another shape, and looking for things in them.

use super::super::fuel::{Flow, Machine, Stop, wide};
use super::super::sort::equal;
use super::Run;
use super::text::describe;
use crate::value::Value;
use std::sync::Arc;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("reverse", 0, |m, input, _| reverse(m, input)),
    ("flatten", 1, flatten),
    ("indices", 1, |m, input, args| find(m, input, args.first().unwrap_or(&Value::Null))),
    ("transpose", 0, |m, input, _| transpose(m, input)),
];

pub(super) fn array(value: &Value) -> Result<&Arc<Vec<Value>>, Stop> {
    match value {
        Value::Array(items) => Ok(items),
        other => Stop::raise(format!("{} is not an array", describe(other))),
    }
}

fn reverse(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    match input {
        Value::Null => Ok(Value::array(Vec::new())),
        Value::String(text) => {
            m.mem_text(text.len())?;
            Ok(Value::from(text.chars().rev().collect::<String>()))
        }
        Value::Array(items) => {
            m.mem_array(items.len())?;
            Ok(Value::array(items.iter().rev().cloned().collect()))
        }
        other => Stop::raise(format!("Cannot reverse {}", describe(other))),
    }
}

fn flatten(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Value, Stop> {
    let Some(levels) = args.first().and_then(Value::as_f64) else { return Stop::raise("flatten depth must be a number") };
    if levels < 0.0 {
        return Stop::raise("flatten depth must not be negative");
    }
    let items = match input {
        Value::Array(_) => input.clone(),
        Value::Object(fields) => Value::array(fields.values().cloned().collect()),
        other => return Stop::raise(format!("Cannot iterate over {}", describe(other))),
    };
    let mut flat = Vec::new();
    flatten_into(m, array(&items)?, levels as u64, &mut flat)?;
    Ok(Value::array(flat))
}

/// Recursion is bounded by the depth of values.
fn flatten_into(m: &mut Machine, items: &[Value], levels: u64, flat: &mut Vec<Value>) -> Flow {
    for item in items {
        m.step(1)?;
        match item {
            Value::Array(inner) if levels > 0 => flatten_into(m, inner, levels - 1, flat)?,
            other => {
                m.mem_element()?;
                flat.push(other.clone());
            }
        }
    }
    Ok(())
}

fn find(m: &mut Machine, input: &Value, wanted: &Value) -> Result<Value, Stop> {
    match (input, wanted) {
        (Value::Null, _) => Ok(Value::Null),
        (Value::String(text), Value::String(part)) => find_text(m, text, part),
        (Value::Array(items), Value::Array(part)) => indices(m, items, part),
        (Value::Array(items), one) => indices(m, items, std::slice::from_ref(one)),
        (input, wanted) => Stop::raise(format!("Cannot determine indices of {} in {}", describe(wanted), describe(input))),
    }
}

/// Places of a text in another, in characters; they may overlap.
fn find_text(m: &mut Machine, text: &str, part: &str) -> Result<Value, Stop> {
    // Byte by byte, at most the length of the part each.
    m.step(wide(text.len()).saturating_mul(1 + wide(part.len()) / 64) / 8)?;
    let mut found = Vec::new();
    if !part.is_empty() {
        for (place, (at, _)) in (0i64..).zip(text.char_indices()) {
            if text.get(at..).is_some_and(|rest| rest.starts_with(part)) {
                m.mem_element()?;
                found.push(Value::Int(place));
            }
        }
    }
    Ok(if part.is_empty() { Value::Null } else { Value::array(found) })
}

/// Places where a run of items stands in an array.
pub(in super::super) fn indices(m: &mut Machine, items: &[Value], part: &[Value]) -> Result<Value, Stop> {
    if part.is_empty() {
        return Ok(Value::Null);
    }
    let mut found = Vec::new();
    'places: for (place, window) in (0i64..).zip(items.windows(part.len())) {
        for (item, wanted) in window.iter().zip(part) {
            if !equal(m, item, wanted)? {
                continue 'places;
            }
        }
        m.mem_element()?;
        found.push(Value::Int(place));
    }
    Ok(Value::array(found))
}

fn transpose(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let rows = array(input)?;
    let mut width = 0;
    for row in rows.iter() {
        m.step(1)?;
        width = width.max(array(row)?.len());
    }
    m.mem_array(wide(rows.len()).saturating_add(1).saturating_mul(wide(width)))?;
    let column = |place: usize| rows.iter().map(move |row| row.as_array().and_then(|row| row.get(place)).cloned().unwrap_or_default());
    Ok(Value::array((0..width).map(|place| Value::array(column(place).collect())).collect()))
}
