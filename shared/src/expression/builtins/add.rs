//! `add` in one go, and the sum that it builds.

use super::super::fuel::{Flow, Machine, Stop};
use super::super::math;
use super::text::describe;
use crate::value::{Object, Value};
use std::sync::Arc;

/// Linear where items are all strings, all arrays or all objects, unlike a chain of `+`.
pub(super) fn add(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let items: Box<dyn Iterator<Item = &Value>> = match input {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        other => return Stop::raise(format!("Cannot iterate over {}", describe(other))),
    };
    let mut value = Value::Null;
    let mut sum = Sum::None;
    for item in items {
        m.step(1)?;
        sum.append(m, &mut value, item)?;
    }
    sum.close(m, &mut value)
}

/// A sum that is still being put together: the first of its parts is copied, the others are added in place.
pub(in super::super) enum Sum {
    /// The sum is a value as it is.
    None,
    Text(String),
    Items(Vec<Value>),
    Fields(Object),
}

impl Sum {
    /// Adds `more` to the sum, which is in `value` while this is closed.
    pub(in super::super) fn append(&mut self, m: &mut Machine, value: &mut Value, more: &Value) -> Flow {
        if more.is_null() {
            return Ok(());
        }
        if matches!(self, Self::None) {
            self.open(m, value, more)?;
        }
        match (&mut *self, more) {
            (Self::Text(text), Value::String(more)) => {
                m.mem_text(more.len())?;
                text.push_str(more);
            }
            (Self::Items(items), Value::Array(more)) => {
                m.mem_array(more.len())?;
                items.extend(more.iter().cloned());
            }
            (Self::Fields(fields), Value::Object(more)) => {
                m.mem_object(more.len())?;
                fields.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (_, more) => {
                let before = self.close(m, value)?;
                *value = math::add(m, &before, more)?;
            }
        }
        Ok(())
    }

    /// Opens the sum if `more` can be added to it in place; null is the empty sum.
    fn open(&mut self, m: &mut Machine, value: &mut Value, more: &Value) -> Flow {
        *self = match (&*value, more) {
            (Value::String(text), Value::String(_)) => {
                m.mem_text(text.len())?;
                Self::Text(text.to_string())
            }
            (Value::Array(items), Value::Array(_)) => {
                m.mem_array(items.len())?;
                Self::Items(items.to_vec())
            }
            (Value::Object(fields), Value::Object(_)) => {
                m.mem_object(fields.len())?;
                Self::Fields(Object::clone(fields))
            }
            (Value::Null, Value::String(_)) => Self::Text(String::new()),
            (Value::Null, Value::Array(_)) => Self::Items(Vec::new()),
            (Value::Null, Value::Object(_)) => Self::Fields(Object::new()),
            _ => return Ok(()),
        };
        *value = Value::Null;
        Ok(())
    }

    /// The sum as a value; leaves nothing behind.
    pub(in super::super) fn close(&mut self, m: &mut Machine, value: &mut Value) -> Result<Value, Stop> {
        match std::mem::replace(self, Self::None) {
            Self::None => Ok(std::mem::take(value)),
            Self::Text(text) => {
                m.mem_text(text.len())?;
                Ok(Value::from(text))
            }
            Self::Items(items) => Ok(Value::array(items)),
            Self::Fields(fields) => Ok(Value::Object(Arc::new(fields))),
        }
    }
}
