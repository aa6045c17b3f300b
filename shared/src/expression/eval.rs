//! The evaluator: pushes every output of a term into a callback.
//!
//! ```text
//! go(term, environment, input) --output--> out(output) --output--> … --> the caller
//! ```
//!
//! All recursion of a program passes through [`go`], which charges one step and one level of depth. What runs inside a
//! callback is nested in what called it, so depth counts the stack as it really is. Environments live on the stack.
//! Terms that give exactly one output skip the callbacks ([`single`]).
//!
//! An item carries its path while `path(…)` and updates look for paths.

use super::builtins::{self, text};
use super::fuel::{Flow, Machine, Stop};
use super::math::{self, binary};
use super::syntax::{Definition, Kind, Part, Term};
use super::{control, path, special};
use crate::value::{DEPTH_MAX, Object, Value};
use std::sync::Arc;

/// What is bound at a place in the program, innermost first. Mirrors the parser's scopes.
pub(super) struct Env<'e> {
    pub parent: Option<&'e Env<'e>>,
    pub node: Node<'e>,
}

pub(super) enum Node<'e> {
    Root,
    Variables(Vec<Value>),
    /// The function's own environment is this node, so that it sees itself.
    Definition(&'e Definition),
    /// Arguments are evaluated where the call stands.
    Arguments(&'e [Term], &'e Env<'e>),
    Label(u64),
}

impl<'e> Env<'e> {
    pub(super) const ROOT: Env<'static> = Env { parent: None, node: Node::Root };

    fn up(&'e self, up: u32) -> &'e Env<'e> {
        let mut env = self;
        for _ in 0..up {
            match env.parent {
                Some(parent) => env = parent,
                None => break,
            }
        }
        env
    }
}

#[derive(Clone, Debug)]
pub(super) enum Track {
    /// Nobody asks for paths.
    Off,
    At(Option<Arc<Step>>),
    /// A computed value: it has no path.
    Lost,
}

/// A path as a list from its end to its start, at most [`DEPTH_MAX`] long.
#[derive(Debug)]
pub(super) struct Step {
    before: Option<Arc<Step>>,
    key: Value,
    length: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub value: Value,
    pub track: Track,
}

impl Item {
    pub(super) fn plain(value: Value) -> Self {
        Self { value, track: Track::Off }
    }

    /// A value computed from this item.
    pub(super) fn computed(&self, value: Value) -> Self {
        Self { value, track: if matches!(self.track, Track::Off) { Track::Off } else { Track::Lost } }
    }

    /// A part of this item, found under `key`.
    pub(super) fn part(&self, m: &mut Machine, key: &Value, value: Value) -> Result<Self, Stop> {
        let track = match &self.track {
            Track::Off => Track::Off,
            Track::At(before) => {
                let length = before.as_ref().map_or(0, |step| step.length) + 1;
                if length > DEPTH_MAX {
                    return Err(Stop::Budget("depth of a value"));
                }
                m.mem_element()?;
                Track::At(Some(Arc::new(Step { before: before.clone(), key: key.clone(), length })))
            }
            Track::Lost => return self.no_path(),
        };
        Ok(Self { value, track })
    }

    pub(super) fn no_path<T>(&self) -> Result<T, Stop> {
        Stop::raise(format!("Invalid path expression with result {}", text::dump(&self.value)))
    }

    pub(super) fn path(&self, m: &mut Machine) -> Result<Vec<Value>, Stop> {
        let Track::At(last) = &self.track else { return self.no_path() };
        let length = last.as_ref().map_or(0, |step| step.length);
        m.mem_array(length)?;
        let mut keys = Vec::with_capacity(length);
        let mut at = last.as_ref();
        while let Some(step) = at {
            keys.push(step.key.clone());
            at = step.before.as_ref();
        }
        keys.reverse();
        Ok(keys)
    }
}

pub(super) type Out<'o> = &'o mut dyn FnMut(&mut Machine, Item) -> Flow;

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
            let value = array(m, inner.as_deref(), env, &item.value)?;
            out(m, item.computed(value))
        }
        Kind::Object(fields) => object(m, fields, env, &item, Object::new(), out),
        Kind::Text(format, parts) => {
            let mut texts = String::new();
            format_parts(m, (*format, parts), env, &item, &mut texts, out)
        }
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
            let mut values = Vec::with_capacity(args.len());
            native_call(m, (*native, args), env, &item, &mut values, out)
        }
        Kind::Special(special, args) => special::call(m, *special, args, env, item, out),
        Kind::Literal(_) | Kind::Format(_) | Kind::Variable { .. } | Kind::Free(_) => {
            let value = single(m, term, env, &item.value)?;
            out(m, item.computed(value))
        }
    }
}

/// The one output of a term whose `single` is set. Recursion is bounded by the height of the tree.
fn single(m: &mut Machine, term: &Term, env: &Env, input: &Value) -> Result<Value, Stop> {
    m.step(1)?;
    match &term.kind {
        Kind::Identity => Ok(input.clone()),
        Kind::Literal(value) => Ok(value.clone()),
        Kind::Variable { up, slot } => match &env.up(*up).node {
            Node::Variables(values) => Ok(values.get(*slot as usize).cloned().unwrap_or_default()),
            _ => Ok(Value::Null),
        },
        Kind::Free(number) => free(m, *number),
        Kind::Index(pair) => {
            let key = single(m, &pair.1, env, input)?;
            let base = single(m, &pair.0, env, input)?;
            path::index(m, &base, &key)
        }
        Kind::Pipe(terms) => {
            let mut value = input.clone();
            for term in terms {
                value = single(m, term, env, &value)?;
            }
            Ok(value)
        }
        Kind::Binary(operator, pair) => {
            let right = single(m, &pair.1, env, input)?;
            let left = single(m, &pair.0, env, input)?;
            binary(m, *operator, &left, &right)
        }
        Kind::And(pair) => Ok(Value::Bool(single(m, &pair.0, env, input)?.is_truthy() && single(m, &pair.1, env, input)?.is_truthy())),
        Kind::Or(pair) => Ok(Value::Bool(single(m, &pair.0, env, input)?.is_truthy() || single(m, &pair.1, env, input)?.is_truthy())),
        Kind::Alternative(pair) => {
            let depth = m.depth();
            match single(m, &pair.0, env, input) {
                Ok(value) if value.is_truthy() => return Ok(value),
                Ok(_) | Err(Stop::Raised(_)) => m.unwind(depth),
                Err(stop) => return Err(stop),
            }
            single(m, &pair.1, env, input)
        }
        Kind::If(branches, otherwise) => single_condition(m, branches, otherwise.as_deref(), env, input),
        Kind::Negate(inner) => math::negate(&single(m, inner, env, input)?),
        Kind::Array(inner) => array(m, inner.as_deref(), env, input),
        Kind::Object(fields) => single_object(m, fields, env, input),
        Kind::Text(format, parts) => single_text(m, (*format, parts), env, input),
        Kind::Format(format) => format.apply(m, input),
        Kind::Native(native, args) => single_native(m, (*native, args), env, input),
        // `Kind::shape` calls nothing else single.
        _ => Stop::raise("no single output"),
    }
}

fn free(m: &mut Machine, number: u32) -> Result<Value, Stop> {
    let place = number as usize;
    match m.variables.get(place) {
        Some(Some(value)) => Ok(value.clone()),
        _ => Stop::raise(format!("${} is not defined", m.names.get(place).map_or("?", String::as_str))),
    }
}

fn single_condition(m: &mut Machine, branches: &[(Term, Term)], otherwise: Option<&Term>, env: &Env, input: &Value) -> Result<Value, Stop> {
    for (test, then) in branches {
        if single(m, test, env, input)?.is_truthy() {
            return single(m, then, env, input);
        }
    }
    otherwise.map_or_else(|| Ok(input.clone()), |term| single(m, term, env, input))
}

fn single_native(m: &mut Machine, call: (builtins::Native, &[Term]), env: &Env, input: &Value) -> Result<Value, Stop> {
    let mut values = Vec::with_capacity(call.1.len());
    for arg in call.1 {
        values.push(single(m, arg, env, input)?);
    }
    (call.0.run)(m, input, &values)
}

fn single_object(m: &mut Machine, fields: &[(Term, Option<Term>)], env: &Env, input: &Value) -> Result<Value, Stop> {
    m.mem_object(fields.len())?;
    let mut made = Object::new();
    for (key, value) in fields {
        let key = key_text(single(m, key, env, input)?)?;
        let value = match value {
            Some(term) => single(m, term, env, input)?,
            None => path::index(m, input, &Value::String(key.clone()))?,
        };
        m.mem_field(&key)?;
        m.nest_child(&value)?;
        made.insert(key, value);
    }
    Ok(Value::Object(Arc::new(made)))
}

fn key_text(key: Value) -> Result<Arc<str>, Stop> {
    match key {
        Value::String(key) => Ok(key),
        other => Stop::raise(format!("Object keys must be strings, not {} ({})", other.type_name(), text::dump(&other))),
    }
}

fn single_text(m: &mut Machine, text: (builtins::format::Format, &[Part]), env: &Env, input: &Value) -> Result<Value, Stop> {
    let mut made = String::new();
    for part in text.1 {
        match part {
            Part::Plain(plain) => {
                m.mem_text(plain.len())?;
                made.push_str(plain);
            }
            Part::Term(term) => {
                let value = single(m, term, env, input)?;
                text.0.append(m, &value, &mut made)?;
            }
        }
    }
    m.mem_text(made.len())?;
    Ok(Value::from(made))
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
                    m.mem_object(2)?;
                    let key = Value::object([("start", from.clone()), ("end", to.clone())]);
                    item.part(m, &key, value)?
                }
            };
            out(m, part)
        })
    };
    optional(m, to.as_ref(), env, &item.value, &mut |m, to| {
        optional(m, from.as_ref(), env, &item.value, &mut |m, from| run(m, from, to.clone()))
    })
}

fn optional(m: &mut Machine, term: Option<&Term>, env: &Env, input: &Value, out: &mut dyn FnMut(&mut Machine, Value) -> Flow) -> Flow {
    match term {
        Some(term) => each(m, term, env, input, out),
        None => out(m, Value::Null),
    }
}

/// `[inner]`
pub(super) fn array(m: &mut Machine, inner: Option<&Term>, env: &Env, input: &Value) -> Result<Value, Stop> {
    m.mem_array(0)?;
    let mut items = Vec::new();
    if let Some(inner) = inner {
        each(m, inner, env, input, &mut |m, value| {
            m.mem_element()?;
            m.nest_child(&value)?;
            items.push(value);
            Ok(())
        })?;
    }
    Ok(Value::array(items))
}

/// Every combination of keys and values, the first field varying slowest.
fn object(m: &mut Machine, fields: &[(Term, Option<Term>)], env: &Env, item: &Item, made: Object, out: Out) -> Flow {
    let Some(((key, value), rest)) = fields.split_first() else {
        m.mem_object(made.len())?;
        return out(m, item.computed(Value::Object(Arc::new(made))));
    };
    m.enter()?;
    each(m, key, env, &item.value, &mut |m, key| {
        let key = key_text(key)?;
        let mut add = |m: &mut Machine, value: Value| {
            m.mem_object(made.len())?;
            m.mem_field(&key)?;
            m.nest_child(&value)?;
            let mut made = made.clone();
            made.insert(key.clone(), value);
            object(m, rest, env, item, made, out)
        };
        match value {
            Some(term) => each(m, term, env, &item.value, &mut add),
            None => {
                let value = path::index(m, &item.value, &Value::String(key.clone()))?;
                add(m, value)
            }
        }
    })?;
    m.leave();
    Ok(())
}

fn format_parts(m: &mut Machine, text: (builtins::format::Format, &[Part]), env: &Env, item: &Item, made: &mut String, out: Out) -> Flow {
    let Some((part, rest)) = text.1.split_first() else {
        m.mem_text(made.len())?;
        return out(m, item.computed(Value::string(made)));
    };
    m.enter()?;
    let length = made.len();
    match part {
        Part::Plain(plain) => {
            m.mem_text(plain.len())?;
            made.push_str(plain);
            format_parts(m, (text.0, rest), env, item, made, out)?;
        }
        Part::Term(term) => each(m, term, env, &item.value, &mut |m, value| {
            made.truncate(length);
            text.0.append(m, &value, made)?;
            format_parts(m, (text.0, rest), env, item, made, out)
        })?,
    }
    made.truncate(length);
    m.leave();
    Ok(())
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

fn native_call(m: &mut Machine, call: (builtins::Native, &[Term]), env: &Env, item: &Item, values: &mut Vec<Value>, out: Out) -> Flow {
    let Some(arg) = call.1.get(values.len()) else {
        let value = (call.0.run)(m, &item.value, values)?;
        return out(m, item.computed(value));
    };
    let count = values.len();
    each(m, arg, env, &item.value, &mut |m, value| {
        values.truncate(count);
        values.push(value);
        native_call(m, call, env, item, values, out)
    })
}
