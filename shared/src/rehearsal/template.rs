//! Data in a stub or scenario: `${ … }` is jq over what there is; expected data fits what is found when all it names does.

use crate::expression::{Budget, Expression};
use crate::flow::{Diagnostic, expression_part, join};
use crate::value::Value;

/// Fills every `${ … }` with its value over `input`. The error names the expression.
pub(in crate::rehearsal) fn fill(value: &Value, input: &Value) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match expression_part(text) {
            Some((_, source)) => eval(source, input)?,
            None => value.clone(),
        },
        Value::Array(items) => Value::array(items.iter().map(|item| fill(item, input)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let filled: Vec<_> = fields.iter().map(|(key, field)| Ok((key, fill(field, input)?))).collect::<Result<_, String>>()?;
            Value::object(filled)
        }
        other => other.clone(),
    })
}

/// Whether `found` is what `expected` says: objects may hold more fields, lists are as long, `${ … }` over the found value
/// either decides (a boolean) or says what it must be.
pub(in crate::rehearsal) fn fits(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(text), _) if expression_part(text).is_some() => {
            let source = expression_part(text).map_or("", |(_, source)| source);
            match eval(source, found) {
                Ok(Value::Bool(decision)) => decision,
                Ok(value) => value == *found,
                Err(_) => false,
            }
        }
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().all(|(key, expected)| fits(expected, found.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found.iter()).all(|(expected, found)| fits(expected, found))
        }
        _ => expected == found,
    }
}

/// Reports every `${ … }` in `value` that is no expression.
pub(in crate::rehearsal) fn check(value: &Value, pointer: &str, found: &mut Vec<Diagnostic>) {
    match value {
        Value::String(text) => {
            if let Some((_, source)) = expression_part(text)
                && let Err(error) = Expression::parse(source)
            {
                found.push(Diagnostic::error("bad-expression", pointer, error.to_string()));
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| check(item, &join(pointer, at), found)),
        Value::Object(fields) => fields.iter().for_each(|(key, field)| check(field, &join(pointer, key), found)),
        _ => {}
    }
}

fn eval(source: &str, input: &Value) -> Result<Value, String> {
    let expression = Expression::parse(source).map_err(|error| format!("`{source}`: {error}"))?;
    expression.eval(input, &[], &mut Budget::per_evaluation()).map_err(|error| format!("`{source}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_data_names_what_matters() {
        let json = |text: &str| Value::from_json(text).unwrap();
        let fits = |expected: &str, found: &str| fits(&json(expected), &json(found));
        assert!(fits(r#"{"a": 1}"#, r#"{"a": 1, "b": 2}"#));
        assert!(!fits(r#"{"a": 1, "b": 2}"#, r#"{"a": 1}"#));
        assert!(!fits("[1]", "[1, 2]"));
        assert!(fits(r#"{"kg": "${ . > 3 }"}"#, r#"{"kg": 4}"#));
        assert!(!fits(r#"{"kg": "${ . > 3 }"}"#, r#"{"kg": 2}"#));
        assert!(!fits(r#""${ nonsense( }""#, "1"));
        assert_eq!(fill(&json(r#"["${ .x + 1 }", "$x"]"#), &json(r#"{"x": 1}"#)), Ok(json(r#"[2, "$x"]"#)));
    }
}
