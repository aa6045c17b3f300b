//! Terms that give exactly one output, without callbacks.

use super::builtins::{self, format::Format};
use super::construct;
use super::environment::{Env, Node};
use super::fuel::{Machine, Stop};
use super::math::{self, binary};
use super::path;
use super::syntax::{Kind, Part, Term};
use crate::value::{Object, Value};
use std::sync::Arc;

/// The one output of a term whose `single` is set. Recursion is bounded by the height of the tree.
pub(super) fn single(m: &mut Machine, term: &Term, env: &Env, input: &Value) -> Result<Value, Stop> {
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
        Kind::Array(inner) => construct::array(m, inner.as_deref(), env, input),
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
        let key = construct::key_text(single(m, key, env, input)?)?;
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

fn single_text(m: &mut Machine, text: (Format, &[Part]), env: &Env, input: &Value) -> Result<Value, Stop> {
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
