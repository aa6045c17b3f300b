//! jq's order of values and a merge sort, both metered: the comparator may stop half-way, which `std`'s sorts may answer
//! with a panic.

use super::fuel::{Machine, Stop, wide};
use crate::value::{Value, compare_numbers};
use std::cmp::Ordering;

/// `null < false < true < numbers < strings < arrays < objects`. One step per pair looked at.
pub(super) fn compare(m: &mut Machine, left: &Value, right: &Value) -> Result<Ordering, Stop> {
    m.step(1)?;
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            m.scan(left.len().min(right.len()))?;
            Ok(left.cmp(right))
        }
        (Value::Array(left), Value::Array(right)) => {
            for (left, right) in left.iter().zip(right.iter()) {
                let order = compare(m, left, right)?;
                if order != Ordering::Equal {
                    return Ok(order);
                }
            }
            Ok(left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            for (left, right) in left.keys().zip(right.keys()) {
                m.step(1)?;
                m.scan(left.len().min(right.len()))?;
                let order = left.cmp(right);
                if order != Ordering::Equal {
                    return Ok(order);
                }
            }
            let order = left.len().cmp(&right.len());
            if order != Ordering::Equal {
                return Ok(order);
            }
            for (left, right) in left.values().zip(right.values()) {
                let order = compare(m, left, right)?;
                if order != Ordering::Equal {
                    return Ok(order);
                }
            }
            Ok(Ordering::Equal)
        }
        _ => match compare_numbers(left, right) {
            Some(order) => Ok(order),
            None => Ok(left.rank().cmp(&right.rank())),
        },
    }
}

pub(super) fn equal(m: &mut Machine, left: &Value, right: &Value) -> Result<bool, Stop> {
    Ok(compare(m, left, right)? == Ordering::Equal)
}

/// Stable. Sorts `(key, value)` by key, bottom up: runs of 1, 2, 4, … are merged.
pub(super) fn sort(m: &mut Machine, mut items: Vec<(Value, Value)>) -> Result<Vec<(Value, Value)>, Stop> {
    let count = items.len();
    m.mem_array(wide(count).saturating_mul(4))?;
    let mut width = 1;
    while width < count {
        let mut merged = Vec::with_capacity(count);
        let mut source = items.into_iter().peekable();
        let mut start = 0;
        while start < count {
            let left: Vec<_> = source.by_ref().take(width).collect();
            let right: Vec<_> = source.by_ref().take(width).collect();
            start = start.saturating_add(width.saturating_mul(2));
            merge(m, left, right, &mut merged)?;
        }
        items = merged;
        width = width.saturating_mul(2);
    }
    Ok(items)
}

type Keyed = (Value, Value);

fn merge(m: &mut Machine, left: Vec<Keyed>, right: Vec<Keyed>, out: &mut Vec<Keyed>) -> Result<(), Stop> {
    let mut left = left.into_iter().peekable();
    let mut right = right.into_iter().peekable();
    while let (Some(first), Some(second)) = (left.peek(), right.peek()) {
        let next = if compare(m, &first.0, &second.0)? == Ordering::Greater { right.next() } else { left.next() };
        out.extend(next);
    }
    out.extend(left);
    out.extend(right);
    Ok(())
}
