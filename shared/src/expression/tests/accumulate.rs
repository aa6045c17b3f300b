//! `reduce` that only adds: the same results as step by step, at a cost that grows with what is added.

use super::{run, value};
use crate::expression::{Budget, Expression};
use crate::value::Value;

/// Start and update; `$x` runs over the input.
const FOLDS: &[(&str, &str)] = &[
    ("[]", ". + [$x]"),
    ("null", ". + [$x]"),
    ("[0]", ". + [[$x], {a: $x}]"),
    ("\"\"", ". + \"<\\($x)>\""),
    ("{}", ". + {($x | tostring): $x}"),
    ("0", ". + ($x | if type == \"number\" then . else 0 end)"),
    ("null", ". + null"),
    ("{}", ".[$x | tostring] = $x"),
    ("{}", ".[$x | tostring] += 1"),
    ("{}", ".a.b += [$x] | .n = $x | .a.c[0] = $x"),
    ("{a: [], b: 1}", ".a += [$x] | . + {b: $x} | .a[0] |= [., .] | .c //= $x"),
    ("[]", ".[2] = $x | . + [$x] | .[0] |= $x"),
    ("[[], 0]", "if $x == 2 then .[0] += [$x] elif $x == null then . else .[1] = $x end"),
    ("[]", "if $x then . + [$x] end"),
    ("{}", ".[\"a\"][\"b\"] = {c: $x} | .a.b.c |= [.] | .a = {b: .}"),
    ("{}", ".a = $x | .a |= {k: .} | .b = 1"),
];
const INPUT: &str = "[1,2,2,null,3,1]";

#[test]
fn gives_what_a_fold_gives_that_shows_each_state() {
    for (start, update) in FOLDS {
        let folded = run(&format!("reduce .[] as $x ({start}; {update})"), &value(INPUT));
        let shown = run(&format!("last(foreach .[] as $x ({start}; {update}))"), &value(INPUT));
        assert_eq!(folded, shown, "{start}; {update}");
    }
}

#[test]
fn leaves_alone_what_others_hold() {
    let input = value(INPUT);
    assert_eq!(run("(reduce .[] as $x (.; . + [$x] | .[0] = 9) | length), .", &input), format!("12 {INPUT}"));
    assert_eq!(run(". as $in | reduce (1, 2) as $x ({a: $in}; .a[0] = $x | .b = $in) | .b", &input), INPUT);
    assert_eq!(run("reduce (1, 2) as $x ([[7]]; .[$x] = .[0])", &value("null")), "[[7],[7],[7]]");
    assert_eq!(input, value(INPUT));
}

#[test]
fn costs_what_it_adds() {
    for source in ["[]; . + [$x]", "{}; .[$x | tostring] = $x", "{}; .[\"k\\($x)\"] += 1", "\"\"; . + \"0123456789\"", "[]; .[$x] = $x"] {
        let spent = |count: usize| {
            let expression =
                Expression::parse(&format!("reduce range({count}) as $x ({source}) | length")).unwrap_or_else(|e| panic!("{e}"));
            let mut left = Budget::per_evaluation();
            let result = expression.eval(&Value::Null, &[], &mut left);
            assert!(result.is_ok(), "{source}, {count} times: {result:?}");
            Budget::STEPS_PER_EVALUATION - left.steps
        };
        let (once, twice) = (spent(1_000), spent(2_000));
        assert!(twice < once * 5 / 2, "{source}: {once} steps for 1000, {twice} for 2000");
    }
}
