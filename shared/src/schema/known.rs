//! Which schemas we know whole.

use super::{DEPTH_MAX, Found, regex};
use crate::flow::{join, suggest};
use crate::value::Value;

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
const FORMATS: [&str; 4] = ["date-time", "duration", "email", "uri"];
const NOTES: [&str; 6] = ["title", "description", "default", "examples", "$comment", "$schema"];
const KEYWORDS: [&str; 23] = [
    "type",
    "enum",
    "const",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "title",
];

pub(super) fn check_node(schema: &Value, at: &str, depth: usize, found: &mut Found) {
    if depth > DEPTH_MAX {
        return found.say(at, format!("a schema may be {DEPTH_MAX} levels deep"));
    }
    let fields = match schema {
        Value::Bool(_) => return,
        Value::Object(fields) => fields,
        other => return found.say(at, format!("a schema is an object, `true` or `false`, not {}", other.type_name())),
    };
    for (key, value) in fields.iter() {
        let here = join(at, key);
        match &**key {
            "type" => check_type(value, &here, found),
            "enum" => match value {
                Value::Array(items) if !items.is_empty() => {}
                _ => found.say(&here, "`enum` is a list of at least one value"),
            },
            "const" => {}
            "required" => match value.as_array() {
                Some(names) if names.iter().all(|name| name.as_str().is_some()) => {}
                _ => found.say(&here, "`required` is a list of names"),
            },
            "properties" => match value.as_object() {
                Some(properties) => properties.iter().for_each(|(name, part)| check_node(part, &join(&here, name), depth + 1, found)),
                None => found.say(&here, "`properties` maps names to schemas"),
            },
            "additionalProperties" | "items" | "not" => check_node(value, &here, depth + 1, found),
            "minItems" | "maxItems" | "minLength" | "maxLength" => match value.as_i64() {
                Some(0..) => {}
                _ => found.say(&here, format!("`{key}` is a whole number, 0 or more")),
            },
            "uniqueItems" => {
                if value.as_bool().is_none() {
                    found.say(&here, "`uniqueItems` is true or false");
                }
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                if value.as_f64().is_none() {
                    found.say(&here, format!("`{key}` is a number"));
                }
            }
            "pattern" => match value.as_str().map(regex) {
                Some(Ok(_)) => {}
                Some(Err(reason)) => found.say(&here, reason),
                None => found.say(&here, "`pattern` is a regular expression"),
            },
            "format" => match value.as_str() {
                Some(format) if FORMATS.contains(&format) => {}
                _ => found.say(&here, format!("`format` is one of {}", FORMATS.join(", "))),
            },
            "allOf" | "anyOf" | "oneOf" => match value.as_array() {
                Some(parts) if !parts.is_empty() => {
                    parts.iter().enumerate().for_each(|(index, part)| check_node(part, &join(&here, index), depth + 1, found));
                }
                _ => found.say(&here, format!("`{key}` is a list of schemas")),
            },
            note if NOTES.contains(&note) => {}
            "$ref" => found.say(&here, "`$ref` is not followed; write the schema out"),
            unknown => match suggest::nearest(unknown, KEYWORDS) {
                Some(near) => found.say(&here, format!("unknown schema keyword `{unknown}`; did you mean `{near}`?")),
                None => found.say(&here, format!("unknown schema keyword `{unknown}`")),
            },
        }
    }
}

fn check_type(value: &Value, at: &str, found: &mut Found) {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let fine = match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(known),
        single => known(single),
    };
    if !fine {
        let near = value.as_str().and_then(|name| suggest::nearest(name, TYPES));
        let hint = near.map_or_else(|| format!("one of {}", TYPES.join(", ")), |near| format!("did you mean `{near}`?"));
        found.say(at, format!("`type` is not {value}: {hint}"));
    }
}
