//! jq's manual as an oracle: one file for each of its chapters, with examples of our own.
//!
//! ```text
//! = expression            the same as jq          ~ expression   different on purpose     ! expression   refused when parsed
//! < input                                         < input                                > ?message
//! > output, one a line                            > output                               why reason
//!                                                 jq output of jq
//!                                                 why reason
//! ```
//! `!message` stands for an error after the outputs before it; messages are ours, jq's own read a little differently.
//! "The same" was checked against jq itself, and can be checked again where a `jq` of version 1.7 or later is on the PATH
//! (or named by `SPALLA_JQ`): `cargo test -p spalla-shared --lib manual -- --ignored`.

use super::super::builtins;
use super::value;
use crate::expression::{Budget, Expression};
use crate::value::Value;

const CHAPTERS: [&str; 14] = [
    include_str!("manual/basic.txt"),
    include_str!("manual/types.txt"),
    include_str!("manual/operators.txt"),
    include_str!("manual/functions.txt"),
    include_str!("manual/paths.txt"),
    include_str!("manual/numbers.txt"),
    include_str!("manual/text.txt"),
    include_str!("manual/dates.txt"),
    include_str!("manual/regex.txt"),
    include_str!("manual/conditionals.txt"),
    include_str!("manual/advanced.txt"),
    include_str!("manual/assignment.txt"),
    include_str!("manual/comments.txt"),
    include_str!("manual/refused.txt"),
];

#[derive(Default)]
struct Example {
    /// `=`, `~` or `!`.
    mark: char,
    source: String,
    input: String,
    outputs: Vec<String>,
    theirs: Vec<String>,
    why: String,
}

fn examples() -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    for line in CHAPTERS.iter().flat_map(|chapter| chapter.lines()).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (mark, found.last_mut()) {
            ("=" | "~" | "!", _) => {
                found.push(Example { mark: mark.chars().next().unwrap_or('='), source: rest.to_owned(), ..Example::default() });
            }
            ("", Some(example)) => example.source = format!("{}\n{}", example.source, rest.trim_start()),
            ("<", Some(example)) => example.input = rest.to_owned(),
            (">", Some(example)) => example.outputs.push(rest.to_owned()),
            ("jq", Some(example)) => example.theirs.push(rest.to_owned()),
            ("why", Some(example)) => example.why = rest.to_owned(),
            _ => panic!("no part of an example: {line}"),
        }
    }
    found
}

/// Outputs in canonical JSON, then the error.
fn ours(example: &Example) -> Vec<String> {
    let expression = match Expression::parse(&example.source) {
        Ok(expression) => expression,
        Err(error) => return vec![format!("?{error}")],
    };
    let input = if example.input.is_empty() { Value::Null } else { value(&example.input) };
    let mut printed = Vec::new();
    let result = expression.run(&input, &[], &mut Budget::per_evaluation(), &mut |_, value| {
        printed.push(value.to_json());
        Ok(())
    });
    if let Err(error) = result {
        printed.push(format!("!{error}"));
    }
    printed
}

/// As [`ours`] prints it: keys sorted, numbers in their one form.
fn canonical(line: &str) -> String {
    if line.starts_with(['!', '?']) { line.to_owned() } else { value(line).to_json() }
}

#[test]
fn every_example_gives_what_the_manual_says_or_says_why_not() {
    let examples = examples();
    let mut wrong = Vec::new();
    for example in &examples {
        let expected: Vec<String> = example.outputs.iter().map(|line| canonical(line)).collect();
        let found = ours(example);
        if found != expected {
            wrong.push(format!("{}\n   on {}\n   gave     {found:?}\n   expected {expected:?}", example.source, example.input));
        }
        let sound = match example.mark {
            '=' => example.why.is_empty() && example.theirs.is_empty(),
            '~' => !example.why.is_empty() && example.theirs != example.outputs,
            _ => !example.why.is_empty() && found.iter().all(|line| line.starts_with('?')),
        };
        assert!(sound, "an incomplete example: {}", example.source);
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), examples.len(), wrong.join("\n"));
}

#[test]
fn every_function_format_and_form_has_an_example() {
    let sources: Vec<String> = examples().into_iter().filter(|example| example.mark != '!').map(|example| example.source).collect();
    let words: std::collections::BTreeSet<&str> =
        sources.iter().flat_map(|source| source.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '@'))).collect();
    let functions = builtins::names().map(|(name, _)| name.to_owned());
    let prelude = builtins::prelude().names().iter().map(|(name, _)| name.clone());
    let formats = builtins::format::NAMES.iter().map(|(name, _)| format!("@{name}"));
    let missing: Vec<String> =
        functions.chain(prelude).chain(formats).filter(|name| !name.starts_with('_') && !words.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "without an example: {missing:?}");
    let forms = [
        "if ", "elif ", "else ", "reduce ", "foreach ", "try ", "catch ", "label $", "break $", "def ", " as $", " as [", " as {", "?//",
        "|=", "+=", "-=", "*=", "/=", "%=", "//=", " = ", "//", "..", ".[]", ".[0]", ".[-1]", ".[1:]", ".[:2]", "?", "\\(", "$__loc__",
        "and", "or", "==", "!=", "<=", ">=", "#", "{$", "{(", "{\"", "[]", "-(", "; ",
    ];
    let missing: Vec<&str> = forms.into_iter().filter(|form| !sources.iter().any(|source| source.contains(form))).collect();
    assert!(missing.is_empty(), "without an example: {missing:?}");
}

/// Needs a `jq`. Only whether there is an error is compared, not its text.
#[test]
#[ignore = "needs jq 1.7 or later on the PATH"]
fn jq_itself_agrees() {
    let program = std::env::var("SPALLA_JQ").unwrap_or_else(|_| "jq".to_owned());
    let mut wrong = Vec::new();
    for example in examples().iter().filter(|example| example.mark == '=') {
        let found = jq(&program, example);
        let expected: Vec<String> =
            example.outputs.iter().map(|line| if line.starts_with('!') { "!".into() } else { canonical(line) }).collect();
        if found != expected {
            wrong.push(format!("{}\n   on {}\n   jq   {found:?}\n   ours {expected:?}", example.source, example.input));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn jq(program: &str, example: &Example) -> Vec<String> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut command = Command::new(program);
    command.args(["-cS", &example.source]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not parse is gone before it reads.
        let _ = stdin.write_all(example.input.as_bytes());
    }
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(canonical).collect();
    if !output.status.success() {
        lines.push("!".into());
    }
    lines
}
