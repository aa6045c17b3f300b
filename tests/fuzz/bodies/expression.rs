//! What must hold for any bytes taken as an expression. A broken rule is a panic.
//!
//! An input of `eval` is an expression, then a line `---`, then JSON; without such a line the input is `null`.

#![allow(dead_code)]

use spalla_shared::expression::{Budget, Expression};
use spalla_shared::value::{DEPTH_MAX, Value};

/// Keeps one input short; what happens at the end of a budget happens sooner.
const BUDGET: Budget = Budget { steps: 20_000, bytes: 1 << 20 };
/// Between the expression and its input.
const SEPARATOR: &str = "\n---\n";

/// Parsing returns; what it gives back depends on the text alone, and a place of an error is inside the text.
pub fn parse(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    match Expression::parse(source) {
        Ok(expression) => {
            let names = expression.variables();
            assert!(names.is_sorted() && names.iter().all(|name| source.contains(name.as_str())), "{names:?}");
            assert_eq!(Expression::parse(source).as_ref(), Ok(&expression));
        }
        Err(error) => {
            let lines = source.matches('\n').count() + 1;
            let columns = source.split('\n').nth(error.line as usize - 1).map_or(0, |line| line.chars().count()) + 1;
            assert!((error.line as usize) <= lines && (error.column as usize) <= columns, "{error}");
            assert_eq!(Expression::parse(source), Err(error));
        }
    }
}

/// Evaluating returns within its budget, gives the same on a second run and on an input that shares nothing, and its
/// outputs are values that the state may hold.
pub fn eval(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (source, input) = text.split_once(SEPARATOR).unwrap_or((text, "null"));
    let (Ok(expression), Ok(input)) = (Expression::parse(source), Value::from_json(input)) else { return };
    let variables = |input: &Value| [("x", Value::Int(7)), ("name", Value::from("Ada")), ("input", input.clone())];
    let run = |input: &Value| {
        let mut budget = BUDGET;
        let result = expression.eval_all(input, &variables(input), &mut budget);
        (result, budget)
    };
    let (result, left) = run(&input);
    assert!(left.steps <= BUDGET.steps && left.bytes <= BUDGET.bytes);
    let holders: Vec<Value> = result.iter().flatten().cloned().collect();
    assert_eq!(run(&input), (result.clone(), left), "a second run differs");
    let rebuilt = Value::from_json(&input.to_json()).expect("what was read can be read again");
    assert_eq!(run(&rebuilt), (result.clone(), left), "an input that shares nothing is charged differently");
    drop(holders);
    let mut first = BUDGET;
    let head = expression.eval(&input, &variables(&input), &mut first);
    match (&result, head) {
        (Ok(outputs), head) => assert_eq!(head.as_ref(), Ok(outputs.first().unwrap_or(&Value::Null))),
        (Err(error), Err(found)) => assert_eq!(&found, error),
        // An output came before the error.
        (Err(_), Ok(_)) => {}
    }
    for output in result.unwrap_or_default() {
        assert!(depth(&output) <= DEPTH_MAX, "an output nests too deeply");
        assert_eq!(Value::from_json(&output.to_json()).as_ref(), Ok(&output), "an output is not canonical");
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
