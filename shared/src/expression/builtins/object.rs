//! Objects from entries, and writing at paths.

use super::super::fuel::{Machine, Stop};
use super::super::path;
use super::Run;
use super::text::{append, describe};
use crate::value::{Object, Value};
use std::sync::Arc;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("from_entries", 0, |m, input, _| from_entries(m, input)),
    ("setpath", 2, |m, input, args| match args {
        [Value::Array(keys), value] => path::set_path(m, input.clone(), keys, value),
        _ => Stop::raise("Path must be specified as an array"),
    }),
    ("delpaths", 1, |m, input, args| match args {
        [Value::Array(paths)] => {
            m.mem_array(paths.len())?;
            path::delete_paths(m, input.clone(), paths.to_vec())
        }
        _ => Stop::raise("Paths must be specified as an array"),
    }),
];

fn from_entries(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let entries: Vec<&Value> = match input {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        other => return Stop::raise(format!("Cannot iterate over {}", describe(other))),
    };
    m.mem_object(entries.len())?;
    let mut made = Object::new();
    for entry in entries {
        let field = |m: &mut Machine, names: &[&str]| -> Result<Value, Stop> {
            let mut found = Value::Null;
            for name in names {
                found = path::index(m, entry, &Value::from(*name))?;
                // `false` is a key and a value; null is not there.
                if !found.is_null() {
                    break;
                }
            }
            Ok(found)
        };
        let key = match field(m, &["key", "k", "name", "Name", "Key", "K"])? {
            Value::String(key) => key,
            key @ (Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
                let mut text = String::new();
                append(m, &key, &mut text)?;
                Arc::from(text)
            }
            other => return Stop::raise(format!("Cannot use {} as object key", describe(&other))),
        };
        let value = field(m, &["value", "v", "Value", "V"])?;
        m.mem_field(&key)?;
        made.insert(key, value);
    }
    Ok(Value::Object(Arc::new(made)))
}
