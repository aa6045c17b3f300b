//! `add`, in one go.

use super::super::fuel::{Machine, Stop};
use super::super::math;
use super::text::describe;
use crate::value::{Object, Value};
use std::sync::Arc;

/// Linear where items are all strings, all arrays or all objects, unlike a chain of `+`.
pub(super) fn add(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
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
