//! Anything may be typed into a flow: no text makes the parser panic, no program the evaluator.

use crate::expression::{Budget, Expression};
use crate::value::Value;
use proptest::prelude::*;

/// Fragments that combine into programs, sound ones and broken ones.
const PIECES: &[&str] = &[
    ".",
    "..",
    ".a",
    ".[0]",
    ".[-1]",
    ".[]",
    ".[1:]",
    ".[:2]",
    "?",
    "|",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "//",
    "?//",
    "==",
    "<",
    "and",
    "or",
    "not",
    "=",
    "|=",
    "+=",
    "//=",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "{a: 1}",
    "{\"b\": .}",
    "{$x}",
    "$x",
    "$y",
    "1",
    "0",
    "-1",
    "1e9",
    "1.5",
    "9223372036854775807",
    "\"s\"",
    "\"é\\(.)\"",
    "null",
    "true",
    "false",
    "if . then . else 1 end",
    "reduce .[] as $i (0; . + $i)",
    "foreach range(3) as $i (0; . + $i)",
    "def f: . + 1;",
    "def g(h): h | h;",
    "f",
    "g(.a)",
    "label $l |",
    "break $l",
    "try",
    "catch",
    ". as $x |",
    ". as [$x, {a: $y}] |",
    "map(.)",
    "select(.)",
    "range(5)",
    "length",
    "keys",
    "add",
    "sort",
    "group_by(.)",
    "unique",
    "flatten",
    "tostring",
    "tojson",
    "fromjson",
    "tonumber",
    "to_entries",
    "from_entries",
    "paths",
    "path(..)",
    "getpath([\"a\", 0])",
    "setpath([0]; 1)",
    "delpaths([[0]])",
    "del(.a)",
    "del(.[0, 1])",
    "walk(.)",
    "recurse",
    "recurse(.[]?)",
    "first(.[])",
    "limit(2; .[])",
    "until(. == 3; 3)",
    "while(false; .)",
    "test(\"a\")",
    "sub(\"a\"; \"b\")",
    "gsub(\"\"; \"-\")",
    "[match(\"a*\"; \"g\")]",
    "split(\",\")",
    "join(\"-\")",
    "explode",
    "implode",
    "@base64",
    "@base64d",
    "@csv",
    "@sh \"\\(.)\"",
    "gmtime",
    "mktime",
    "todate",
    "fromdate",
    "strftime(\"%Y %j %V\")",
    "strptime(\"%Y\")",
    "floor",
    "pow(2; 3)",
    "transpose",
    "indices(1)",
    "tojson",
    "error",
    "empty",
    "isempty(.)",
    "any",
    "all",
    "contains(.)",
    "has(0)",
    "reverse",
    "min_by(.)",
    "ltrimstr(\"a\")",
    "pick(.a)",
    "@uri",
    "#",
    "\n",
    "\"",
];

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", Value::number),
        "[a-cé,\\-0-9]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::array),
            prop::collection::vec(("[a-c]", inner), 0..4).prop_map(Value::object),
        ]
    })
}

/// A budget that keeps a case short.
const BUDGET: Budget = Budget { steps: 5_000, bytes: 500_000 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsing_any_text_returns(text in "\\PC{0,80}") {
        let _ = Expression::parse(&text);
    }

    #[test]
    fn running_any_program_returns_the_same_twice(picks in prop::collection::vec(0..PIECES.len(), 1..9), glue in "[ |,]", input in json()) {
        let pieces: Vec<&str> = picks.iter().filter_map(|pick| PIECES.get(*pick).copied()).collect();
        let source = pieces.join(&glue);
        if let Ok(expression) = Expression::parse(&source) {
            let run = || {
                let mut budget = BUDGET;
                let result = expression.eval_all(&input, &[("x", Value::Int(1)), ("y", Value::Null)], &mut budget);
                (result, budget)
            };
            let (result, budget) = run();
            prop_assert_eq!(&run(), &(result.clone(), budget), "{}", source);
            for output in result.unwrap_or_default() {
                // What comes out is canonical: it survives being written and read.
                prop_assert_eq!(Value::from_json(&output.to_json()), Ok(output), "{}", source);
            }
        }
    }
}
