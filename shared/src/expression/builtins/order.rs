//! Sorting and what builds on it.

use super::super::fuel::{Machine, Stop, wide};
use super::super::math;
use super::super::sort::{compare, equal, sort};
use super::Run;
use super::any::count;
use super::array::array;
use super::text::describe;
use crate::value::Value;
use std::cmp::Ordering;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("sort", 0, |m, input, _| sorted(m, input)),
    ("_sort_by", 1, |m, input, args| sort_by(m, input, args)),
    ("_group_by", 1, group_by),
    ("_min_by", 1, |m, input, args| extreme(m, input, args, Ordering::Less)),
    ("_max_by", 1, |m, input, args| extreme(m, input, args, Ordering::Greater)),
    ("bsearch", 1, bsearch),
];

fn sorted(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let Value::Array(items) = input else { return Stop::raise(format!("{} cannot be sorted, as it is not an array", describe(input))) };
    m.mem_array(wide(items.len()).saturating_mul(2))?;
    let sorted = sort(m, items.iter().map(|item| (item.clone(), Value::Null)).collect())?;
    Ok(Value::array(sorted.into_iter().map(|(item, _)| item).collect()))
}

/// Items with their keys, sorted by key.
fn by_keys(m: &mut Machine, input: &Value, args: &[Value]) -> Result<Vec<(Value, Value)>, Stop> {
    let Value::Array(items) = input else { return Stop::raise(format!("{} cannot be sorted, as it is not an array", describe(input))) };
    let keys = array(args.first().unwrap_or(&Value::Null))?;
    m.mem_array(wide(items.len()).saturating_mul(2))?;
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
            m.mem_array(1u64)?;
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
