//! What puts values together: `[…]`, `{…}` and strings with `\( )`, every combination of their parts in order.

use super::builtins::{format::Format, text};
use super::environment::Env;
use super::eval::each;
use super::fuel::{Flow, Machine, Stop, wide};
use super::item::{Item, Out};
use super::path;
use super::syntax::{Part, Term};
use crate::value::{Object, Value};
use std::sync::Arc;

/// `[inner]`
pub(super) fn array(m: &mut Machine, inner: Option<&Term>, env: &Env, input: &Value) -> Result<Value, Stop> {
    m.mem_array(0u64)?;
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
pub(super) fn object(m: &mut Machine, fields: &[(Term, Option<Term>)], env: &Env, item: &Item, made: Object, out: Out) -> Flow {
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

/// Every combination of the parts' outputs, the first varying fastest. `tail` is what the parts behind `parts` have become.
pub(super) fn format_parts(m: &mut Machine, (format, parts): (Format, &[Part]), env: &Env, item: &Item, tail: &str, out: Out) -> Flow {
    let Some((part, rest)) = parts.split_last() else {
        m.mem_text(tail.len())?;
        return out(m, item.computed(Value::string(tail)));
    };
    m.enter()?;
    let mut join = |m: &mut Machine, mut text: String| {
        m.mem_text(wide(text.len()).saturating_add(wide(tail.len())))?;
        text.push_str(tail);
        format_parts(m, (format, rest), env, item, &text, out)
    };
    match part {
        Part::Plain(plain) => {
            m.mem_text(plain.len())?;
            join(m, plain.to_string())?;
        }
        Part::Term(term) => each(m, term, env, &item.value, &mut |m, value| {
            let mut text = String::new();
            format.append(m, &value, &mut text)?;
            join(m, text)
        })?,
    }
    m.leave();
    Ok(())
}

pub(super) fn key_text(key: Value) -> Result<Arc<str>, Stop> {
    match key {
        Value::String(key) => Ok(key),
        other => Stop::raise(format!("Object keys must be strings, not {} ({})", other.type_name(), text::dump(&other))),
    }
}
