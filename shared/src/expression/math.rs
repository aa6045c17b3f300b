//! Operators. Whole numbers stay exact while they fit `i64`, then become floats; what is not finite is an error.

use super::builtins::text::{describe, dump};
use super::fuel::{Machine, Stop, wide};
use super::sort::compare;
use super::syntax::Operator;
use crate::value::{Object, Value};
use std::cmp::Ordering;
use std::sync::Arc;

pub(super) fn number(float: f64) -> Result<Value, Stop> {
    Value::number(float).map_or_else(|| Stop::raise("the result is not a finite number"), Ok)
}

pub(super) fn negate(value: &Value) -> Result<Value, Stop> {
    match value {
        Value::Int(whole) => whole.checked_neg().map_or_else(|| number(-(*whole as f64)), |whole| Ok(Value::Int(whole))),
        Value::Float(float) => number(-float),
        other => Stop::raise(format!("{} cannot be negated", describe(other))),
    }
}

pub(super) fn binary(m: &mut Machine, operator: Operator, left: &Value, right: &Value) -> Result<Value, Stop> {
    match operator {
        Operator::Add => add(m, left, right),
        Operator::Subtract => subtract(m, left, right),
        Operator::Multiply => multiply(m, left, right),
        Operator::Divide => divide(m, left, right),
        Operator::Modulo => modulo(left, right),
        Operator::Equal => Ok(Value::Bool(compare(m, left, right)? == Ordering::Equal)),
        Operator::NotEqual => Ok(Value::Bool(compare(m, left, right)? != Ordering::Equal)),
        Operator::Less => Ok(Value::Bool(compare(m, left, right)? == Ordering::Less)),
        Operator::LessEqual => Ok(Value::Bool(compare(m, left, right)? != Ordering::Greater)),
        Operator::Greater => Ok(Value::Bool(compare(m, left, right)? == Ordering::Greater)),
        Operator::GreaterEqual => Ok(Value::Bool(compare(m, left, right)? != Ordering::Less)),
    }
}

/// Exact on whole numbers, by floats where that overflows; `None` unless both are numbers.
fn arithmetic(left: &Value, right: &Value, exact: fn(i64, i64) -> Option<i64>, float: fn(f64, f64) -> f64) -> Option<Result<Value, Stop>> {
    if let (Value::Int(left), Value::Int(right)) = (left, right)
        && let Some(whole) = exact(*left, *right)
    {
        return Some(Ok(Value::Int(whole)));
    }
    let (left, right) = (left.as_f64()?, right.as_f64()?);
    Some(number(float(left, right)))
}

fn refuse<T>(left: &Value, right: &Value, what: &str) -> Result<T, Stop> {
    Stop::raise(format!("{} and {} cannot be {what}", describe(left), describe(right)))
}

pub(super) fn add(m: &mut Machine, left: &Value, right: &Value) -> Result<Value, Stop> {
    match (left, right) {
        (Value::Null, other) | (other, Value::Null) => Ok(other.clone()),
        (Value::String(left), Value::String(right)) => {
            m.mem_text(wide(left.len()).saturating_add(wide(right.len())))?;
            let mut text = String::with_capacity(left.len() + right.len());
            text.push_str(left);
            text.push_str(right);
            Ok(Value::from(text))
        }
        (Value::Array(left), Value::Array(right)) => {
            m.mem_array(wide(left.len()).saturating_add(wide(right.len())))?;
            Ok(Value::array(left.iter().chain(right.iter()).cloned().collect()))
        }
        (Value::Object(left), Value::Object(right)) => {
            m.mem_object(wide(left.len()).saturating_add(wide(right.len())))?;
            let mut made = Object::clone(left);
            made.extend(right.iter().map(|(key, value)| (key.clone(), value.clone())));
            Ok(Value::Object(Arc::new(made)))
        }
        _ => arithmetic(left, right, i64::checked_add, |left, right| left + right).unwrap_or_else(|| refuse(left, right, "added")),
    }
}

fn subtract(m: &mut Machine, left: &Value, right: &Value) -> Result<Value, Stop> {
    let (Value::Array(from), Value::Array(without)) = (left, right) else {
        return arithmetic(left, right, i64::checked_sub, |left, right| left - right).unwrap_or_else(|| refuse(left, right, "subtracted"));
    };
    m.mem_array(from.len())?;
    let mut kept = Vec::new();
    'items: for item in from.iter() {
        m.step(1)?;
        for other in without.iter() {
            if compare(m, item, other)? == Ordering::Equal {
                continue 'items;
            }
        }
        kept.push(item.clone());
    }
    Ok(Value::array(kept))
}

fn multiply(m: &mut Machine, left: &Value, right: &Value) -> Result<Value, Stop> {
    match (left, right) {
        (Value::String(text), times @ (Value::Int(_) | Value::Float(_)))
        | (times @ (Value::Int(_) | Value::Float(_)), Value::String(text)) => repeat(m, text, times),
        (Value::Object(left), Value::Object(right)) => merge(m, left, right),
        _ => arithmetic(left, right, i64::checked_mul, |left, right| left * right).unwrap_or_else(|| refuse(left, right, "multiplied")),
    }
}

fn repeat(m: &mut Machine, text: &str, times: &Value) -> Result<Value, Stop> {
    let times = times.as_f64().unwrap_or(0.0);
    if times <= 0.0 {
        return Ok(Value::Null);
    }
    // A fraction below one still gives the text once.
    let times = times.max(1.0) as u64;
    m.mem(super::fuel::wide(text.len()).saturating_mul(times).saturating_add(32))?;
    match usize::try_from(times) {
        // An empty text may be asked for any number of times for free.
        Ok(times) if !text.is_empty() => Ok(Value::from(text.repeat(times))),
        _ => Ok(Value::from("")),
    }
}

/// `*` on objects: merges them all the way down. Recursion is bounded by the depth of values.
fn merge(m: &mut Machine, left: &Arc<Object>, right: &Arc<Object>) -> Result<Value, Stop> {
    m.step(1)?;
    m.mem_object(wide(left.len()).saturating_add(wide(right.len())))?;
    let mut made = Object::clone(left);
    for (key, value) in right.iter() {
        let value = match (made.get(key.as_ref()), value) {
            (Some(Value::Object(left)), Value::Object(right)) => merge(m, &left.clone(), right)?,
            _ => value.clone(),
        };
        made.insert(key.clone(), value);
    }
    Ok(Value::Object(Arc::new(made)))
}

fn divide(m: &mut Machine, left: &Value, right: &Value) -> Result<Value, Stop> {
    if let (Value::String(text), Value::String(separator)) = (left, right) {
        return super::builtins::text::split(m, text, separator);
    }
    if right.as_f64() == Some(0.0) && left.as_f64().is_some() {
        return refuse(left, right, "divided because the divisor is zero");
    }
    let exact = |left: i64, right: i64| if left.checked_rem(right) == Some(0) { left.checked_div(right) } else { None };
    arithmetic(left, right, exact, |left, right| left / right).unwrap_or_else(|| refuse(left, right, "divided"))
}

fn modulo(left: &Value, right: &Value) -> Result<Value, Stop> {
    // Casts saturate: floats beyond `i64` count as its ends.
    let whole = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|float| float as i64));
    let (Some(dividend), Some(divisor)) = (whole(left), whole(right)) else { return refuse(left, right, "divided") };
    if divisor == 0 {
        return Stop::raise(format!(
            "{} ({}) and {} ({}) cannot be divided because the divisor is zero",
            left.type_name(),
            dump(left),
            right.type_name(),
            dump(right)
        ));
    }
    Ok(Value::Int(dividend.checked_rem(divisor).unwrap_or(0)))
}
