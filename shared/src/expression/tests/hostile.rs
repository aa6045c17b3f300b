//! What would stop, fill or crash a replica with another evaluator. Every case must end in an error, and soon.

use super::{run, value};
use crate::expression::{Budget, EvalError, Expression};
use crate::value::Value;

/// Half of the stack that callers are told to have. Debug builds need the most.
pub(super) const STACK: usize = 8 * 1024 * 1024;

/// The fence against threads is for the library; a test may have the stack that `apply` has.
#[allow(clippy::disallowed_methods)]
pub(super) fn with_stack<T: Send + 'static>(bytes: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    match std::thread::Builder::new().stack_size(bytes).spawn(body).map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => panic!("{error}"),
    }
}

fn stops(source: &str) -> String {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut budget = Budget::per_evaluation();
    match expression.eval_all(&Value::Null, &[], &mut budget) {
        Ok(outputs) => format!("{} outputs", outputs.len()),
        Err(EvalError::Budget(what)) => what.to_owned(),
        Err(EvalError::Raised(error)) => format!("!{}", error.to_json()),
    }
}

#[test]
fn runs_out_of_budget_and_cannot_catch_it() {
    let cases = [
        ("def f: 1 + f; f", "depth"),
        ("try (def f: 1 + f; f) catch 1", "depth"),
        ("(def f: 1 + f; f)? // 1", "depth"),
        ("def f: f; f", "depth"),
        ("def f: f | f; first(f)", "depth"),
        ("def f: [f]; f", "depth"),
        ("def f: {a: f}; f", "depth"),
        ("def f: \"\\(f)\"; f", "depth"),
        ("def f: reduce f as $x (0; 1); f", "depth"),
        ("def f: .[f]; f", "depth"),
        ("def f: f as [$a] | 1; f", "depth"),
        ("def f: label $x | f; f", "depth"),
        ("def f: walk(f); f", "depth"),
        ("def f(x): f(x | x); f(.)", "depth"),
        ("path(def f: f; f)", "depth"),
        ("def f: .a |= f; f", "depth"),
        ("\"x\" * 3000000000", "bytes"),
        ("\"x\" * 9000000000000000000", "bytes"),
        ("try (\"x\" * 300000000) catch 1", "bytes"),
        ("[range(1e12)]", "steps"),
        ("last(range(1e12))", "steps"),
        ("reduce range(1e12) as $i (0; . + 1)", "steps"),
        ("first(range(1e12) | select(. < 0))", "steps"),
        ("[limit(1e15; range(1e15))]", "steps"),
        ("0 | until(false; .)", "steps"),
        ("last(0 | while(true; .))", "steps"),
        ("last(recurse(.))", "steps"),
        ("try last(recurse(.)) catch 1", "steps"),
        ("last(recurse(., .))", "steps"),
        ("isempty(0 | until(false; . + 1))", "steps"),
        ("reduce range(100000) as $i (\"x\"; . + .)", "bytes"),
        ("reduce range(100) as $i ([1]; . + .)", "bytes"),
        // A tree of shared parts: small in memory, endless to anyone who walks it.
        ("reduce range(60) as $i ([]; [., .])", "bytes"),
        ("reduce range(60) as $i (\"ab\"; {a: ., b: .})", "steps"),
        ("reduce range(60) as $i ({}; .a = . | .b = .a)", "bytes"),
        ("reduce range(130) as $i (0; [.])", "depth of a value"),
        ("reduce range(130) as $i (0; {a: .})", "depth of a value"),
        ("reduce range(130) as $i (null; setpath([range(100) | \"a\"]; .))", "depth of a value"),
        ("setpath([range(200) | \"a\"]; 1)", "depth of a value"),
        ("path(getpath([range(200) | \"a\"]))", "depth of a value"),
        ("last(path(recurse(.a)))", "depth of a value"),
        ("[range(300)] | combine", "syntax"),
    ];
    let mut wrong = Vec::new();
    for (source, expected) in cases {
        if expected == "syntax" {
            assert!(Expression::parse(source).is_err());
            continue;
        }
        let found = with_stack(STACK, move || stops(source));
        if found != expected {
            wrong.push(format!("{source}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bounds_what_is_asked_for() {
    let cases = [
        (".[1e9] = 1", "!\"Array index too large\""),
        (".[1e18] = 1", "!\"Array index too large\""),
        ("[] | .[9e18] = 1", "!\"Array index too large\""),
        ("9223372036854775807 | gmtime", "!\"the time is out of range\""),
        ("1e300 | gmtime", "!\"the time is out of range\""),
        ("[9e18, 9e18, 9e18, 9e18, 9e18, 9e18] | mktime", "!\"mktime requires parsed datetime inputs\""),
        ("\"a\" | test(\"a{1000}{1000}{1000}\")", "!\"the regular expression is too complex\""),
        ("\"a\" | test(\"((a{1,100}){1,100}){1,100}\")", "!\"the regular expression is too complex\""),
        ("\"a\" | test(\"a\" * 2000)", "!\"the regular expression is too complex\""),
        (
            "\"a\" | test(\"(\" * 500)",
            "!\"((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((... is not a valid regular expression\"",
        ),
        ("(\"a\" * 60000) | test(\"(a|a|a|a|a|a|a|a|a|a)*b(a|b|c|d){20}\")", "steps"),
        ("(\"a\" * 60000) | [match(\"a*?b|a\"; \"g\")]", "steps"),
        ("(\"[\" * 100000) | try fromjson catch \"no\"", "steps"),
        ("(\"[\" * 1000) | try fromjson catch \"no\"", "1 outputs"),
        ("[splits(\"a\")]?", "0 outputs"),
        ("9223372036854775807 | -(-. - 1) ", "1 outputs"),
        ("(-9223372036854775807 - 1) | (. / -1), (. % -1), -., fabs, length", "5 outputs"),
        ("[1, 2, 3] | .[-9223372036854775807:9223372036854775807], .[1e300], .[-1e300]", "3 outputs"),
        ("[range(1000)] | sort_by(-.) | group_by(. % 7) | flatten | unique | length", "1 outputs"),
    ];
    let mut wrong = Vec::new();
    for (source, expected) in cases {
        let found = with_stack(STACK, move || stops(source));
        if found != expected {
            wrong.push(format!("{source}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ordinary_work_is_well_within_the_budget() {
    let input =
        Value::array((0..300).map(|n| Value::object([("id", Value::Int(n)), ("name", Value::from(format!("sensor {n}")))])).collect());
    for source in [
        "map(select(.id > 10)) | length",
        "map(.id) | add",
        "group_by(.id % 7) | map({key: (.[0].id % 7 | tostring), value: length}) | from_entries",
        "[.[] | .name | sub(\"sensor \"; \"s\")] | length",
        "sort_by(.name) | .[0].name",
        "(.[] | .id) |= . + 1 | length",
        "reduce .[] as $row ([]; . + [$row.id]) | length",
        "del(.[] | select(.id % 2 == 0)) | length",
        "tojson | fromjson | length",
        "[.[] | to_entries | from_entries] == .",
        "walk(.) == .",
    ] {
        let found = run(source, &input);
        assert!(!found.contains('!') && !found.contains("syntax"), "{source}: {found}");
    }
}

#[test]
fn parses_within_two_megabytes_of_stack() {
    let shapes: &[(&str, &str, &str)] = &[
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{a:", "1", "}"),
        ("-", "1", ""),
        ("try ", "1", ""),
        ("\"\\(", "1", ")\""),
        ("if ", "1", " then 1 end"),
        ("1 as [$a] | ", "1", ""),
        ("def f: ", "1", "; f"),
        ("def f: 1; ", "f", ""),
        ("label $a | ", "1", ""),
        ("first(", "1", ")"),
        ("1 // ", "1", ""),
        ("1 + ", "1", ""),
        ("1 | ", "1", ""),
        ("1, ", "1", ""),
        (".[", "1", "]"),
        ("reduce 1 as $x (", "1", "; 1)"),
        (". as ", "$x", " | 1"),
        (". as [", "$x", "] | 1"),
        (". as {a: ", "$x", "} | 1"),
        (".", "a", ".a"),
        (".a", "", "[0]"),
        (".a", "", "?"),
    ];
    for (open, core, close) in shapes {
        for count in [5, 20, 100, 400, 4000] {
            let (open, core, close) = (open.to_string(), core.to_string(), close.to_string());
            with_stack(2 * 1024 * 1024, move || {
                let fits = 4096usize.saturating_sub(core.len()) / (open.len() + close.len()).max(1);
                let count = count.min(fits);
                let source = format!("{}{core}{}", open.repeat(count), close.repeat(count));
                // Whether it parses is not the point; that it returns is, and that dropping does.
                drop(Expression::parse(&source));
            });
        }
    }
    assert!(Expression::parse(&"1 ".repeat(3000)).is_err_and(|error| error.message.contains("longer than")));
    assert!(Expression::parse(&"1|".repeat(2000)).is_err());
    assert!(Expression::parse(&format!("{}1", "1|".repeat(2000))).is_ok());
}

#[test]
fn refuses_with_a_place_and_a_reason() {
    let cases = [
        (
            "now",
            "`now` is not allowed: the result may not depend on the clock; take a time from `$workflow` or from an event (line 1, column 1)",
        ),
        (".a |\n  halt", "`halt` is not allowed: it would end the process (line 2, column 3)"),
        ("$ENV.HOME", "`$ENV` is not allowed: the result may not depend on the machine it runs on (line 1, column 1)"),
        ("import \"a\" as a; 1", "`import` is not allowed: an expression stands alone (line 1, column 1)"),
        ("repeat(1)", "`repeat` is not allowed: it never ends; use `while`, `until` or `limit` (line 1, column 1)"),
        (".x | lenght", "unknown function `lenght`; did you mean `length`? (line 1, column 6)"),
        ("\"é\" | asci_downcase", "unknown function `asci_downcase`; did you mean `ascii_downcase`? (line 1, column 7)"),
        ("frobnicate(1)", "unknown function `frobnicate` (line 1, column 1)"),
        ("limit(1)", "`limit` takes 2 arguments, not 1 (line 1, column 1)"),
        ("_match(\"a\"; \"b\")", "unknown function `_match`; did you mean `match`? (line 1, column 1)"),
        ("def twice: . * 2; twise", "unknown function `twise`; did you mean `twice`? (line 1, column 19)"),
        ("@bas64", "unknown format `@bas64`; did you mean `@base64`? (line 1, column 1)"),
        ("", "expected an expression, found the end (line 1, column 1)"),
        ("(1", "expected `)`, found the end (line 1, column 3)"),
        ("1 1", "expected the end, found `1` (line 1, column 3)"),
        ("\"abc", "the string has no end (line 1, column 5)"),
        ("'a'", "unexpected character `'`; strings are written with double quotes (line 1, column 1)"),
        ("1 && 2", "unexpected character `&`; write `and` (line 1, column 3)"),
        ("if 1 then 2", "expected `end`, found the end (line 1, column 12)"),
        ("{a: 1", "expected `}`, found the end (line 1, column 6)"),
        ("{1}", "expected `:`, found `}` (line 1, column 3)"),
        (". as 1 | 2", "expected a pattern: `$name`, `[…]` or `{…}`, found `1` (line 1, column 6)"),
        ("1e999", "`1e999` is not a number we can hold (line 1, column 1)"),
        ("break $out", "there is no label `$out` around this (line 1, column 7)"),
    ];
    let mut wrong = Vec::new();
    for (source, expected) in cases {
        let found = Expression::parse(source).map_or_else(|error| error.to_string(), |_| "parsed".to_owned());
        if found != expected {
            wrong.push(format!("{source}: {found}\n   expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for refused in
        ["input", "inputs", "env", "halt_error", "debug", "stderr", "localtime", "strflocaltime(\"\")", "combinations", "infinite", "nan"]
    {
        let error = Expression::parse(refused).expect_err(refused);
        assert!(error.message.contains("is not allowed"), "{refused}: {error}");
    }
}

#[test]
fn names_and_budgets_as_callers_see_them() {
    let parse = |source: &str| Expression::parse(source).unwrap_or_else(|error| panic!("{error}"));
    let expression = parse("$workflow.id + $context.x + (1 as $own | $own | tostring) + $context.y");
    assert_eq!(expression.variables(), ["context", "workflow"]);
    let context = value("{\"x\":\"a\",\"y\":\"b\"}");
    let variables = [("unused", Value::Null), ("workflow", value("{\"id\":\"w\"}")), ("context", context)];
    let mut budget = Budget::per_entry();
    assert_eq!(expression.eval(&Value::Null, &variables, &mut budget), Ok(Value::from("wa1b")));
    let spent = Budget::per_entry().steps - budget.steps;
    assert!((10..40).contains(&spent), "{spent}");
    // One evaluation takes no more than its share of the entry's budget.
    let mut budget = Budget::per_entry();
    assert_eq!(parse("last(range(1e9))").eval(&Value::Null, &[], &mut budget), Err(EvalError::Budget("steps")));
    assert_eq!(budget.steps, Budget::STEPS_PER_ENTRY - Budget::STEPS_PER_EVALUATION);
    let mut spent = Budget { steps: 3, bytes: 1000 };
    assert_eq!(parse("1 + 2 + 3").eval(&Value::Null, &[], &mut spent), Err(EvalError::Budget("steps")));
    // The first output ends the evaluation; none is null.
    let mut budget = Budget::per_evaluation();
    assert_eq!(parse("1, error(\"never\")").eval(&Value::Null, &[], &mut budget), Ok(Value::Int(1)));
    assert_eq!(parse("empty").eval(&Value::Null, &[], &mut budget), Ok(Value::Null));
    assert_eq!(parse("empty, error({a: 1})").eval(&Value::Null, &[], &mut budget), Err(EvalError::Raised(value("{\"a\":1}"))));
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    shared(&expression);
    assert_eq!(expression, expression.clone());
    assert_eq!(format!("{:?}", parse(".a")), "Expression(\".a\")");
}

/// A replica that holds a snapshot shares containers with it: that may change neither results nor charges.
#[test]
fn charges_do_not_depend_on_sharing() {
    let text = "{\"a\":[{\"b\":1},{\"b\":2},{\"b\":[1,2,3]}],\"c\":{\"d\":\"text\"}}";
    for source in [
        ".a[0].b = 9",
        "del(.a[1])",
        ".a[].b |= [.]",
        ".c += {e: 1}",
        "[.a[]] + .a",
        "reduce range(5) as $i (.; .a += [$i])",
        "walk(.)",
        "tojson",
    ] {
        let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{error}"));
        let spend = |input: &Value| {
            let mut budget = Budget::per_evaluation();
            let result = expression.eval(input, &[], &mut budget);
            (result, budget)
        };
        let alone = value(text);
        let held = value(text);
        let _holders = (held.clone(), held.get("a").cloned(), held.get("c").cloned());
        assert_eq!(spend(&alone), spend(&held), "{source}");
        assert_eq!(spend(&alone), spend(&alone), "{source}: again");
    }
}
