//! The same expressions through jaq, an independent implementation. Where jaq differs from jq on purpose (order of
//! products, writes below null, deletions of several paths) expressions stay clear of it.

use crate::expression::{Budget, Expression};
use crate::value::Value;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};

fn jaq(source: &str, input: &str) -> Result<Vec<Value>, String> {
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(defs).load(&arena, File { code: source, path: () }).map_err(|errors| format!("{errors:?}"))?;
    let filter = Compiler::default().with_funs(funs).compile(modules).map_err(|errors| format!("{errors:?}"))?;
    let ctx = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let input = read::parse_single(input.as_bytes()).map_err(|error| format!("{error:?}"))?;
    let mut outputs = Vec::new();
    for output in filter.id.run((ctx, input)).map(unwrap_valr) {
        let output = output.map_err(|error| error.to_string())?;
        outputs.push(Value::from_json(&output.to_string())?);
    }
    Ok(outputs)
}

fn ours(source: &str, input: &str) -> Result<Vec<Value>, String> {
    let expression = Expression::parse(source).map_err(|error| error.to_string())?;
    let input = Value::from_json(input)?;
    expression.eval_all(&input, &[], &mut Budget::per_evaluation()).map_err(|error| error.to_string())
}

#[test]
fn agrees_with_jaq() {
    const PEOPLE: &str =
        r#"[{"name":"Ada","age":36,"tags":["a","b"]},{"name":"Bob","age":25,"tags":[]},{"name":"Cy","age":36,"tags":["b"]}]"#;
    const VISIT: &str = r#"{"visit":{"id":"v1","visitor":{"name":"Ada","phone":null},"host":{"email":"h@x"},"from":"2026-11-23T09:00:00Z"},"n":[3,1,2],"s":"a,b;c","t":1700000000}"#;
    let cases: &[(&str, &[&str])] = &[
        (
            PEOPLE,
            &[
                "map(.name)",
                ".[] | select(.age > 30) | .name",
                "group_by(.age) | map(length)",
                "sort_by(.age, .name) | map(.name)",
                "map({(.name): .age}) | add",
                "[.[] | .tags[]] | unique",
                "map(.tags | length) | add / 3",
                "any(.age < 30), all(.age < 30)",
                "min_by(.age).name, max_by(.name).name",
                "map(select(.tags | index(\"b\"))) | length",
                "reduce .[] as {$name, age: $a} (\"\"; . + $name + ($a | tostring))",
                "[foreach .[] as $p (0; . + $p.age; [$p.name, .])]",
                "(.[] | select(.name == \"Bob\") | .age) |= . + 1",
                "map(del(.tags)) | .[0] | keys",
                "[paths] | length",
                "[.[] | to_entries[] | select(.value | type == \"string\") | .value]",
                "map(with_entries(select(.key != \"tags\")))",
                "first(.[] | select(.age == 36)).name, last(.[] | select(.age == 36)).name",
                "[limit(2; .[].name)]",
                "map(.age) | sort, reverse, min, max, unique",
                "map(has(\"age\")), map(.tags | contains([\"b\"]))",
                "[.[] as {tags: [$first]} | $first]",
                "[.[] | .tags | join(\"+\")]",
                "map(.missing // \"none\")",
                "[.[] | .tags[0]?]",
                "map(.name | ascii_downcase | explode | implode)",
                "[.[:2][] | .name], .[-1].name, .[1:][0].age",
                "label $f | .[] | if .age < 30 then ., break $f else .name end",
                "[.[] | try (if .age < 30 then error(\"young\") else .name end) catch .]",
                "def old: .age > 30; map(select(old) | .name)",
                "def f(g): map(g); f(.age * 2)",
                "[range(0; 10; 3)], [range(3)]",
                "map(.tags) | flatten, transpose",
                "[.[] | \"\\(.name) is \\(.age)\"]",
                "[.[] | [.name, .age] | @json]",
                ".[0] * {age: 1, x: {y: 2}}",
                "map(.age) | indices(36), index(36), rindex(36)",
                "[.. | numbers]",
                "to_entries | map(.key)",
                "tojson | fromjson == .",
                "walk(if type == \"array\" then reverse else . end) | .[0].name",
                "[.[] | .age as $a | .name as $n | {$a, $n}]",
                "map(.age % 7, .age / 2, -.age)",
                "isempty(.[] | select(.age > 99))",
                "[splits(\"x\")?]",
                "getpath([0, \"tags\", 1]), [paths(type == \"number\")]",
                "delpaths([[1, \"age\"]])",
                "setpath([0, \"name\"]; \"Z\") | .[0].name",
                "[until(length < 2; .[1:])[] | .name], [while(length > 0; .[1:]) | length]",
                "[recurse(if type == \"array\" then .[] else empty end) | type]",
                "map(.name) | join(\"/\"), inside([\"Ada\", \"Bob\", \"Cy\", \"Di\"])",
                "map(.name |= ascii_upcase) | map(.name)",
                ".[0].tags += [\"z\"] | .[0].tags, (.[0].age -= 1 | .[0].age)",
                "[.[] | select(.name | test(\"^[AB]\"))] | length",
            ],
        ),
        (
            VISIT,
            &[
                "\"Admit \" + .visit.visitor.name + \"?\"",
                "{visit: .visit.id, to: .visit.host.email}",
                ".visit.visitor.phone // .visit.host.email",
                "[.visit.id, .visit.from]",
                ".n | sort | .[0], .[-1]",
                ".s | split(\",\"), split(\";\"), length, ascii_upcase, startswith(\"a\"), endswith(\"c\"), ltrimstr(\"a\"), rtrimstr(\"c\")",
                ".s | [match(\"[a-z]\"; \"g\") | .offset]",
                ".s | sub(\",\"; \"-\"), gsub(\"[,;]\"; \" \"), [scan(\"[a-z]\")]",
                ".s | capture(\"(?<x>[a-z]),(?<y>[a-z])\")",
                ".visit.from | fromdate, (strptime(\"%Y-%m-%dT%H:%M:%SZ\") | mktime)",
                ".t | todate, (gmtime | mktime), strftime(\"%Y-%m-%d %H:%M:%S %j %a %b\")",
                ".visit.from[:10], .visit.from[11:16]",
                ".s | @base64, @uri, @html, @sh, @text, (@base64 | @base64d)",
                ".n | map(. * 2) | add, length, (.[0] == 6)",
                ".n as [$a, $b] | $a - $b, $a * $b, ($a < $b), ($a != $b)",
                ".n | (first, last, nth(1)), (.[1:] | length), add",
                ".visit | keys, has(\"id\"), (to_entries | length), (del(.id) | has(\"id\"))",
                ".visit | with_entries(.key |= \"k_\" + .) | keys",
                "if .n[0] > 2 then \"big\" elif .n[0] > 1 then \"mid\" else \"small\" end",
                "[.n[] | if . == 1 then empty else . end]",
                ".n | .[1] = 9, (.[] |= . + 1), del(.[0])",
                "[.n[] | tostring] | map(tonumber) == .n?",
                "(.n | floor)? // \"not a number\"",
                "[1.5, -1.5, 2.5] | map(floor), map(ceil), map(round), map(fabs)",
                "16 | sqrt, pow(.; 2), floor",
                "[.n[] | . as $x | [1, 2, 3] | map(. == $x) | any]",
                "[null, true, 1, \"a\", [1], {\"a\": 1}] | sort, map(type), map(tojson)",
                "[[1, [2]], [3]] | flatten, flatten(1), add",
                "[.[]?] | length",
                "\"x\" * 3, (\"a b\" / \" \")",
                "[splits(\"a\"; null)?]",
                ".s | trim, ltrim, rtrim, utf8bytelength",
                "reduce range(5) as $i (1; . * 2)",
                "[range(5)] | .[2:4] = [\"x\"] | length",
                "error(\"x\")? // 1",
                "try error({a: 1}) catch .a",
                "[limit(3; recurse(1; . + 1))]?",
                "first(range(10; 20)), [first(empty)]",
                "tojson | length > 10",
                "[paths] | map(join(\"/\")?) | length",
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (input, sources) in cases {
        for source in *sources {
            let (theirs, ours) = (jaq(source, input), ours(source, input));
            let same = match (&theirs, &ours) {
                (Ok(theirs), Ok(ours)) => theirs == ours,
                // Messages differ.
                (Err(_), Err(_)) => true,
                _ => false,
            };
            if !same {
                wrong.push(format!("{source}\n   jaq  {theirs:?}\n   ours {ours:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
