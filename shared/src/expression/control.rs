//! Folds, bindings, labels and error handling.
//!
//! An error that the *consumer* of an output raises is not the producer's to catch: callbacks mark it as downstream.

use super::environment::{Env, Node};
use super::eval::{each, go};
use super::fuel::{Flow, Machine, Stop, wide};
use super::item::{Item, Out, Track};
use super::syntax::{Binding, Fold, Pattern, Term};
use super::{accumulate, path};
use crate::value::Value;

/// Runs `body`; what it raises comes back as `Ok(Some(error))`, what `out` raises as `Err`.
pub(super) fn guarded(m: &mut Machine, body: &Term, env: &Env, item: Item, out: Out) -> Result<Option<Value>, Stop> {
    let mut downstream = false;
    let depth = m.depth();
    let flow = go(m, body, env, item, &mut |m, item| {
        let flow = out(m, item);
        downstream = flow.is_err();
        flow
    });
    match flow {
        Err(Stop::Raised(error)) if !downstream => {
            m.unwind(depth);
            Ok(Some(error))
        }
        Err(stop) => Err(stop),
        Ok(()) => Ok(None),
    }
}

pub(super) fn attempt(m: &mut Machine, body: &Term, handler: Option<&Term>, env: &Env, item: Item, out: Out) -> Flow {
    let tracked = item.clone();
    match (guarded(m, body, env, item, out)?, handler) {
        (Some(error), Some(handler)) => go(m, handler, env, tracked.computed(error), out),
        _ => Ok(()),
    }
}

pub(super) fn alternative(m: &mut Machine, pair: &(Term, Term), env: &Env, item: Item, out: Out) -> Flow {
    let mut found = false;
    guarded(m, &pair.0, env, item.clone(), &mut |m, item| {
        if !item.value.is_truthy() {
            return Ok(());
        }
        found = true;
        out(m, item)
    })?;
    if found { Ok(()) } else { go(m, &pair.1, env, item, out) }
}

pub(super) fn label(m: &mut Machine, body: &Term, env: &Env, item: Item, out: Out) -> Flow {
    let label = m.fresh_label();
    let depth = m.depth();
    let inner = Env { parent: Some(env), node: Node::Label(label) };
    match go(m, body, &inner, item, out) {
        Err(Stop::Break(at)) if at == label => {
            m.unwind(depth);
            Ok(())
        }
        flow => flow,
    }
}

pub(super) fn reduce(m: &mut Machine, fold: &Fold, env: &Env, item: Item, out: Out) -> Flow {
    go(m, &fold.init, env, item.clone(), &mut |m, state| {
        if fold.accumulates && matches!(state.track, Track::Off) {
            let mut state = accumulate::State::new(state.value);
            each(m, &fold.source, env, &item.value, &mut |m, value| {
                destructure(m, &fold.patterns, fold.slots, env, value, &mut |m, inner| state.advance(m, &fold.update, inner))
            })?;
            let value = state.into_value(m)?;
            return out(m, Item::plain(value));
        }
        let lost = state.computed(Value::Null);
        let mut state = state;
        each(m, &fold.source, env, &item.value, &mut |m, value| {
            destructure(m, &fold.patterns, fold.slots, env, value, &mut |m, inner| {
                let before = std::mem::replace(&mut state, lost.clone());
                // No output makes the state null, several make it the last.
                go(m, &fold.update, inner, before, &mut |_, next| {
                    state = next;
                    Ok(())
                })
            })
        })?;
        out(m, state)
    })
}

pub(super) fn foreach(m: &mut Machine, fold: &Fold, env: &Env, item: Item, out: Out) -> Flow {
    go(m, &fold.init, env, item.clone(), &mut |m, state| {
        let mut state = state;
        each(m, &fold.source, env, &item.value, &mut |m, value| {
            destructure(m, &fold.patterns, fold.slots, env, value, &mut |m, inner| {
                let before = state.clone();
                go(m, &fold.update, inner, before, &mut |m, next| {
                    state = next.clone();
                    match &fold.extract {
                        Some(extract) => go(m, extract, inner, next, out),
                        None => out(m, next),
                    }
                })
            })
        })
    })
}

pub(super) fn bind(m: &mut Machine, binding: &Binding, env: &Env, item: Item, out: Out) -> Flow {
    each(m, &binding.source, env, &item.value, &mut |m, value| {
        destructure(m, &binding.patterns, binding.slots, env, value, &mut |m, inner| go(m, &binding.body, inner, item.clone(), out))
    })
}

type Body<'b> = &'b mut dyn FnMut(&mut Machine, &Env) -> Flow;

/// Binds `value` and runs `body`. Of patterns apart by `?//`, the next is tried when one, or the body, raises an error.
fn destructure(m: &mut Machine, patterns: &[Pattern], slots: u32, env: &Env, value: Value, body: Body) -> Flow {
    m.mem_array(slots as usize)?;
    if let [Pattern::Variable(_)] = patterns {
        let inner = Env { parent: Some(env), node: Node::Variables(vec![value]) };
        return body(m, &inner);
    }
    let Some((last, others)) = patterns.split_last() else { return Ok(()) };
    for pattern in others {
        let depth = m.depth();
        match unpack(m, vec![(pattern, value.clone())], vec![Value::Null; slots as usize], env, body) {
            Err(Stop::Raised(_)) => m.unwind(depth),
            flow => return flow,
        }
    }
    unpack(m, vec![(last, value)], vec![Value::Null; slots as usize], env, body)
}

fn unpack(m: &mut Machine, mut work: Vec<(&Pattern, Value)>, mut bound: Vec<Value>, env: &Env, body: Body) -> Flow {
    while let Some((pattern, value)) = work.pop() {
        m.step(1)?;
        match pattern {
            Pattern::Variable(slot) => put(&mut bound, *slot, value),
            Pattern::Array(items) => {
                if !matches!(value, Value::Array(_) | Value::Null) {
                    return Stop::raise(format!("Cannot index {} with number", value.type_name()));
                }
                let start = work.len();
                for (place, pattern) in (0i64..).zip(items) {
                    let inner = path::index(m, &value, &Value::Int(place))?;
                    work.push((pattern, inner));
                }
                if let Some(new) = work.get_mut(start..) {
                    new.reverse();
                }
            }
            Pattern::Object(fields) => return unpack_fields(m, fields, value, work, bound, env, body),
        }
    }
    let inner = Env { parent: Some(env), node: Node::Variables(bound) };
    body(m, &inner)
}

/// Keys may have several values: each makes a binding of its own.
fn unpack_fields(
    m: &mut Machine,
    fields: &[(Term, Option<u32>, Option<Pattern>)],
    value: Value,
    work: Vec<(&Pattern, Value)>,
    bound: Vec<Value>,
    env: &Env,
    body: Body,
) -> Flow {
    let Some(((key, whole, inner), rest)) = fields.split_first() else { return unpack(m, work, bound, env, body) };
    m.enter()?;
    each(m, key, env, &value, &mut |m, key| {
        m.mem_array(wide(work.len()) + wide(bound.len()))?;
        let field = path::index(m, &value, &key)?;
        let mut bound = bound.clone();
        let mut work = work.clone();
        if let Some(slot) = whole {
            put(&mut bound, *slot, field.clone());
        }
        if let Some(pattern) = inner {
            work.push((pattern, field));
        }
        unpack_fields(m, rest, value.clone(), work, bound, env, body)
    })?;
    m.leave();
    Ok(())
}

fn put(bound: &mut [Value], slot: u32, value: Value) {
    if let Some(place) = bound.get_mut(slot as usize) {
        *place = value;
    }
}
