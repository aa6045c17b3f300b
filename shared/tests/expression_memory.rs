//! Bytes charged against bytes allocated: a program cannot hold much more memory than it has paid for.
//!
//! The only test of its binary, so that nothing else allocates meanwhile.

use peak_alloc::PeakAlloc;
use spalla_shared::expression::{Budget, Expression};
use spalla_shared::value::Value;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Peak bytes for each byte charged. A vector that grows holds its old and its new half for a moment: three times its contents.
const FACTOR: usize = 2;
/// What any evaluation may hold besides: scratch space, and compiled patterns, of which each is bounded in size.
const BESIDES: usize = 256 * 1024;

/// Programs that grow by each of the ways to grow, to the end of their budget or to their own.
const PROGRAMS: &[&str] = &[
    "[range(1e9)]",
    "[range(1e9) | {}]",
    "[range(1e9) | {a: .}]",
    "[range(1e9) | {a: {b: {}}}]",
    "[range(1e9) | [.]]",
    "[range(1e9) | [[[[]]]]]",
    "[range(1e9) | \"\\(.)\"]",
    "[range(1e9) | tostring | {(.): .}]",
    "reduce range(1e9) as $i ([]; . + [$i])",
    "reduce range(1e9) as $i ([]; . + [[$i]])",
    "reduce range(1e9) as $i ([]; .[$i] = $i)",
    "reduce range(1e9) as $i ({}; .[$i | tostring] = $i)",
    "reduce range(1e9) as $i ({}; . + {($i | tostring): {}})",
    "reduce range(1e9) as $i (\"\"; . + \"0123456789abcdef\")",
    "reduce range(1e9) as $i (\"x\"; . + .)",
    "reduce range(1e9) as $i ([1]; . + .)",
    "reduce range(1e9) as $i ([]; [., $i])",
    "reduce range(120) as $i ({a: 1}; {a: ., b: $i})",
    "\"x\" * 8000000",
    "\"ab\" * 100000 | explode",
    "\"ab\" * 100000 | explode | implode",
    "\"a,\" * 100000 | split(\",\")",
    "\"a\" * 100000 | split(\"\")",
    "\"a,\" * 20000 | [splits(\",\")]",
    "\"ab\" * 20000 | [match(\"a\"; \"g\")]",
    "\"ab\" * 20000 | [capture(\"(?<x>a)\"; \"g\")]",
    "\"ab\" * 20000 | gsub(\"a\"; \"0123456789\")",
    "[range(20000)] | tojson",
    "[range(20000)] | tojson | fromjson",
    "(\"[\" + (\"{},\" * 9000) + \"0]\") | fromjson",
    "(\"[\" + (\"[],\" * 30000) + \"0]\") | fromjson",
    "(\"[\" + (\"{\\\"a\\\":1},\" * 9000) + \"0]\") | fromjson",
    "[range(20000)] | map(tostring) | join(\",\")",
    "[range(20000)] | sort_by(-.)",
    "[range(10000)] | group_by(. % 100)",
    "[range(10000)] | group_by(.)",
    "[range(10000)] | unique",
    "[range(10000)] | to_entries",
    "[range(5000)] | map({key: tostring, value: .}) | from_entries",
    "[range(5000)] | map({(tostring): .}) | add",
    "[range(10000)] | map([.]) | add",
    "[range(10000)] | map(tostring) | add",
    "[range(10000)] | [., .] | transpose",
    "[range(5000)] | [paths]",
    "[range(5000)] | map([[.]]) | flatten",
    "[range(20000)] | reverse",
    "[range(20000)] | .[1:]",
    "[range(5000)] | walk(.)",
    "[range(5000)] | (.[] |= [.])",
    "[range(5000)] | del(.[range(0; 5000; 2)])",
    "[range(5000)] | [limit(4000; .[])]",
    "[range(3000)] | [foreach .[] as $x ([]; [$x]; .)]",
    "[recurse(if . < 20000 then . + 1 else empty end)]?",
    "[range(20000)] | @json, @csv, @sh, @html, @base64",
    "\"ab<\" * 30000 | @uri, @html, @sh, @base64",
    "\"\\u0001\" * 100000 | tojson",
    "[1 | recurse(if . < 5000 then . + 1 else empty end)] | map({a: ., b: [.], c: \"\\(.)\"})",
    "[range(200)] | [.[] as $a | .[] as $b | {$a, $b}]",
    "[range(3000)] | map(gmtime)",
    "[range(3000)] | map(todate)",
    "[range(40)] | map(\"a{\\(. + 1)}b\" as $p | \"aab\" | test($p))",
];

#[test]
fn a_program_holds_no_more_than_it_has_paid_for() {
    let thread = std::thread::Builder::new().stack_size(16 * 1024 * 1024).spawn(|| {
        let warm = Expression::parse("1").expect("sound");
        let _ = warm.eval(&Value::Null, &[], &mut Budget::per_evaluation());
        let mut wrong = Vec::new();
        let mut worst = (0.0, "");
        for source in PROGRAMS {
            let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
            let full = Budget::per_evaluation();
            let mut left = full;
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            let result = expression.eval_all(&Value::Null, &[], &mut left);
            let held = ALLOCATOR.peak_usage().saturating_sub(before);
            drop(result);
            let charged = usize::try_from(full.bytes - left.bytes).expect("a budget fits");
            let ratio = held as f64 / charged.max(1) as f64;
            if held > BESIDES && ratio > worst.0 {
                worst = (ratio, source);
            }
            if held > charged * FACTOR + BESIDES {
                wrong.push(format!("{source}: held {held} bytes, charged {charged}, {ratio:.2}x"));
            }
        }
        println!("worst: {:.2} bytes for each byte charged, by {}", worst.0, worst.1);
        assert!(wrong.is_empty(), "{} undercharged:\n{}", wrong.len(), wrong.join("\n"));
    });
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}
