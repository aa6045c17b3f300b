//! Arrays, objects, and what works on any value.

use super::super::fuel::{Flow, Machine, Stop, wide};
use super::super::math;
use super::super::path;
use super::super::sort::{compare, equal, sort};
use super::Run;
use super::text::{append, describe};
use crate::value::{Object, Value};
use std::cmp::Ordering;
use std::sync::Arc;

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
    ("add", 0, |m, input, _| add(m, input)),
    ("reverse", 0, |m, input, _| reverse(m, input)),
    ("sort", 0, |m, input, _| sorted(m, input)),
    ("_sort_by", 1, |m, input, args| sort_by(m, input, args)),
    ("_group_by", 1, group_by),
    ("_min_by", 1, |m, input, args| extreme(m, input, args, Ordering::Less)),
    ("_max_by", 1, |m, input, args| extreme(m, input, args, Ordering::Greater)),
    ("flatten", 1, flatten),
    ("from_entries", 0, |m, input, _| from_entries(m, input)),
    ("setpath", 2, |m, input, args| match args {
        [Value::Array(keys), value] => path::set_path(m, input.clone(), keys, value),
        _ => Stop::raise("Path must be specified as an array"),
    }),
    ("delpaths", 1, |m, input, args| match args {
        [Value::Array(paths)] => {
            m.mem_array(paths.len())?;
            path::delete_paths(m, input.clone(), paths.to_vec())
        }
        _ => Stop::raise("Paths must be specified as an array"),
    }),
    ("indices", 1, |m, input, args| find(m, input, args.first().unwrap_or(&Value::Null))),
    ("transpose", 0, |m, input, _| transpose(m, input)),
    ("bsearch", 1, bsearch),
];

fn array(value: &Value) -> Result<&Arc<Vec<Value>>, Stop> {
    match value {
        Value::Array(items) => Ok(items),
        other => Stop::raise(format!("{} is not an array", describe(other))),
    }
}

fn count(length: usize) -> Value {
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
            m.scan(whole.len().saturating_add(part.len()).saturating_mul(2))?;
            Ok(whole.contains(part.as_ref()))
        }
        (whole, part) if whole.type_name() == part.type_name() => equal(m, whole, part),
        (whole, part) => Stop::raise(format!("{} and {} cannot have their containment checked", describe(whole), describe(part))),
    }
}

/// Linear where items are all strings, all arrays or all objects, unlike a chain of `+`.
fn add(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let mut items: Box<dyn Iterator<Item = &Value>> = match input {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        other => return Stop::raise(format!("Cannot iterate over {}", describe(other))),
    };
    let mut sum = Value::Null;
    let mut open = Open::None;
    for item in &mut items {
        m.step(1)?;
        match (&mut open, item) {
            (_, Value::Null) => continue,
            (Open::Text(text), Value::String(more)) => {
                m.mem_text(more.len())?;
                text.push_str(more);
                continue;
            }
            (Open::Items(items), Value::Array(more)) => {
                m.mem_array(more.len())?;
                items.extend(more.iter().cloned());
                continue;
            }
            (Open::Fields(fields), Value::Object(more)) => {
                m.mem_object(more.len())?;
                fields.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
                continue;
            }
            _ => {}
        }
        let before = open.close(m, &mut sum)?;
        match (before, item) {
            (Value::Null, Value::String(text)) => {
                m.mem_text(text.len())?;
                open = Open::Text(text.to_string());
            }
            (Value::Null, Value::Array(items)) => {
                m.mem_array(items.len())?;
                open = Open::Items(items.to_vec());
            }
            (Value::Null, Value::Object(fields)) => {
                m.mem_object(fields.len())?;
                open = Open::Fields(Object::clone(fields));
            }
            (before, item) => sum = math::add(m, &before, item)?,
        }
    }
    open.close(m, &mut sum)
}

/// A sum that is still being put together.
enum Open {
    None,
    Text(String),
    Items(Vec<Value>),
    Fields(Object),
}

impl Open {
    fn close(&mut self, m: &mut Machine, sum: &mut Value) -> Result<Value, Stop> {
        match std::mem::replace(self, Self::None) {
            Self::None => Ok(std::mem::take(sum)),
            Self::Text(text) => {
                m.mem_text(text.len())?;
                Ok(Value::from(text))
            }
            Self::Items(items) => Ok(Value::array(items)),
            Self::Fields(fields) => Ok(Value::Object(Arc::new(fields))),
        }
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

fn sorted(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let Value::Array(items) = input else { return Stop::raise(format!("{} cannot be sorted, as it is not an array", describe(input))) };
    m.mem_array(items.len().saturating_mul(2))?;
    let sorted = sort(m, items.iter().map(|item| (item.clone(), Value::Null)).collect())?;
    Ok(Value::array(sorted.into_iter().map(|(item, _)| item).collect()))
}

/// Items with their keys, sorted by key.
fn by_keys(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Vec<(Value, Value)>, Stop> {
    let Value::Array(items) = input else { return Stop::raise(format!("{} cannot be sorted, as it is not an array", describe(input))) };
    let keys = array(args.first().unwrap_or(&Value::Null))?;
    m.mem_array(items.len().saturating_mul(2))?;
    sort(m, keys.iter().cloned().zip(items.iter().cloned()).collect())
}

fn sort_by(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Value, Stop> {
    Ok(Value::array(by_keys(m, input, args)?.into_iter().map(|(_, item)| item).collect()))
}

fn group_by(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Value, Stop> {
    let sorted = by_keys(m, input, args)?;
    let mut groups = Vec::new();
    let mut group: Vec<Value> = Vec::new();
    let mut last: Option<Value> = None;
    for (key, item) in sorted {
        let same = match &last {
            Some(last) => equal(m, last, &key)?,
            None => true,
        };
        if !same {
            m.mem_array(1)?;
            groups.push(Value::array(std::mem::take(&mut group)));
        }
        m.mem_element()?;
        m.nest(&item, crate::value::DEPTH_MAX - 2)?;
        group.push(item);
        last = Some(key);
    }
    if !group.is_empty() {
        groups.push(Value::array(group));
    }
    Ok(Value::array(groups))
}

/// The first of the smallest, the last of the largest, as a stable sort would have them.
fn extreme(m: &mut Machine, input: &Value, args: &[Value], wanted: Ordering) -> Result<Value, Stop> {
    let items = array(input)?;
    let keys = array(args.first().unwrap_or(&Value::Null))?;
    let mut best: Option<(&Value, &Value)> = None;
    for (key, item) in keys.iter().zip(items.iter()) {
        let better = match best {
            Some((other, _)) => {
                let order = compare(m, key, other)?;
                order == wanted || (wanted == Ordering::Greater && order == Ordering::Equal)
            }
            None => true,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map(|(_, item)| item.clone()).unwrap_or_default())
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

fn from_entries(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let entries: Vec<&Value> = match input {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        other => return Stop::raise(format!("Cannot iterate over {}", describe(other))),
    };
    m.mem_object(entries.len())?;
    let mut made = Object::new();
    for entry in entries {
        let field = |m: &mut Machine, names: &[&str]| -> Result<Value, Stop> {
            let mut found = Value::Null;
            for name in names {
                found = path::index(m, entry, &Value::from(*name))?;
                // `false` is a key and a value; null is not there.
                if !found.is_null() {
                    break;
                }
            }
            Ok(found)
        };
        let key = match field(m, &["key", "k", "name", "Name", "Key", "K"])? {
            Value::String(key) => key,
            key @ (Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
                let mut text = String::new();
                append(m, &key, &mut text)?;
                Arc::from(text)
            }
            other => return Stop::raise(format!("Cannot use {} as object key", describe(&other))),
        };
        let value = field(m, &["value", "v", "Value", "V"])?;
        m.mem_field(&key)?;
        made.insert(key, value);
    }
    Ok(Value::Object(Arc::new(made)))
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
    m.mem_array(rows.len().saturating_add(1).saturating_mul(width))?;
    let column = |place: usize| rows.iter().map(move |row| row.as_array().and_then(|row| row.get(place)).cloned().unwrap_or_default());
    Ok(Value::array((0..width).map(|place| Value::array(column(place).collect())).collect()))
}

fn bsearch(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Value, Stop> {
    let items = array(input)?;
    let wanted = args.first().unwrap_or(&Value::Null);
    let (mut low, mut high) = (0, items.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match compare(m, items.get(middle).unwrap_or(&Value::Null), wanted)? {
            Ordering::Equal => return Ok(count(middle)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    math::negate(&count(low + 1))
}
