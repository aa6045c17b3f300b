//! A JSON Schema (draft 7) of flow files, for editors: `profile.json` with the catalog's functions put in.
//!
//! It says what can be said without running anything: names that must be defined, jq and what a task gives are for `flow check`.
//! Each task kind is told by its key alone, so that a validator looks at nested tasks once.

use super::catalog::{self, Function};
use serde_json::{Map, Value, json};

/// The whole schema. `None` never comes about: the text is our own, and read by a test.
pub fn schema() -> Option<Value> {
    let mut schema: Value = serde_json::from_str(include_str!("profile.json")).ok()?;
    let definitions = schema.get_mut("definitions")?.as_object_mut()?;
    for function in catalog::functions() {
        definitions.insert(definition_name(function), arguments(function)?);
    }
    let names = catalog::functions().iter().flat_map(|function| [function.name.clone(), function.full_name()]);
    let names: Vec<Value> = std::iter::once("http".to_owned()).chain(names).map(Value::from).collect();
    *definitions.get_mut("callName")?.pointer_mut("/anyOf/0/enum")? = Value::from(names);
    *definitions.get_mut("task")?.get_mut("allOf")? = calls();
    Some(schema)
}

fn definition_name(function: &Function) -> String {
    format!("with.{}", function.name)
}

/// Per function: `call` names it -> its arguments.
fn calls() -> Value {
    let one = |pattern: String, definition: &str, wanted: bool| {
        let mut then = json!({ "properties": { "with": { "$ref": format!("#/definitions/{definition}") } } });
        if wanted {
            then["required"] = json!(["with"]);
        }
        json!({ "if": { "required": ["call"], "properties": { "call": { "type": "string", "pattern": pattern } } }, "then": then })
    };
    let mut all = vec![one("^http$".into(), "http", true)];
    for function in catalog::functions() {
        let name = function.name.replace('.', "[.]");
        let version = function.version.replace('.', "[.]");
        let pattern = format!("^{name}(:{version})?(@default)?$");
        let wanted = ["required", "oneOf", "anyOf"].iter().any(|key| function.with_schema.get(key).is_some());
        all.push(one(pattern, &definition_name(function), wanted));
    }
    Value::from(all)
}

/// What a function takes: an expression may stand for each value, or for all of them.
fn arguments(function: &Function) -> Option<Value> {
    let plain = Value::from(&function.with_schema);
    let mut fields = plain.as_object()?.clone();
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties.iter_mut() {
            *property = described(name, or_expression(property));
        }
    }
    let description = format!("Arguments of {}: {}.", function.name, function.title);
    Some(json!({ "description": description, "anyOf": [fields, { "$ref": "#/definitions/expression" }] }))
}

/// The same schema, or an expression, at every level.
fn or_expression(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let mut inner = Map::new();
    for (key, value) in fields {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.iter().map(|(name, one)| (name.clone(), or_expression(one))).collect(),
            ("items", one) => or_expression(one),
            (_, other) => other.clone(),
        };
        inner.insert(key.clone(), value);
    }
    // What takes anything takes an expression too; a duration may be checked by no editor.
    if inner.is_empty() {
        return schema.clone();
    }
    inner.remove("format");
    json!({ "anyOf": [inner, { "$ref": "#/definitions/expression" }] })
}

/// The title of a property becomes what an editor shows.
fn described(name: &str, mut schema: Value) -> Value {
    let title = schema.pointer("/anyOf/0/title").and_then(Value::as_str).unwrap_or(name).to_owned();
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("description".into(), Value::from(title));
    }
    schema
}

#[cfg(test)]
mod tests;
