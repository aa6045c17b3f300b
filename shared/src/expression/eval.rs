//! The evaluator: pushes every output of a term into a callback.
//!
//! ```text
//! go(term, environment, input) --output--> out(output) --output--> … --> the caller
//! ```
//!
//! All recursion of a program passes through [`go`], which charges one step and one level of depth. What runs inside a
//! callback is nested in what called it, so depth counts the stack as it really is.
//! Terms that give exactly one output skip the callbacks ([`single`]).

use super::builtins::{self, text};
use super::environment::{Env, Node};
use super::fuel::{Flow, Machine, Stop};
use super::item::{Item, Out, Track};
use super::math::{self, binary};
use super::single::single;
use super::syntax::{Kind, Term};
use super::{construct, control, path, special};
use crate::value::{Object, Value};

pub(super) fn go(m: &mut Machine, term: &Term, env: &Env, item: Item, out: Out) -> Flow {
    if term.single && matches!(item.track, Track::Off) {
        let value = single(m, term, env, &item.value)?;
        return out(m, Item::plain(value));
    }
    m.enter()?;
    let flow = dispatch(m, term, env, item, out);
    m.leave();
    flow
}

/// All outputs for a value, without paths.
pub(super) fn each(m: &mut Machine, term: &Term, env: &Env, value: &Value, out: &mut dyn FnMut(&mut Machine, Value) -> Flow) -> Flow {
    if term.single {
        let value = single(m, term, env, value)?;
        return out(m, value);
    }
    go(m, term, env, Item::plain(value.clone()), &mut |m, item| out(m, item.value))
}

fn dispatch(m: &mut Machine, term: &Term, env: &Env, item: Item, out: Out) -> Flow {
    match &term.kind {
        Kind::Identity => out(m, item),
        Kind::Descend => special::recurse(m, None, env, item, out),
        Kind::Pipe(terms) => pipe(m, terms, env, item, out),
        Kind::Comma(terms) => terms.iter().try_for_each(|term| go(m, term, env, item.clone(), out)),
        Kind::Index(pair) => index(m, &pair.0, &pair.1, env, item, out),
        Kind::Iterate(base) => go(m, base, env, item, &mut |m, item| iterate(m, &item, out)),
        Kind::Slice(parts) => slice(m, parts, env, item, out),
        Kind::Array(inner) => {
            let value = construct::array(m, inner.as_deref(), env, &item.value)?;
            out(m, item.computed(value))
        }
        Kind::Object(fields) => construct::object(m, fields, env, &item, Object::new(), out),
        Kind::Text(format, parts) => construct::format_parts(m, (*format, parts), env, &item, "", out),
        Kind::Negate(inner) => each(m, inner, env, &item.value, &mut |m, value| {
            let value = math::negate(&value)?;
            out(m, item.computed(value))
        }),
        Kind::Binary(operator, pair) => each(m, &pair.1, env, &item.value, &mut |m, right| {
            each(m, &pair.0, env, &item.value, &mut |m, left| {
                let value = binary(m, *operator, &left, &right)?;
                out(m, item.computed(value))
            })
        }),
        Kind::And(pair) => logic(m, pair, false, env, &item, out),
        Kind::Or(pair) => logic(m, pair, true, env, &item, out),
        Kind::Alternative(pair) => control::alternative(m, pair, env, item, out),
        Kind::Assign(assignment, pair) => super::assign::assign(m, *assignment, pair, env, &item, out),
        Kind::Try(body, handler) => control::attempt(m, body, handler.as_deref(), env, item, out),
        Kind::If(branches, otherwise) => condition(m, branches, otherwise.as_deref(), env, item, out),
        Kind::Reduce(fold) => control::reduce(m, fold, env, item, out),
        Kind::Foreach(fold) => control::foreach(m, fold, env, item, out),
        Kind::Bind(binding) => control::bind(m, binding, env, item, out),
        Kind::Label(body) => control::label(m, body, env, item, out),
        Kind::Break { up } => match env.up(*up).node {
            Node::Label(label) => Err(Stop::Break(label)),
            _ => Stop::raise("break"),
        },
        Kind::Define(pair) => {
            let env = Env { parent: Some(env), node: Node::Definition(&pair.0) };
            go(m, &pair.1, &env, item, out)
        }
        Kind::Call { up, args } => {
            let home = env.up(*up);
            let Node::Definition(definition) = home.node else { return Stop::raise("not a function") };
            let inner = Env { parent: Some(home), node: Node::Arguments(args, env) };
            go(m, &definition.body, &inner, item, out)
        }
        Kind::Parameter { up, index } => {
            let Node::Arguments(args, caller) = env.up(*up).node else { return Stop::raise("not a parameter") };
            args.get(*index as usize).map_or(Ok(()), |arg| go(m, arg, caller, item, out))
        }
        Kind::Prelude(index, args) => {
            let Some(definition) = builtins::prelude().get(*index) else { return Stop::raise("not a function") };
            let root = Env::ROOT;
            let inner = Env { parent: Some(&root), node: Node::Arguments(args, env) };
            go(m, &definition.body, &inner, item, out)
        }
        Kind::Native(native, args) => {
            let mut values = vec![Value::Null; args.len()];
            native_call(m, (*native, args), args.len(), env, &item, &mut values, out)
        }
        Kind::Special(special, args) => special::call(m, *special, args, env, item, out),
        Kind::Literal(_) | Kind::Format(_) | Kind::Variable { .. } | Kind::Free(_) => {
            let value = single(m, term, env, &item.value)?;
            out(m, item.computed(value))
        }
    }
}

fn pipe(m: &mut Machine, terms: &[Term], env: &Env, item: Item, out: Out) -> Flow {
    match terms {
        [] => out(m, item),
        [last] => go(m, last, env, item, out),
        [first, rest @ ..] => go(m, first, env, item, &mut |m, item| pipe(m, rest, env, item, out)),
    }
}

fn index(m: &mut Machine, base: &Term, key: &Term, env: &Env, item: Item, out: Out) -> Flow {
    if let Kind::Identity = base.kind {
        return each(m, key, env, &item.value, &mut |m, key| {
            let value = path::index(m, &item.value, &key)?;
            let part = item.part(m, &key, value)?;
            out(m, part)
        });
    }
    each(m, key, env, &item.value, &mut |m, key| {
        go(m, base, env, item.clone(), &mut |m, item| {
            let value = path::index(m, &item.value, &key)?;
            let part = item.part(m, &key, value)?;
            out(m, part)
        })
    })
}

pub(super) fn iterate(m: &mut Machine, item: &Item, out: Out) -> Flow {
    match &item.value {
        Value::Array(items) => (0i64..).zip(items.iter()).try_for_each(|(place, value)| {
            m.step(1)?;
            let part = item.part(m, &Value::Int(place), value.clone())?;
            out(m, part)
        }),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            m.step(1)?;
            let part = item.part(m, &Value::String(key.clone()), value.clone())?;
            out(m, part)
        }),
        other => Stop::raise(format!("Cannot iterate over {}", text::describe(other))),
    }
}

fn slice(m: &mut Machine, parts: &(Term, Option<Term>, Option<Term>), env: &Env, item: Item, out: Out) -> Flow {
    let (base, from, to) = parts;
    let mut run = |m: &mut Machine, from: Value, to: Value| {
        go(m, base, env, item.clone(), &mut |m, item| {
            let value = path::slice(m, &item.value, &from, &to)?;
            let part = match item.track {
                Track::Off => Item::plain(value),
                _ => {
                    m.mem_object(2u64)?;
                    let key = Value::object([("start", from.clone()), ("end", to.clone())]);
                    item.part(m, &key, value)?
                }
            };
            out(m, part)
        })
    };
    optional(m, from.as_ref(), env, &item.value, &mut |m, from| {
        optional(m, to.as_ref(), env, &item.value, &mut |m, to| run(m, from.clone(), to))
    })
}

fn optional(m: &mut Machine, term: Option<&Term>, env: &Env, input: &Value, out: &mut dyn FnMut(&mut Machine, Value) -> Flow) -> Flow {
    match term {
        Some(term) => each(m, term, env, input, out),
        None => out(m, Value::Null),
    }
}

fn logic(m: &mut Machine, pair: &(Term, Term), decides: bool, env: &Env, item: &Item, out: Out) -> Flow {
    each(m, &pair.0, env, &item.value, &mut |m, left| {
        if left.is_truthy() == decides {
            return out(m, item.computed(Value::Bool(decides)));
        }
        each(m, &pair.1, env, &item.value, &mut |m, right| out(m, item.computed(Value::Bool(right.is_truthy()))))
    })
}

fn condition(m: &mut Machine, branches: &[(Term, Term)], otherwise: Option<&Term>, env: &Env, item: Item, out: Out) -> Flow {
    let Some(((test, then), rest)) = branches.split_first() else {
        return match otherwise {
            Some(term) => go(m, term, env, item, out),
            None => out(m, item),
        };
    };
    each(m, test, env, &item.value, &mut |m, holds| {
        if holds.is_truthy() { go(m, then, env, item.clone(), out) } else { condition(m, rest, otherwise, env, item.clone(), out) }
    })
}

/// Every combination of arguments, the first varying fastest. The first `open` arguments are still to be evaluated.
fn native_call(
    m: &mut Machine,
    call: (builtins::Native, &[Term]),
    open: usize,
    env: &Env,
    item: &Item,
    values: &mut [Value],
    out: Out,
) -> Flow {
    let (native, args) = call;
    let Some(place) = open.checked_sub(1) else {
        let value = (native.run)(m, &item.value, values)?;
        return out(m, item.computed(value));
    };
    let Some(arg) = args.get(place) else { return Ok(()) };
    each(m, arg, env, &item.value, &mut |m, value| {
        if let Some(slot) = values.get_mut(place) {
            *slot = value;
        }
        native_call(m, call, place, env, item, values, out)
    })
}
