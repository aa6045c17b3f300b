//! Reading, writing and deleting at paths: `.a[1:2]`, `getpath`, `setpath`, `delpaths`, and what updates build on.
//!
//! A write charges every container on its way as if it were copied, except below a prefix that the caller says it has
//! already paid for: a run of writes to one array pays for the array once.

use super::builtins::text::dump;
use super::fuel::{Flow, Machine, Stop, wide};
use super::sort::compare;
use crate::value::{DEPTH_MAX, Value};
use std::cmp::Ordering;
use std::sync::Arc;

/// Largest array that a write by index may make: `.[1e9] = 1` would otherwise ask for gigabytes.
pub(super) const INDEX_MAX: i64 = 65_536;

/// `value[key]`.
pub(super) fn index(m: &mut Machine, value: &Value, key: &Value) -> Result<Value, Stop> {
    match (value, key) {
        (Value::Object(fields), Value::String(key)) => {
            m.scan(key.len())?;
            Ok(fields.get(key).cloned().unwrap_or_default())
        }
        (Value::Array(items), Value::Int(_) | Value::Float(_)) => {
            let at = whole(key).and_then(|at| element(items.len(), at));
            Ok(at.and_then(|at| items.get(at)).cloned().unwrap_or_default())
        }
        (Value::Null, Value::String(_) | Value::Int(_) | Value::Float(_)) => Ok(Value::Null),
        (Value::Array(_) | Value::String(_) | Value::Null, Value::Object(_)) => {
            let (from, to) = bounds(key)?;
            slice(m, value, &from, &to)
        }
        (Value::Array(items), Value::Array(wanted)) => super::builtins::array::indices(m, items, wanted),
        (_, Value::String(key)) => {
            Stop::raise(format!("Cannot index {} with \"{}\"", value.type_name(), super::builtins::text::shorten(key)))
        }
        _ => Stop::raise(format!("Cannot index {} with {}", value.type_name(), key.type_name())),
    }
}

/// jq cuts a fractional index down.
fn whole(key: &Value) -> Option<i64> {
    key.as_i64().or_else(|| key.as_f64().map(|float| float.floor() as i64))
}

fn element(length: usize, at: i64) -> Option<usize> {
    let at = if at < 0 { i64::try_from(length).ok()?.checked_add(at)? } else { at };
    usize::try_from(at).ok()
}

/// `value[from:to]`.
pub(super) fn slice(m: &mut Machine, value: &Value, from: &Value, to: &Value) -> Result<Value, Stop> {
    match value {
        Value::Null => Ok(Value::Null),
        Value::Array(items) => {
            let (start, end) = range(items.len(), from, to)?;
            m.mem_array(wide(end - start))?;
            Ok(Value::array(items.get(start..end).unwrap_or_default().to_vec()))
        }
        Value::String(text) => {
            m.scan(wide(text.len()).saturating_mul(8))?;
            let (start, end) = range(text.chars().count(), from, to)?;
            let begin = text.char_indices().nth(start).map_or(text.len(), |(at, _)| at);
            let tail = text.get(begin..).unwrap_or_default();
            let length = tail.char_indices().nth(end - start).map_or(tail.len(), |(at, _)| at);
            m.mem_text(length)?;
            Ok(Value::string(tail.get(..length).unwrap_or_default()))
        }
        _ => Stop::raise(format!("Cannot index {} with object", value.type_name())),
    }
}

fn range(length: usize, from: &Value, to: &Value) -> Result<(usize, usize), Stop> {
    let place = |bound: &Value, otherwise: usize, up: bool| -> Result<usize, Stop> {
        let at = match bound {
            Value::Null => return Ok(otherwise),
            Value::Int(at) => *at,
            Value::Float(at) => (if up { at.ceil() } else { at.floor() }) as i64,
            _ => return Stop::raise("Start and end indices of an array slice must be numbers"),
        };
        let at = if at < 0 { i64::try_from(length).unwrap_or(i64::MAX).saturating_add(at).max(0) } else { at };
        Ok(usize::try_from(at).unwrap_or(usize::MAX).min(length))
    };
    let start = place(from, 0, false)?;
    let end = place(to, length, true)?;
    Ok((start, end.max(start)))
}

/// The bounds in a path element like `{"start": 1, "end": null}`.
fn bounds(key: &Value) -> Result<(Value, Value), Stop> {
    match (key.get("start"), key.get("end")) {
        (None, None) => Stop::raise("Start and end indices of an array slice must be numbers"),
        (start, end) => Ok((start.cloned().unwrap_or_default(), end.cloned().unwrap_or_default())),
    }
}

pub(super) fn get_path(m: &mut Machine, value: &Value, path: &[Value]) -> Result<Value, Stop> {
    let mut value = value.clone();
    for key in path {
        m.step(1)?;
        if value.is_null() {
            return Ok(Value::Null);
        }
        value = index(m, &value, key)?;
    }
    Ok(value)
}

pub(super) fn set_path(m: &mut Machine, root: Value, path: &[Value], new: &Value) -> Result<Value, Stop> {
    let mut root = root;
    update(m, &mut root, path, 0, &mut |_, _| Ok(new.clone()))?;
    Ok(root)
}

type Change<'c> = &'c mut dyn FnMut(&mut Machine, Value) -> Result<Value, Stop>;

/// Replaces what is at `path` by what `change` makes of it. The first `paid` containers on the way are not charged.
pub(super) fn update(m: &mut Machine, root: &mut Value, path: &[Value], paid: usize, change: Change) -> Flow {
    let Some(levels) = DEPTH_MAX.checked_sub(path.len()) else { return Err(Stop::Budget("depth of a value")) };
    step_down(m, root, path, paid, &mut |m, old| {
        let new = change(m, old)?;
        m.nest(&new, levels)?;
        Ok(new)
    })
}

/// Recursion is bounded by the check of the path's length in [`update`].
fn step_down(m: &mut Machine, slot: &mut Value, path: &[Value], paid: usize, change: Change) -> Flow {
    m.step(1)?;
    let Some((key, rest)) = path.split_first() else {
        *slot = change(m, std::mem::take(slot))?;
        return Ok(());
    };
    if slot.is_null() {
        *slot = match key {
            Value::String(_) => Value::empty_object(),
            Value::Int(_) | Value::Float(_) | Value::Object(_) => Value::array(Vec::new()),
            _ => Value::Null,
        };
    }
    let later = paid.saturating_sub(1);
    match (slot, key) {
        (Value::Object(fields), Value::String(key)) => {
            if paid == 0 {
                m.mem_object(fields.len())?;
            }
            m.mem_field(key)?;
            let inner = Arc::make_mut(fields).entry(key.clone()).or_default();
            step_down(m, inner, rest, later, change)
        }
        (Value::Array(items), Value::Int(_) | Value::Float(_)) => {
            let at = whole(key).unwrap_or(i64::MAX);
            // First, because an address of 32 bit could not hold it.
            if at >= INDEX_MAX {
                return Stop::raise("Array index too large");
            }
            let Some(place) = element(items.len(), at) else { return Stop::raise("Out of bounds negative array index") };
            let length = items.len().max(place.saturating_add(1));
            if paid == 0 {
                m.mem_array(length)?;
            } else if length > items.len() {
                m.mem_array(wide(length - items.len()))?;
            }
            let items = Arc::make_mut(items);
            if length > items.len() {
                items.resize(length, Value::Null);
            }
            match items.get_mut(place) {
                Some(inner) => step_down(m, inner, rest, later, change),
                None => Ok(()),
            }
        }
        (Value::Array(items), Value::Object(_)) => {
            let (from, to) = bounds(key)?;
            let (start, end) = range(items.len(), &from, &to)?;
            m.mem_array(items.len())?;
            let mut inner = Value::array(items.get(start..end).unwrap_or_default().to_vec());
            step_down(m, &mut inner, rest, 0, change)?;
            let Value::Array(new) = inner else { return Stop::raise("A slice of an array can only be assigned another array") };
            m.mem_array(wide(items.len()).saturating_add(wide(new.len())))?;
            Arc::make_mut(items).splice(start..end, new.iter().cloned());
            Ok(())
        }
        (Value::String(_), Value::Object(_)) => Stop::raise("Cannot update string slices"),
        (slot, Value::String(key)) => {
            Stop::raise(format!("Cannot index {} with \"{}\"", slot.type_name(), super::builtins::text::shorten(key)))
        }
        (slot, _) => Stop::raise(format!("Cannot index {} with {}", slot.type_name(), key.type_name())),
    }
}

/// Deletes all paths, the last first, so that earlier deletions do not move later ones.
pub(super) fn delete_paths(m: &mut Machine, root: Value, paths: Vec<Value>) -> Result<Value, Stop> {
    let keyed = paths.into_iter().map(|path| (path, Value::Null)).collect();
    let sorted = super::sort::sort(m, keyed)?;
    let mut root = root;
    let mut last: Option<Value> = None;
    for (path, _) in sorted.into_iter().rev() {
        let Value::Array(keys) = &path else { return Stop::raise("Path must be specified as an array") };
        if keys.len() > DEPTH_MAX {
            return Err(Stop::Budget("depth of a value"));
        }
        if keys.is_empty() {
            return Ok(Value::Null);
        }
        let paid = match last.as_ref().and_then(Value::as_array) {
            Some(before) => common(m, before, keys)?,
            None => 0,
        };
        // A path below what has just been deleted is gone with it; equal paths are deleted once.
        if last.as_ref() != Some(&path) {
            delete(m, &mut root, keys, paid)?;
        }
        last = Some(path);
    }
    Ok(root)
}

/// How many containers two paths go through together, the root included; 0 for two that share nothing paid.
pub(super) fn common(m: &mut Machine, left: &[Value], right: &[Value]) -> Result<usize, Stop> {
    let shortest = left.len().min(right.len());
    let mut shared = 0;
    for (left, right) in left.iter().zip(right) {
        // A slice is taken out and put back each time: nothing below it stays paid.
        if matches!(left, Value::Object(_)) || compare(m, left, right)? != Ordering::Equal {
            break;
        }
        shared += 1;
    }
    Ok(if shortest == 0 { 0 } else { shared.min(shortest - 1) + 1 })
}

fn delete(m: &mut Machine, slot: &mut Value, path: &[Value], paid: usize) -> Flow {
    m.step(1)?;
    let Some((key, rest)) = path.split_first() else { return Ok(()) };
    match (slot, key) {
        (Value::Null, _) => Ok(()),
        (Value::Object(fields), Value::String(key)) => {
            if !fields.contains_key(key) {
                return Ok(());
            }
            if paid == 0 {
                m.mem_object(fields.len())?;
            }
            let fields = Arc::make_mut(fields);
            if rest.is_empty() {
                fields.remove(key);
                return Ok(());
            }
            fields.get_mut(key).map_or(Ok(()), |inner| delete(m, inner, rest, paid.saturating_sub(1)))
        }
        (Value::Array(items), Value::Int(_) | Value::Float(_)) => {
            let place = whole(key).and_then(|at| element(items.len(), at)).filter(|at| *at < items.len());
            let Some(place) = place else { return Ok(()) };
            if paid == 0 {
                m.mem_array(items.len())?;
            }
            if rest.is_empty() {
                m.step(1 + super::fuel::wide(items.len()) / 64)?;
                Arc::make_mut(items).remove(place);
                return Ok(());
            }
            Arc::make_mut(items).get_mut(place).map_or(Ok(()), |inner| delete(m, inner, rest, paid.saturating_sub(1)))
        }
        (Value::Array(items), Value::Object(_)) => {
            let (from, to) = bounds(key)?;
            let (start, end) = range(items.len(), &from, &to)?;
            m.mem_array(wide(items.len()).saturating_mul(2))?;
            let items = Arc::make_mut(items);
            if rest.is_empty() {
                items.drain(start..end);
                return Ok(());
            }
            let mut inner = Value::array(items.get(start..end).unwrap_or_default().to_vec());
            delete(m, &mut inner, rest, 0)?;
            let Value::Array(new) = inner else { return Stop::raise("A slice of an array can only be assigned another array") };
            items.splice(start..end, new.iter().cloned());
            Ok(())
        }
        (slot @ Value::Object(_), key) => {
            Stop::raise(format!("Cannot delete field at object index of {} ({})", key.type_name(), dump(slot)))
        }
        (slot, key) => Stop::raise(format!("Cannot delete field at {} index of {}", key.type_name(), slot.type_name())),
    }
}
