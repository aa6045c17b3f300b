//! More that would stop, fill or crash a replica: one row each, with how it must end.
//!
//! Each runs on a quarter of the stack that the gateway gives to the thread that applies the log.

use super::hostile::{STACK, with_stack};
use crate::expression::{Budget, EvalError, Expression};
use crate::value::{DEPTH_MAX, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Refused when the flow is deployed.
    Parse,
    /// Out of budget: an incident, which nothing in the expression can catch.
    Steps,
    Bytes,
    Depth,
    ValueDepth,
    /// An error of the language.
    Error,
    /// Looks worse than it is.
    Fine,
}
use End::*;

/// Name, source, input, end.
type Row = (&'static str, String, fn() -> Value, End);
/// As written down.
type Written = (&'static str, &'static str, fn() -> Value, End);

fn null() -> Value {
    Value::Null
}
/// As deep as a value may be.
fn deep() -> Value {
    (0..DEPTH_MAX).fold(Value::Int(1), |inner, _| Value::array(vec![inner]))
}
/// As deep as a value may be, by objects.
fn deep_object() -> Value {
    (0..DEPTH_MAX).fold(Value::Int(1), |inner, _| Value::object([("a", inner)]))
}
/// 60 kB of text.
fn long() -> Value {
    Value::from("ab".repeat(30_000))
}
fn wide() -> Value {
    Value::array((0..20_000).map(|n| Value::Int((n * 7919) % 20_000)).collect())
}
fn wide_object() -> Value {
    Value::object((0..4_000i64).map(|n| (n.to_string(), Value::Int(n))))
}
/// Equal texts that differ in their last letter only.
fn alike() -> Value {
    Value::array((0..200).map(|n| Value::from(format!("{}{n}", "x".repeat(20_000)))).collect())
}
fn ends() -> Value {
    Value::array(vec![Value::Int(i64::MIN), Value::Int(i64::MAX), Value::Float(f64::MAX), Value::Float(f64::MIN_POSITIVE), Value::Int(0)])
}

fn source() -> Vec<Row> {
    let far = |open: &str, core: &str, close: &str, count: usize| format!("{}{core}{}", open.repeat(count), close.repeat(count));
    vec![
        ("longer than allowed", "1".repeat(4097), null, Parse),
        ("a number of 4000 digits", "9".repeat(4000), null, Parse),
        ("a number with 4000 places", format!("0.{}1", "0".repeat(4000)), null, Fine),
        ("an exponent beyond any float", "1e99999999999999999999".into(), null, Parse),
        ("brackets without an end", "[".repeat(4000), null, Parse),
        ("parentheses 2000 deep", far("(", "1", ")", 2000), null, Parse),
        ("objects 800 deep", far("{a:", "1", "}", 800), null, Parse),
        ("texts in texts", far("\"\\(", "1", ")\"", 800), null, Parse),
        ("2000 signs", format!("{}1", "-".repeat(2000)), null, Parse),
        ("a chain of 2000 sums", format!("1{}", "+1".repeat(2000)), null, Parse),
        ("a chain of 2000 alternatives", format!("1{}", "//1".repeat(1300)), null, Parse),
        ("2000 outputs", format!("[1{}]", ",1".repeat(2000)), null, Fine),
        ("2000 pipes", format!("1{}", "|.".repeat(2000)), null, Fine),
        ("1300 optional marks", format!(".{}", "?".repeat(1300)), null, Parse),
        ("700 functions", format!("{}1", "def f: f;".repeat(400)), null, Parse),
        ("700 bindings", format!("{}1", "1 as $x|".repeat(500)), null, Parse),
        ("a pattern 600 deep", format!(". as {}$x{} | 1", "[".repeat(600), "]".repeat(600)), null, Parse),
        ("1000 alternatives of patterns", format!("1 as [$x]{} | 1", "?//[$x]".repeat(550)), null, Error),
        ("a keyword where a term stands", "reduce reduce reduce".into(), null, Parse),
        ("half a surrogate pair", "\"\\ud800\\u0041\"".into(), null, Parse),
        ("an unfinished escape", "\"\\u00".into(), null, Parse),
        ("a zero byte", ".\u{0}".into(), null, Parse),
        ("marks of direction", "\u{202e}.a".into(), null, Parse),
        ("a label from outside a function", "label $l | def f: break $m; f".into(), null, Parse),
        ("the library's own functions", "_sort_by([1])".into(), null, Parse),
        ("a process that ends", "halt_error".into(), null, Parse),
        ("the environment", "env.PATH".into(), null, Parse),
        ("the clock", "now | todate".into(), null, Parse),
        ("modules", "include \"x\"; .".into(), null, Parse),
        ("input of others", "[inputs]".into(), null, Parse),
        ("endless repetition", "repeat(.)".into(), null, Parse),
    ]
}

fn loops() -> Vec<Row> {
    let rows: [(&str, &str, End); 26] = [
        ("two functions that call each other", "def f(x): x; def g: f(g); g", Depth),
        ("an argument that calls itself", "def f(x): x | f(x); f(.)", Depth),
        ("a closure that grows", "def f(x): f(x + 1); f(1)", Depth),
        ("recursion in a condition", "def f: if f then 1 else 2 end; f", Depth),
        ("recursion in an index", "def f: .[f:f]; f", Depth),
        ("recursion in a pattern's key", "def f: . as {(f): $x} | $x; f", Depth),
        ("recursion in a format", "def f: @base64 \"\\(f)\"; f", Depth),
        ("recursion in an update", "def f: (.a, .b) |= f; f", Depth),
        ("recursion in a fold's start", "def f: reduce 1 as $x (f; .); f", Depth),
        ("recursion behind a catch", "def f: try error catch f; f", Depth),
        ("recursion behind an alternative", "def f: null // f; f", Depth),
        ("recursion in a sort key", "def f: [1] | sort_by(f); f", Depth),
        ("recursion in a replacement", "def f: \"a\" | sub(\"a\"; f); f", Depth),
        ("doubling calls", "def f($n): if $n == 0 then 1 else f($n - 1), f($n - 1) end; [f(30)] | length", Steps),
        ("all subsets", "def s: if length == 0 then [] else (.[1:] | s) as $r | $r, [.[0]] + $r end; [[range(40)] | s] | length", Steps),
        ("outputs of outputs", "[range(1000) | range(1000) | range(1000)] | length", Steps),
        ("a loop that never holds", "[.[]?] | until(length > 0; .)", Steps),
        ("a loop by fractions", "[range(0; 1; 1e-300)] | length", Steps),
        ("a step too small to count", "last(range(1e300; 1e301; 1))", Steps),
        ("a loop that catches itself", "def f: try (f, error) catch f; f", Depth),
        ("a loop in a label", "label $l | 0 | until(false; . + 1) | break $l", Steps),
        ("a fold over itself", "reduce range(1e9) as $i ([]; . + [$i])", Steps),
        ("a fold of text", "reduce range(1e9) as $i (\"\"; . + \"0123456789\")", Steps),
        ("a fold of keys", "reduce range(1e9) as $i ({}; .[\"k\" + ($i | tostring)] = $i)", Steps),
        ("a fold that keeps all", "foreach range(1e9) as $i ([]; . + [$i]; empty)", Steps),
        ("walks within walks", "def w: walk(if type == \"array\" then map(., .) else . end); [[[[1]]]] | w | w | w | length", Fine),
    ];
    rows.into_iter().map(|(name, source, end)| (name, source.to_owned(), null as fn() -> Value, end)).collect()
}

fn values() -> Vec<Row> {
    let rows: Vec<Written> = vec![
        ("one level too many", "[.]", deep, ValueDepth),
        ("one object too many", "{a: .}", deep_object, ValueDepth),
        ("one level too many, by an update", ".[0] |= [.]", deep, ValueDepth),
        ("one level too many, by a merge", "{a: {a: {b: 1}}} * {a: {a: {c: .}}}", deep_object, ValueDepth),
        ("one level too many, by addition", "{b: 1} + {c: .}", deep_object, ValueDepth),
        ("one level too many, out of text", "(\"[\" * 129) + (\"]\" * 129) | fromjson", null, Error),
        ("one level too many, by entries", "[{key: \"a\", value: .}]", deep, ValueDepth),
        ("one level too many, in a fold", "reduce 1 as $x ([]; . + [$in])", deep, ValueDepth),
        ("a deep value walked", "[.. | type] | length", deep, Fine),
        ("a deep value written", "tojson | length", deep_object, Fine),
        ("a deep value compared", ". == . and (.a.a.a | [., .] | unique | length) == 1", deep_object, Fine),
        ("every path of a deep value", "[paths] | length", deep, Fine),
        ("a deep value flattened", "flatten", deep, Fine),
        ("a text doubled", "reduce range(40) as $i (.; . + .)", long, Steps),
        ("a text times a text's length", ". * length", long, Bytes),
        ("a text times a fraction", "\"x\" * 1e-300", null, Fine),
        ("an empty text any number of times", "\"\" * 1e300", null, Fine),
        ("letters as numbers, again and again", "explode | implode | explode | implode | explode", long, Bytes),
        ("a text split into letters, often", "[range(10) as $i | split(\"\")] | length", long, Bytes),
        ("a text of nothing but quotes", "(\"\\\"\" * 60000) | tojson | tojson | tojson | tojson", null, Steps),
        ("percent signs on percent signs", "[.[:3000] | @uri, (@uri | @uri), (. * 100 | @uri | @uri | @uri | @uri)]", long, Steps),
        ("joined with itself", "[., ., .] | join(.[0]) | [., ., .] | join(.[0])", long, Fine),
        ("an array multiplied by itself", "[.[] as $a | .[] as $b | [$a, $b]] | length", wide, Steps),
        ("an array added to itself", "reduce range(30) as $i (.; . + .) | length", wide, Bytes),
        ("differences of all pairs", ". - [.[] | . + 1]", wide, Steps),
        ("containment of all pairs", "contains([.[] | . + 0.5])", wide, Steps),
        ("places of all items", "[.[] as $x | indices($x)] | length", wide, Steps),
        ("an array turned over", "[range(3000)] | [., .] | transpose | transpose | map(length) | add", null, Fine),
        ("rows of very different length", "[[range(60000)], []] + [range(200) | []] | transpose | length", null, Steps),
        ("deleting all, one by one", "del(.[range(0; 20000)])", wide, Bytes),
        ("objects merged again and again", "reduce range(1000) as $i (.; . * .)", wide_object, Steps),
        ("entries of entries", "[range(20) as $i | to_entries] | length", wide_object, Steps),
        ("keys of all keys", "[keys[] as $k | keys] | length", wide_object, Steps),
        ("text into far more data", "(\"[\" + (\"{},\" * 100000) + \"0]\") | fromjson | length", null, Bytes),
        ("text into nested data", "(\"{\\\"a\\\":\" * 5000) | fromjson", null, Error),
        ("sixty-four bit twice over", "(\"9\" * 400 | tonumber)?, (\"9\" * 300 | tonumber | tojson | length)", null, Fine),
    ];
    rows.into_iter().map(|(name, source, input, end)| (name, source.to_owned(), input, end)).collect()
}

fn patterns() -> Vec<Row> {
    let rows: [Written; 16] = [
        ("backtracking bait", "test(\"(a*)*c\")", long, Fine),
        ("nested quantifiers", "test(\"((a+)+)+$\")", long, Fine),
        ("many alternatives", "[match(\"(a|b|ab)*?c\"; \"g\")] | length", long, Fine),
        ("repetition of repetition", "test(\"(a{1,99}){1,99}\")", long, Error),
        ("repetition by millions", "test(\"a{9999999}\")", long, Error),
        ("a class of all letters, often", "test(\"\\\\p{L}{500}\")", long, Error),
        ("a look behind", "test(\"(?<=a)b\")", long, Error),
        ("a reference back", "test(\"(a)\\\\1\")", long, Error),
        ("an empty match at every place", "[match(\"\"; \"g\")] | length", long, Steps),
        ("a replacement at every letter", "gsub(\"[ab]\"; \"xxxxxxxxxx\") | length", long, Steps),
        ("an empty pattern replaced", "gsub(\"\"; \"x\") | length", long, Steps),
        ("a pattern made of the input", "test(.)", long, Error),
        ("a fresh pattern each time", "[range(2000) as $i | test(\"x{\\($i % 90 + 1)}(y|z)\\($i)\")] | length", long, Steps),
        ("groups without number", "test(\"()\" * 500)", long, Error),
        ("a hundred names", "\"ab\" | [capture([range(100) | \"(?<n\\(.)>a)?\"] | join(\"\"))] | length", null, Fine),
        ("an unknown flag", "test(\"a\"; \"gq\")", long, Error),
    ];
    rows.into_iter().map(|(name, source, input, end)| (name, source.to_owned(), input, end)).collect()
}

fn numbers() -> Vec<Row> {
    let rows: [Written; 18] = [
        ("the smallest divided by minus one", ".[0] / -1, (.[0] % -1), -.[0], (.[0] | fabs), (.[0] * -1), (.[0] - 1)", ends, Fine),
        ("the largest plus the largest", ".[1] + .[1], .[1] * .[1]", ends, Fine),
        ("beyond all floats", ".[2] * 2", ends, Error),
        ("beyond all floats, downwards", "-.[2] - .[2]", ends, Error),
        ("below all floats", ".[3] / 1e300", ends, Fine),
        ("divided by nothing", ".[1] / .[4]", ends, Error),
        ("remainder of nothing", ".[1] % 0.5", ends, Error),
        ("a root of less than nothing", ".[0] | sqrt", ends, Error),
        ("powers without bound", "pow(10; 1024)", ends, Error),
        ("powers of nothing", "pow(0; -3)", ends, Error),
        ("an exponent out of range", "pow(2; 100000)", ends, Error),
        ("rounding what cannot be held", "map(floor, ceil, round, trunc)", ends, Fine),
        ("a time before all times", ".[0] | todate", ends, Error),
        ("a time after all times", ".[2] | gmtime", ends, Error),
        ("a date of years without number", "[1e15, 0, 1, 0, 0, 0] | mktime", ends, Error),
        ("a date of negative parts", "[2026, -100000, -100000, -100000, -1000000, -1000000] | mktime", ends, Fine),
        ("a year that is no year", "\"99999-01-01T00:00:00Z\" | fromdate", ends, Error),
        ("counts below nothing", "[limit(-1; 1)]", ends, Error),
    ];
    rows.into_iter().map(|(name, source, input, end)| (name, source.to_owned(), input, end)).collect()
}

fn order_paths_and_assignment() -> Vec<Row> {
    let rows: [Written; 26] = [
        ("sorting what is alike", "sort | length", alike, Steps),
        ("grouping what is alike", "group_by(.[:-1]) | length", alike, Steps),
        ("sorting over and over", "reduce range(1000) as $i (.; sort)", wide, Steps),
        ("sorting by an error", "sort_by(error)", wide, Error),
        ("a key of many outputs", "sort_by(.[]?, range(100))", wide, Steps),
        ("unique of everything", "[.[] | [.]] | unique | length", wide, Steps),
        ("the largest, by a loop", "max_by(until(. > 1e9; . + 1))", wide, Steps),
        ("searching what is not sorted", "bsearch(5)", ends, Fine),
        ("an index without bound", ".[1e9] = 1", wide, Error),
        ("an index beyond 32 bit", ".[5000000000] = 1", wide, Error),
        ("a negative index without bound", ".[-9223372036854775807] = 1", wide, Error),
        ("many large indices", "reduce range(200) as $i ([]; .[$i] = []) | .[][60000] = 1", null, Bytes),
        ("an endless path", "last(path(recurse(.a)))", null, ValueDepth),
        ("an endless path written", "[limit(200; recurse(.a))] | length", null, Fine),
        ("a path of many keys", "setpath([range(129) | 0]; 1)", null, ValueDepth),
        ("a path read that is not there", "getpath([range(1000) | \"a\"])", null, Fine),
        ("a path that is no path", "path(1 + .)", ends, Error),
        ("a path out of a copy", "([.[]] | .[0]) = 1", ends, Error),
        ("a path by a text", "setpath([\"a\"]; 1)", wide, Error),
        ("slices of slices", ".[1:][1:][1:][1:][1:][1:][1:][1:] = []", wide, Steps),
        ("a slice that grows", "reduce range(1000) as $i (.; .[:1] = [1, 2, 3])", wide, Steps),
        ("updates everywhere", "(.. | numbers) |= . + 1 | (.. | numbers) |= . + 1 | length", wide, Steps),
        ("updates of updates", ".[] |= (. as $x | [range(100)] | map(. + $x))", wide, Steps),
        ("a deletion of all paths", "delpaths([paths]) | length", wide, Steps),
        ("a pick of everything", "pick(.[range(0; 20000)]) | length", wide, Steps),
        ("an assignment by all values", "[.[0:3000][] as $x | .[0] = $x] | length", wide, Steps),
    ];
    rows.into_iter().map(|(name, source, input, end)| (name, source.to_owned(), input, end)).collect()
}

fn end_of(source: &str, input: &Value) -> (End, String, Budget) {
    let mut budget = Budget::per_evaluation();
    let Ok(expression) = Expression::parse(source) else { return (Parse, String::new(), budget) };
    let result = expression.eval_all(input, &[("in", input.clone())], &mut budget);
    let end = match &result {
        Ok(_) => Fine,
        Err(EvalError::Raised(_)) => Error,
        Err(EvalError::Budget("steps")) => Steps,
        Err(EvalError::Budget("bytes")) => Bytes,
        Err(EvalError::Budget("depth")) => Depth,
        Err(EvalError::Budget(_)) => ValueDepth,
    };
    (end, result.map_or_else(|error| error.to_string(), |outputs| format!("{} outputs", outputs.len())), budget)
}

fn check(rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (name, source, input, expected) in rows {
        let shown: String = source.chars().take(100).collect();
        let ((end, result, left), again, caught) = with_stack(STACK, move || {
            let input = input();
            // What runs out of budget cannot be caught on the way.
            let caught = end_of(&format!("try ({source}\n) catch null"), &input).0;
            (end_of(&source, &input), end_of(&source, &input), caught)
        });
        if end != expected {
            wrong.push(format!("{name}: {end:?} ({result}), expected {expected:?}: {shown}"));
        }
        assert_eq!((end, &result, left), (again.0, &again.1, again.2), "{name}: differs when repeated");
        match end {
            Parse => assert_eq!(left, Budget::per_evaluation(), "{name}"),
            Steps => assert_eq!((left.steps, caught), (0, Steps), "{name}"),
            Bytes => assert_eq!((left.bytes, caught), (0, Bytes), "{name}"),
            Depth => assert_eq!(caught, Depth, "{name}"),
            ValueDepth => assert_eq!(caught, ValueDepth, "{name}"),
            Error | Fine => assert!(left.steps > 0 && left.bytes > 0 && caught != Steps, "{name}"),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hostile_source() {
    check(source());
}

#[test]
fn hostile_loops() {
    check(loops());
}

#[test]
fn hostile_values() {
    check(values());
}

#[test]
fn hostile_patterns() {
    check(patterns());
}

#[test]
fn hostile_numbers() {
    check(numbers());
}

#[test]
fn hostile_order_paths_and_assignment() {
    check(order_paths_and_assignment());
}
