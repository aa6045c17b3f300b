//! What expressions give and what they are charged, line by line: the same on every replica, CPU and build.
//!
//! `expressions/golden.txt` holds steps, bytes, source, input and outputs of each. A change in it changes what replicas agree on: it needs
//! a new version of the semantics once there are logs to replay. `SPALLA_GOLDEN=write cargo test -p spalla-shared --test expression_golden`
//! writes it anew, to be reviewed as a diff; `cargo test --release …` compares an optimised build with it.

mod expressions;

use spalla_shared::expression::{Budget, Expression};
use spalla_shared::value::Value;
use std::fmt::Write;
use std::path::Path;

struct Row {
    source: String,
    input: Value,
    variables: Vec<(String, Value)>,
    label: String,
}

fn chapters() -> impl Iterator<Item = String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expression/tests/manual");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("chapters").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| std::fs::read_to_string(path).expect("UTF-8"))
}

/// Examples of the manual, the flows' own expressions, and some that come to the end of their budget.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for chapter in chapters() {
        let mut source = String::new();
        for line in chapter.lines() {
            if let Some(text) = line.strip_prefix("= ").or(line.strip_prefix("~ ")) {
                source = text.to_owned();
            } else if let Some(more) = line.strip_prefix("  ") {
                let _ = write!(source, "\n{more}");
            } else if let Some(input) = line.strip_prefix("< ") {
                let value = Value::from_json(input).expect("JSON");
                rows.push(Row { source: source.clone(), input: value, variables: Vec::new(), label: input.to_owned() });
            }
        }
    }
    for (flow, source) in expressions::of_flows() {
        let names = Expression::parse(&source).expect("a flow's expression").variables();
        let variables = expressions::variables(&names).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        rows.push(Row { input: expressions::input(&source), source, variables, label: flow });
    }
    for source in ["[range(1e9)]", "def f: 1 + f; f", "reduce range(1e9) as $i ([]; . + [$i])", "\"x\" * 1e9", "last(recurse(.))"] {
        rows.push(Row { source: source.to_owned(), input: Value::Null, variables: Vec::new(), label: "null".to_owned() });
    }
    rows
}

/// Outputs or error, and what was spent.
fn run(source: &str, input: &Value, variables: &[(String, Value)]) -> (String, u64, u64) {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let variables: Vec<(&str, Value)> = variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let full = Budget::per_evaluation();
    let mut left = full;
    let result = expression.eval_all(input, &variables, &mut left);
    let shown = match result {
        Ok(outputs) => outputs.iter().map(Value::to_json).collect::<Vec<_>>().join(" "),
        Err(error) => format!("!{error}"),
    };
    (shown, full.steps - left.steps, full.bytes - left.bytes)
}

fn rebuilt(value: &Value) -> Value {
    Value::from_json(&value.to_json()).expect("what was written can be read")
}

/// Evaluation may need more stack than a test's thread has.
fn on_deep_stack(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(16 * 1024 * 1024).spawn(body).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn results_and_charges_stand_as_written() {
    on_deep_stack(|| {
        let mut text = String::from("# steps\tbytes\tsource\tinput, or the flow that holds it\toutputs\n");
        for row in rows() {
            let (shown, steps, bytes) = run(&row.source, &row.input, &row.variables);
            let _ = writeln!(text, "{steps}\t{bytes}\t{}\t{}\t{shown}", row.source.replace('\n', "⏎"), row.label);
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expressions/golden.txt");
        if std::env::var("SPALLA_GOLDEN").is_ok_and(|word| word == "write") {
            std::fs::write(&path, &text).expect("writable");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let pairs = text.lines().zip(written.lines()).filter(|(now, then)| now != then);
        let changed: Vec<String> = pairs.map(|(now, then)| format!("- {then}\n+ {now}")).take(20).collect();
        assert!(changed.is_empty() && text.lines().count() == written.lines().count(), "differs from golden.txt:\n{}", changed.join("\n"));
    });
}

#[test]
fn nothing_depends_on_who_else_holds_a_value() {
    on_deep_stack(|| {
        for row in rows() {
            // Three times the same container, then three containers of equal content; each alone, then with other holders.
            let one = Value::array(vec![row.input.clone(), row.input.clone(), row.input.clone()]);
            let apart = rebuilt(&one);
            let source = format!("[.[] | ({}\n)?]", row.source);
            if Expression::parse(&source).is_err() {
                continue;
            }
            let mut variables = row.variables.clone();
            variables.push(("all".to_owned(), one.clone()));
            let fresh: Vec<(String, Value)> = variables.iter().map(|(name, value)| (name.clone(), rebuilt(value))).collect();
            let alone = run(&source, &apart, &fresh);
            let _holders = (apart.clone(), apart.as_array().map(<[Value]>::to_vec));
            assert_eq!(run(&source, &one, &variables), alone, "{source} on {}", row.label);
            assert_eq!(run(&source, &apart, &fresh), alone, "{source} on {}", row.label);
        }
    });
}
