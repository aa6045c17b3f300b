//! `spalla flow functions` and `spalla flow schema`: what flows may call, and what their files may say.

use super::super::output::{self, outln};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use spalla_shared::flow::{catalog, profile};
use std::process::ExitCode;

/// The JSON Schema for editors.
pub fn schema() -> Result<ExitCode> {
    output::json(&profile::schema().context("the built-in schema cannot be read")?);
    Ok(ExitCode::SUCCESS)
}

/// The default catalog, or one function with what it takes and gives.
pub fn functions(name: Option<&str>, json: bool) -> Result<ExitCode> {
    let Some(name) = name else {
        if json {
            output::json(&catalog::functions().iter().map(as_json).collect());
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Vec<String>> = catalog::functions()
            .iter()
            .map(|function| {
                let takes = Value::from(&function.with_schema);
                let names: Vec<String> = arguments(&takes).into_iter().map(|row| row.0).filter(|name| !name.starts_with(' ')).collect();
                vec![function.name.clone(), function.version.clone(), names.join(", "), function.title.clone()]
            })
            .collect();
        output::table(&["FUNCTION", "VERSION", "WITH (* must be there)", "WHAT IT DOES"], &rows, "no functions");
        return Ok(ExitCode::SUCCESS);
    };
    let function = catalog::resolve(name).map_err(|unknown| {
        let hint = unknown.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        super::super::failure::usage(format!("{unknown}{hint}"))
    })?;
    if json {
        output::json(&as_json(function));
        return Ok(ExitCode::SUCCESS);
    }
    outln!("{}\n{}", function.full_name(), function.title);
    if function.blocking {
        outln!("It may wait for a person, a device or a free place: give it a `timeout`, and keep it out of `for`.");
    }
    for (head, schema) in [("with", &function.with_schema), ("gives", &function.output_schema)] {
        let schema = Value::from(schema);
        outln!("");
        let rows: Vec<Vec<String>> = arguments(&schema).into_iter().map(|(name, kind, note)| vec![name, kind, note]).collect();
        output::table(&[&head.to_uppercase(), "TYPE", ""], &rows, &format!("{head}: nothing in particular"));
        for alternative in alternatives(&schema) {
            outln!("{alternative}");
        }
    }
    outln!("\n* must be there. An expression in ${{ }} may stand for every value.");
    Ok(ExitCode::SUCCESS)
}

fn as_json(function: &catalog::Function) -> Value {
    json!({
        "name": function.name, "version": function.version, "title": function.title, "blocking": function.blocking,
        "with": function.with_schema, "output": function.output_schema,
    })
}

/// (name, type, note) of each property, those below others behind a dot.
fn arguments(schema: &Value) -> Vec<(String, String, String)> {
    let mut rows = Vec::new();
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema["properties"].as_object() else { return rows };
    // What must be there comes first.
    let mut all: Vec<(&String, &Value)> = properties.iter().collect();
    all.sort_by_key(|(name, _)| required.iter().position(|one| one == name).unwrap_or(usize::MAX));
    for (name, property) in all {
        let star = if required.contains(&name.as_str()) { "*" } else { "" };
        rows.push((format!("{name}{star}"), kind(property), note(property)));
        rows.extend(arguments(property).into_iter().map(|(below, kind, note)| (format!("  .{below}"), kind, note)));
    }
    rows
}

fn kind(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(output::cell).collect::<Vec<_>>().join(" | ");
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" | ");
    }
    let name = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(output::cell).collect::<Vec<_>>().join(" | "),
        Value::String(kind) if kind == "array" && schema["items"].is_object() => format!("list of {}", self::kind(&schema["items"])),
        Value::String(kind) => kind.clone(),
        _ => "anything".into(),
    };
    match schema["format"].as_str() {
        Some(format) => format!("{name} ({format})"),
        None => name,
    }
}

fn note(schema: &Value) -> String {
    let mut notes: Vec<String> = schema["title"].as_str().map(str::to_owned).into_iter().collect();
    let range = |low: &str, high: &str, unit: &str| match (schema[low].as_i64(), schema[high].as_i64()) {
        (Some(low), Some(high)) if low > 1 || unit.is_empty() => Some(format!("{low} to {high}{unit}")),
        (_, Some(high)) => Some(format!("at most {high}{unit}")),
        (Some(low), None) if low > 1 || unit.is_empty() => Some(format!("at least {low}{unit}")),
        _ => None,
    };
    notes.extend(range("minimum", "maximum", ""));
    notes.extend(range("minLength", "maxLength", " characters"));
    notes.extend(range("minItems", "maxItems", " items"));
    notes.extend(schema["pattern"].as_str().map(|pattern| format!("matches {pattern}")));
    notes.join("; ")
}

/// "exactly one of: area, doors".
fn alternatives(schema: &Value) -> Vec<String> {
    [("oneOf", "exactly one of"), ("anyOf", "at least one of")]
        .into_iter()
        .filter_map(|(key, words)| {
            let names = schema[key].as_array()?.iter().flat_map(|one| one["required"].as_array().into_iter().flatten());
            let names: Vec<String> = names.map(output::cell).collect();
            (!names.is_empty()).then(|| format!("{words}: {}", names.join(", ")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_told_in_rows() {
        let function = catalog::function("device.command").expect("in the catalog");
        let rows = arguments(&Value::from(&function.with_schema));
        let names: Vec<&str> = rows.iter().map(|row| &*row.0).collect();
        assert_eq!(names, ["target*", "command*", "ack", "  .mode", "  .within", "args", "dedupe", "expires"]);
        let row = |name: &str| rows.iter().find(|row| row.0 == name).expect("a row");
        assert_eq!(row("  .mode").1, "one | all");
        assert_eq!(row("expires").1, "string (duration) | string (date-time)");
        assert!(row("target*").2.starts_with("`site/name` of a device"));
        let grant = catalog::function("access.grant").expect("in the catalog");
        assert_eq!(alternatives(&Value::from(&grant.with_schema)), ["exactly one of: area, doors"]);
    }
}
