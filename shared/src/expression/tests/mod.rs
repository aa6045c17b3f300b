//! The language as a whole.

mod accumulate;
mod examples;
mod hostile;
mod hostile_table;
mod manual;
mod oracle;
mod random;

use super::*;

fn value(json: &str) -> Value {
    Value::from_json(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Runs an expression and prints its outputs, space separated; an error comes last, as `!message`.
fn run(source: &str, input: &Value) -> String {
    let expression = match Expression::parse(source) {
        Ok(expression) => expression,
        Err(error) => return format!("syntax: {error}"),
    };
    let mut printed = Vec::new();
    let variables = [("x", Value::Int(7)), ("name", Value::from("Ada"))];
    let mut budget = Budget::per_evaluation();
    let result = expression.run(input, &variables, &mut budget, &mut |_, value| {
        printed.push(value.to_json());
        Ok(())
    });
    if let Err(error) = result {
        printed.push(format!("!{error}"));
    }
    printed.join(" ")
}
