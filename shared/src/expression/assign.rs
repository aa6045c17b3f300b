//! `=`, `|=`, `+=` and their kin: find the paths, then change them one after the other.

use super::environment::Env;
use super::eval::{each, go};
use super::fuel::{Flow, Machine, Stop};
use super::item::{Item, Out, Track};
use super::math::binary;
use super::path;
use super::syntax::{Assignment, Operator, Term};
use crate::value::Value;

pub(super) fn assign(m: &mut Machine, assignment: Assignment, pair: &(Term, Term), env: &Env, item: &Item, out: Out) -> Flow {
    let (left, right) = pair;
    let input = &item.value;
    match assignment {
        Assignment::Modify => {
            let made = modify(m, left, env, input, &mut |m, old| first(m, right, env, old))?;
            out(m, item.computed(made))
        }
        Assignment::Set => each(m, right, env, input, &mut |m, value| {
            let made = modify(m, left, env, input, &mut |_, _| Ok(Some(value.clone())))?;
            out(m, item.computed(made))
        }),
        Assignment::Apply(operator) => each(m, right, env, input, &mut |m, value| {
            let made = modify(m, left, env, input, &mut |m, old| apply(m, operator, &old, &value))?;
            out(m, item.computed(made))
        }),
        Assignment::Default => each(m, right, env, input, &mut |m, value| {
            let made = modify(m, left, env, input, &mut |_, old| Ok(Some(if old.is_truthy() { old } else { value.clone() })))?;
            out(m, item.computed(made))
        }),
    }
}

fn apply(m: &mut Machine, operator: Operator, old: &Value, value: &Value) -> Result<Option<Value>, Stop> {
    binary(m, operator, old, value).map(Some)
}

/// The first output, if there is one.
fn first(m: &mut Machine, term: &Term, env: &Env, input: Value) -> Result<Option<Value>, Stop> {
    let mut found = None;
    let label = m.fresh_label();
    let depth = m.depth();
    match each(m, term, env, &input, &mut |_, value| {
        found = Some(value);
        Err(Stop::Break(label))
    }) {
        Err(Stop::Break(at)) if at == label => m.unwind(depth),
        Err(stop) => return Err(stop),
        Ok(()) => {}
    }
    Ok(found)
}

type Change<'c> = &'c mut dyn FnMut(&mut Machine, Value) -> Result<Option<Value>, Stop>;

/// Changes what is at each path; where `change` gives nothing, the path is deleted at the end.
fn modify(m: &mut Machine, paths: &Term, env: &Env, input: &Value, change: Change) -> Result<Value, Stop> {
    let mut found = Vec::new();
    let start = Item { value: input.clone(), track: Track::At(None) };
    go(m, paths, env, start, &mut |m, item| {
        let keys = item.path(m)?;
        m.mem_element()?;
        found.push(keys);
        Ok(())
    })?;
    let mut root = input.clone();
    let mut gone = Vec::new();
    let mut last: Option<Vec<Value>> = None;
    for keys in found {
        let paid = match &last {
            Some(before) => path::common(m, before, &keys)?,
            None => 0,
        };
        let mut nothing = false;
        path::update(m, &mut root, &keys, paid, &mut |m, old| match change(m, old.clone())? {
            Some(new) => Ok(new),
            None => {
                nothing = true;
                Ok(old)
            }
        })?;
        if nothing {
            m.mem_array(keys.len())?;
            gone.push(Value::array(keys.clone()));
        }
        last = Some(keys);
    }
    if gone.is_empty() { Ok(root) } else { path::delete_paths(m, root, gone) }
}
