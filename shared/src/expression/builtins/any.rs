//! What works on values of several types.

use super::super::fuel::{Machine, Stop, wide};
use super::super::math;
use super::super::sort::equal;
use super::Run;
use super::text::describe;
use crate::value::Value;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("not", 0, |_, input, _| Ok(Value::Bool(!input.is_truthy()))),
    ("type", 0, |_, input, _| Ok(Value::from(input.type_name()))),
    ("error", 0, |_, input, _| Err(Stop::Raised(input.clone()))),
    ("error", 1, |_, _, args| Err(Stop::Raised(args.first().cloned().unwrap_or_default()))),
    ("length", 0, |m, input, _| length(m, input)),
    ("keys", 0, |m, input, _| keys(m, input)),
    ("keys_unsorted", 0, |m, input, _| keys(m, input)),
    ("has", 1, |_, input, args| has(input, args)),
    ("contains", 1, |m, input, args| contains(m, input, args.first().unwrap_or(&Value::Null)).map(Value::Bool)),
    ("add", 0, |m, input, _| super::add::add(m, input)),
];

pub(super) fn count(length: usize) -> Value {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

fn length(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    match input {
        Value::Null => Ok(Value::Int(0)),
        Value::Bool(_) => Stop::raise(format!("{} has no length", describe(input))),
        Value::Int(_) | Value::Float(_) if input.as_f64().is_some_and(|number| number < 0.0) => math::negate(input),
        Value::Int(_) | Value::Float(_) => Ok(input.clone()),
        Value::String(text) => {
            m.scan(text.len())?;
            Ok(count(text.chars().count()))
        }
        Value::Array(items) => Ok(count(items.len())),
        Value::Object(fields) => Ok(count(fields.len())),
    }
}

fn keys(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    match input {
        Value::Object(fields) => {
            m.mem_array(fields.len())?;
            Ok(Value::array(fields.keys().cloned().map(Value::String).collect()))
        }
        Value::Array(items) => {
            m.mem_array(items.len())?;
            Ok(Value::array((0i64..).take(items.len()).map(Value::Int).collect()))
        }
        other => Stop::raise(format!("{} has no keys", describe(other))),
    }
}

fn has(input: &Value, args: &[Value]) -> Result<Value, Stop> {
    match (input, args) {
        (Value::Object(fields), [Value::String(key)]) => Ok(Value::Bool(fields.contains_key(key))),
        (Value::Array(items), [Value::Int(place)]) => Ok(Value::Bool(usize::try_from(*place).is_ok_and(|place| place < items.len()))),
        (_, args) => {
            Stop::raise(format!("Cannot check whether {} has a {} key", input.type_name(), args.first().map_or("null", Value::type_name)))
        }
    }
}

/// Recursion is bounded by the depth of values.
fn contains(m: &mut Machine, whole: &Value, part: &Value) -> Result<bool, Stop> {
    m.step(1)?;
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, part) in part.iter() {
                let Some(whole) = whole.get(key) else { return Ok(false) };
                if !contains(m, whole, part)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Array(whole), Value::Array(part)) => {
            'parts: for part in part.iter() {
                for whole in whole.iter() {
                    // Types may differ here; that is a plain no.
                    if whole.rank() == part.rank() && contains(m, whole, part)? {
                        continue 'parts;
                    }
                }
                return Ok(false);
            }
            Ok(true)
        }
        (Value::String(whole), Value::String(part)) => {
            m.scan(wide(whole.len()).saturating_add(wide(part.len())).saturating_mul(2))?;
            Ok(whole.contains(part.as_ref()))
        }
        (whole, part) if whole.type_name() == part.type_name() => equal(m, whole, part),
        (whole, part) => Stop::raise(format!("{} and {} cannot have their containment checked", describe(whole), describe(part))),
    }
}
