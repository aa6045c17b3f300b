//! Functions that take their arguments unevaluated, as loops of our own.

use super::control::guarded;
use super::environment::Env;
use super::eval::{each, go, iterate};
use super::fuel::{Flow, Machine, Stop, wide};
use super::item::{Item, Out, Track};
use super::math::binary;
use super::path;
use super::syntax::{Operator, Special, Term};
use crate::value::{Object, Value};
use std::sync::Arc;

pub(super) fn call(m: &mut Machine, special: Special, args: &[Term], env: &Env, item: Item, out: Out) -> Flow {
    match (special, args) {
        (Special::Path, [term]) => {
            let start = Item { value: item.value.clone(), track: Track::At(None) };
            go(m, term, env, start, &mut |m, found| {
                let keys = found.path(m)?;
                out(m, item.computed(Value::array(keys)))
            })
        }
        (Special::GetPath, [term]) => each(m, term, env, &item.value, &mut |m, keys| get_path(m, &item, &keys, out)),
        (Special::Select, [term]) => {
            each(m, term, env, &item.value, &mut |m, holds| if holds.is_truthy() { out(m, item.clone()) } else { Ok(()) })
        }
        (Special::Recurse, []) => recurse(m, None, env, item, out),
        (Special::Recurse, [term]) => recurse(m, Some(term), env, item, out),
        (Special::First, [term]) => {
            let mut count = 1;
            limited(m, &mut count, term, env, item, out)
        }
        (Special::Last, [term]) => {
            let mut last = None;
            go(m, term, env, item, &mut |_, item| {
                last = Some(item);
                Ok(())
            })?;
            last.map_or(Ok(()), |item| out(m, item))
        }
        (Special::Limit, [count, term]) => each(m, count, env, &item.value, &mut |m, count| {
            let mut count = number(&count, "limit")?;
            if count == 0 { Ok(()) } else { limited(m, &mut count, term, env, item.clone(), out) }
        }),
        (Special::Skip, [count, term]) => each(m, count, env, &item.value, &mut |m, count| {
            let mut count = number(&count, "skip")?;
            go(m, term, env, item.clone(), &mut |m, item| {
                if count == 0 {
                    return out(m, item);
                }
                count -= 1;
                Ok(())
            })
        }),
        (Special::Until, [test, next]) => cycle(m, (test, next), true, env, item, out),
        (Special::While, [test, next]) => cycle(m, (test, next), false, env, item, out),
        (Special::Range, [from, to, by]) => each(m, from, env, &item.value, &mut |m, from| {
            each(m, to, env, &item.value, &mut |m, to| {
                each(m, by, env, &item.value, &mut |m, by| range(m, &from, &to, &by, &mut |m, value| out(m, item.computed(value))))
            })
        }),
        (Special::Substitute, [pattern, text, flags]) => each(m, pattern, env, &item.value, &mut |m, pattern| {
            each(m, flags, env, &item.value, &mut |m, flags| {
                let made = substitute(m, &item.value, (&pattern, &flags), text, env)?;
                made.into_iter().try_for_each(|made| out(m, item.computed(made)))
            })
        }),
        (Special::Walk, [term]) => walk(m, term, env, &item.value, &mut |m, value| out(m, item.computed(value))),
        _ => Ok(()),
    }
}

fn number(value: &Value, name: &str) -> Result<u64, Stop> {
    match value {
        Value::Int(count) => u64::try_from(*count).or_else(|_| Stop::raise(format!("{name} doesn't support negative count"))),
        Value::Float(count) if *count >= 0.0 => Ok(count.ceil() as u64),
        _ => Stop::raise(format!("{name} needs a number that is not negative")),
    }
}

fn get_path(m: &mut Machine, item: &Item, keys: &Value, out: Out) -> Flow {
    let Value::Array(keys) = keys else { return Stop::raise("Path must be specified as an array") };
    if matches!(item.track, Track::Off) {
        let value = path::get_path(m, &item.value, keys)?;
        return out(m, Item::plain(value));
    }
    let mut item = item.clone();
    for key in keys.iter() {
        m.step(1)?;
        let value = if item.value.is_null() { Value::Null } else { path::index(m, &item.value, key)? };
        item = item.part(m, key, value)?;
    }
    out(m, item)
}

/// Passes on `count` outputs and stops the term right after the last.
fn limited(m: &mut Machine, count: &mut u64, term: &Term, env: &Env, item: Item, out: Out) -> Flow {
    let label = m.fresh_label();
    let depth = m.depth();
    let flow = go(m, term, env, item, &mut |m, item| {
        *count -= 1;
        out(m, item)?;
        if *count == 0 { Err(Stop::Break(label)) } else { Ok(()) }
    });
    match flow {
        Err(Stop::Break(at)) if at == label => {
            m.unwind(depth);
            Ok(())
        }
        flow => flow,
    }
}

/// What is still to do, the next on top. An error waits its turn behind the outputs that came before it.
type Agenda = Vec<Result<Item, Value>>;

/// Adds all outputs of a term to the agenda, so that the first is on top.
fn plan(m: &mut Machine, agenda: &mut Agenda, term: Option<&Term>, env: &Env, item: Item) -> Flow {
    let start = agenda.len();
    match term {
        Some(term) => {
            let mut found = Vec::new();
            let error = guarded(m, term, env, item, &mut |m, item| {
                m.mem_element()?;
                found.push(item);
                Ok(())
            })?;
            agenda.extend(found.into_iter().map(Ok));
            agenda.extend(error.map(Err));
        }
        None if matches!(item.value, Value::Array(_) | Value::Object(_)) => iterate(m, &item, &mut |m, item| {
            m.mem_element()?;
            agenda.push(Ok(item));
            Ok(())
        })?,
        None => {}
    }
    if let Some(new) = agenda.get_mut(start..) {
        new.reverse();
    }
    Ok(())
}

/// `recurse(term)`; without a term `..`. Gathers the outputs of one call of the term before it goes down.
pub(super) fn recurse(m: &mut Machine, term: Option<&Term>, env: &Env, item: Item, out: Out) -> Flow {
    let mut agenda: Agenda = vec![Ok(item)];
    while let Some(next) = agenda.pop() {
        m.step(1)?;
        let item = next.map_err(Stop::Raised)?;
        out(m, item.clone())?;
        plan(m, &mut agenda, term, env, item)?;
    }
    Ok(())
}

/// `until` and `while` as loops, so that they do not nest.
fn cycle(m: &mut Machine, (test, next): (&Term, &Term), until: bool, env: &Env, item: Item, out: Out) -> Flow {
    let mut agenda: Agenda = vec![Ok(item)];
    while let Some(found) = agenda.pop() {
        m.step(1)?;
        let item = found.map_err(Stop::Raised)?;
        let mut holds = Vec::new();
        each(m, test, env, &item.value, &mut |m, value| {
            m.mem_element()?;
            holds.push(value.is_truthy());
            Ok(())
        })?;
        for holds in holds {
            match (until, holds) {
                (true, true) => out(m, item.clone())?,
                (true, false) => plan(m, &mut agenda, Some(next), env, item.clone())?,
                (false, true) => {
                    out(m, item.clone())?;
                    plan(m, &mut agenda, Some(next), env, item.clone())?;
                }
                (false, false) => {}
            }
        }
    }
    Ok(())
}

fn range(m: &mut Machine, from: &Value, to: &Value, by: &Value, out: &mut dyn FnMut(&mut Machine, Value) -> Flow) -> Flow {
    let (Some(_), Some(_), Some(step)) = (from.as_f64(), to.as_f64(), by.as_f64()) else {
        return Stop::raise("Range bounds must be numeric");
    };
    let mut at = from.clone();
    let wanted = if step > 0.0 { Operator::Less } else { Operator::Greater };
    if step == 0.0 {
        return Ok(());
    }
    loop {
        m.step(1)?;
        if !binary(m, wanted, &at, to)?.is_truthy() {
            return Ok(());
        }
        let next = binary(m, Operator::Add, &at, by)?;
        out(m, at)?;
        at = next;
    }
}

/// The n-th output of the term goes into the n-th result, for every match.
fn substitute(m: &mut Machine, input: &Value, pattern: (&Value, &Value), text: &Term, env: &Env) -> Result<Vec<Value>, Stop> {
    use super::builtins::regex;
    let Value::String(subject) = input else { return regex::not_text(input) };
    let found = regex::captures(m, subject, pattern.0, pattern.1)?;
    if found.is_empty() {
        return Ok(vec![input.clone()]);
    }
    let mut made: Vec<String> = Vec::new();
    let mut before = 0;
    for (start, end, capture) in found {
        let gap = subject.get(before..start).unwrap_or_default();
        let mut place = 0;
        each(m, text, env, &capture, &mut |m, value| {
            let Value::String(insert) = &value else {
                return Stop::raise(format!("{} cannot be added to a string", super::builtins::text::describe(&value)));
            };
            m.mem_text(wide(gap.len()).saturating_add(wide(insert.len())))?;
            if made.len() <= place {
                made.push(String::new());
            }
            if let Some(result) = made.get_mut(place) {
                result.push_str(gap);
                result.push_str(insert);
            }
            place += 1;
            Ok(())
        })?;
        before = end;
    }
    let tail = subject.get(before..).unwrap_or_default();
    let mut values = Vec::with_capacity(made.len());
    for mut text in made {
        m.mem_text(wide(text.len()).saturating_add(wide(tail.len())))?;
        text.push_str(tail);
        values.push(Value::from(text));
    }
    Ok(values)
}

fn walk(m: &mut Machine, term: &Term, env: &Env, value: &Value, out: &mut dyn FnMut(&mut Machine, Value) -> Flow) -> Flow {
    m.enter()?;
    let rebuilt = match value {
        Value::Array(items) => {
            m.mem_array(items.len())?;
            let mut made = Vec::new();
            for item in items.iter() {
                walk(m, term, env, item, &mut |m, value| {
                    m.mem_element()?;
                    m.nest_child(&value)?;
                    made.push(value);
                    Ok(())
                })?;
            }
            Value::array(made)
        }
        Value::Object(fields) => {
            m.mem_object(fields.len())?;
            let mut made = Object::new();
            for (key, field) in fields.iter() {
                let mut first = None;
                walk(m, term, env, field, &mut |_, value| {
                    first.get_or_insert(value);
                    Ok(())
                })?;
                if let Some(value) = first {
                    m.mem_field(key)?;
                    m.nest_child(&value)?;
                    made.insert(key.clone(), value);
                }
            }
            Value::Object(Arc::new(made))
        }
        other => other.clone(),
    };
    each(m, term, env, &rebuilt, out)?;
    m.leave();
    Ok(())
}
