//! Examples in the manner of jq's manual: expression, input, outputs.

use super::{run, value};

fn check(table: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (source, input, expected) in table {
        let found = run(source, &value(input));
        if found != *expected {
            wrong.push(format!("{source}\n   on {input}\n   gave     {found}\n   expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn basics() {
    check(&[
        (".", "{\"a\":1}", "{\"a\":1}"),
        (".a.b", "{\"a\":{\"b\":2}}", "2"),
        (".a[\"b\"]", "{\"a\":{\"b\":2}}", "2"),
        (".\"a b\"", "{\"a b\":2}", "2"),
        (".a?", "[]", ""),
        (".[0], .[-1], .[9]", "[1,2,3]", "1 3 null"),
        (".[1:], .[:1], .[-2:], .[1.2:2.5]", "[1,2,3]", "[2,3] [1] [2,3] [2,3]"),
        (".[2:4]", "\"aébcd\"", "\"bc\""),
        (".[]", "{\"b\":1,\"a\":2}", "2 1"),
        ("[.[] | . * 2]", "[1,2]", "[2,4]"),
        ("1, 2 | . + 1", "null", "2 3"),
        ("{a, \"b\", c: 1 + 1, (\"d\"): .a, \"e\\(1)\": 5, $x}", "{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2,\"c\":2,\"d\":1,\"e1\":5,\"x\":7}"),
        ("{a: 1 | 2, b: 3}", "null", "{\"a\":2,\"b\":3}"),
        ("{(\"a\",\"b\"): 1}", "null", "{\"a\":1} {\"b\":1}"),
        ("{if: 1, and: 2} | .if, .and", "null", "1 2"),
        ("$x, $name", "null", "7 \"Ada\""),
        ("$missing", "null", "!$missing is not defined"),
        ("\"Hi \\($name), \\(1 + 1)!\"", "null", "\"Hi Ada, 2!\""),
        ("\"\\(1,2)-\\(3,4)\"", "null", "\"1-3\" \"2-3\" \"1-4\" \"2-4\""),
        ("\"\\u00e9\\ud83d\\ude00\\n\"", "null", "\"é😀\\n\""),
        ("..", "[[1]]", "[[1]] [1] 1"),
        ("[..] | length", "{\"a\":[1,{\"b\":2}]}", "5"),
        ("1 # a comment\n + 2", "null", "3"),
        ("-1, -(.), -.", "2", "-1 -2 -2"),
        (".a as $v | $v + 1", "{\"a\":1}", "2"),
        ("[.[] as [$a, {b: $c}] | $a + $c]", "[[1,{\"b\":2}],[3,{\"b\":4}]]", "[3,7]"),
        (". as {$a, b: [$c], (\"d\"): $e, \"f\": $g} | [$a,$c,$e,$g]", "{\"a\":1,\"b\":[2],\"d\":3,\"f\":4}", "[1,2,3,4]"),
        (". as {$a: [$b]} | [$a, $b]", "{\"a\":[1]}", "[[1],1]"),
        (".[] as [$a] ?// $a | [$a]", "[[1],2]", "[1] [2]"),
        (".[] as [$a] ?// {a: $b} | [$a, $b]", "[[1],{\"a\":2}]", "[1,null] [null,2]"),
        ("[[.[]|[.a,.a]]|.[] as [$a,$b] | $a+$b]", "[{\"a\":1}]", "[2]"),
        ("$__loc__.line", "null", "1"),
        ("1 as $x | 2 as $y | [$x, $y, $x]", "null", "[1,2,1]"),
        ("1 + . as $q | $q", "3", "4"),
    ]);
}

#[test]
fn operators() {
    check(&[
        ("1 + 2 * 3 - 4 / 2", "null", "5"),
        ("10 / 4, 7 % 3, -7 % 3, 5 % -3, 7.9 % 2", "null", "2.5 1 -1 2 1"),
        ("1 / 0", "null", "!number (1) and number (0) cannot be divided because the divisor is zero"),
        ("1 % 0", "null", "!number (1) and number (0) cannot be divided because the divisor is zero"),
        ("9007199254740993 + 0, 9223372036854775807 + 1, 1.0, 1e3, -0.0", "null", "9007199254740993 9.223372036854776e+18 1 1000 0"),
        ("1e308 * 10", "null", "!the result is not a finite number"),
        ("[(1,2) + (10,20)]", "null", "[11,12,21,22]"),
        ("\"a\" + \"b\", [1] + [2], {a:1} + {b:2}, null + 1", "null", "\"ab\" [1,2] {\"a\":1,\"b\":2} 1"),
        ("{a:{b:1}} * {a:{c:2}}", "null", "{\"a\":{\"b\":1,\"c\":2}}"),
        ("[1,2,3,1] - [1]", "null", "[2,3]"),
        ("\"ab\" * 3, \"x\" * 0, \"a,b\" / \",\"", "null", "\"ababab\" null [\"a\",\"b\"]"),
        ("{} + 1", "null", "!object ({}) and number (1) cannot be added"),
        ("1 == 1.0, [1] == [1], {} != [], 1 < \"a\", null < false", "null", "true true true true true"),
        ("true and (true, false), false or false, (null | not)", "null", "true false false true"),
        (".a // 1, (false, null, 3) // 4, empty // 5, error(\"x\") // 6", "{}", "1 3 5 6"),
        ("[.[] // 9]", "[null,1,false,2]", "[1,2]"),
        ("first(.[]) // \"none\"", "[]", "\"none\""),
        ("if . > 1 then \"big\" elif . == 1 then \"one\" else \"small\" end", "1", "\"one\""),
        ("if . then 1 end", "false", "false"),
        ("if (true, false) then 1 else 2 end", "null", "1 2"),
        ("1 < 2 < 3", "null", "syntax: these operators do not chain; use parentheses (line 1, column 7)"),
        (
            ".a += 1 | .b -= 1 | .c *= 2 | .d /= 2 | .e //= 7",
            "{\"a\":1,\"b\":2,\"c\":3,\"d\":4}",
            "{\"a\":2,\"b\":1,\"c\":6,\"d\":2,\"e\":7}",
        ),
        (".a = (1, 2)", "{}", "{\"a\":1} {\"a\":2}"),
        (".[] |= . + 1", "[1,2]", "[2,3]"),
        (".a.b.c = 1", "null", "{\"a\":{\"b\":{\"c\":1}}}"),
        (".[2] = 1", "null", "[null,null,1]"),
        (".[1:3] = [9]", "[1,2,3,4]", "[1,9,4]"),
        (".[1:] |= map(. * 10)", "[1,2,3]", "[1,20,30]"),
        ("(.a, .b) = 1", "{}", "{\"a\":1,\"b\":1}"),
        ("(.[] | select(. >= 2)) |= empty", "[1,5,3,0,7]", "[1,0]"),
        (".. |= (if type == \"number\" then . + 1 else . end)", "[1,[2]]", "[2,[3]]"),
        ("(.a | .b) |= 5, (if .a then .a else .c end) = 1", "{\"a\":{\"b\":1}}", "{\"a\":{\"b\":5}} {\"a\":1}"),
        (".a[1:2].b = 1", "{\"a\":[1,2]}", "!Cannot index array with \"b\""),
        (".[70000] = 1", "[]", "!Array index too large"),
        (".[-1] = 1", "[]", "!Out of bounds negative array index"),
        ("(1 + 1) = 5", "null", "!Invalid path expression with result 2"),
        ("(first(.[] | select(. > 1))) |= 0", "[1,2,3]", "[1,0,3]"),
        ("limit(1; .[]) = 9", "[1,2]", "[9,2]"),
        (".[] += 1", "{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":3}"),
        ("getpath([\"a\",0]) |= 3", "{}", "{\"a\":[3]}"),
    ]);
}

#[test]
fn control() {
    check(&[
        ("reduce .[] as $n (0; . + $n)", "[1,2,3]", "6"),
        ("reduce .[] as [$a, $b] (0; . + $a * $b)", "[[1,2],[3,4]]", "14"),
        ("reduce range(3) as $i (0; empty)", "null", "null"),
        ("[foreach .[] as $n (0; . + $n)]", "[1,2,3]", "[1,3,6]"),
        ("[foreach .[] as $n (0; . + $n; [$n, .])]", "[1,2]", "[[1,1],[2,3]]"),
        ("[foreach range(5) as $i (null; $i; select(. % 2 == 0))]", "null", "[0,2,4]"),
        ("try error(\"x\") catch .", "null", "\"x\""),
        ("try error({a:1}) catch .a", "null", "1"),
        ("[.[] | try if . == 2 then error(\"no\") else . end catch \"caught\"]", "[1,2,3]", "[1,\"caught\",3]"),
        ("[.[] | (1 / .)?]", "[1,0,2]", "[1,0.5]"),
        ("try (1, error(\"a\"), 2) catch \"c\"", "null", "1 \"c\""),
        ("(try 1 catch 2) | error(\"later\")", "null", "!later"),
        ("try ((try 1 catch 2) | error(\"later\")) catch .", "null", "\"later\""),
        ("(1 // 2) | error(\"later\")", "null", "!later"),
        ("error", "{\"a\":1}", "!{\"a\":1}"),
        ("error(null)", "1", "!null"),
        ("[label $out | 1, break $out, 2]", "null", "[1]"),
        ("[label $f | range(10) | ., (select(. == 3) | break $f)]", "null", "[0,1,2,3]"),
        ("[label $a | label $b | 1, break $a, 2]", "null", "[1]"),
        ("try (break $x) catch 1", "null", "syntax: there is no label `$x` around this (line 1, column 12)"),
        ("def f: . + 1; def g: f | f; 3 | g", "null", "5"),
        ("def f(x): x * 2; f(. + 1)", "3", "8"),
        ("def f($a; $b): [$a, $b, a]; f(1, 2; 3)", "null", "[1,3,1,2] [2,3,1,2]"),
        ("def f(g): def h: g; h | h; 2 | f(. * 3)", "null", "18"),
        ("def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; [range(6) | fac]", "null", "[1,1,2,6,24,120]"),
        ("def f: def g: 3; g; f, (def g: 4; g)", "null", "3 4"),
        ("def f(x): x as $v | def g(y): y + $v; g(x); f(5)", "null", "10"),
        ("def f: 1; def f: 2; f", "null", "2"),
        ("def f(a; b): a + b; def f(a): a; f(1), f(1; 2)", "null", "1 3"),
        ("[limit(3; range(100))], [limit(0; 1, 2)], [first(range(5; 10))], [skip(2; 1, 2, 3)]", "null", "[0,1,2] [] [5] [3]"),
        ("[range(3)], [range(2; 4)], [range(0; 10; 3)], [range(5; 0; -2)], [range(0; 1; 0)]", "null", "[0,1,2] [2,3] [0,3,6,9] [5,3,1] []"),
        ("[1 | until(. > 100; . * 2)], [1 | while(. < 10; . * 2)]", "null", "[128] [1,2,4,8]"),
        ("[2 | recurse(if . < 20 then . * . else empty end)], [2 | recurse(. * .; . < 100)]", "null", "[2,4,16,256] [2,4,16]"),
        ("[recurse | numbers]", "[1,[2,{\"a\":3}]]", "[1,2,3]"),
        ("isempty(empty), isempty(1, error(\"x\")), isempty(error(\"x\"))", "null", "true false !x"),
        ("any, all, any(. > 2), all(. > 0), any(.[]; . == 2), ([] | any, all)", "[1,2,3]", "true true true true true false true"),
        ("first, last, nth(1), first(.[]), last(.[]), nth(2; .[]), [nth(9; .[])]", "[1,2,3]", "1 3 2 1 3 3 []"),
    ]);
}

#[test]
fn values_and_paths() {
    check(&[
        ("length", "\"aé😀\"", "3"),
        ("[.[] | length]", "[null,-3,\"ab\",[1],{\"a\":1}]", "[0,3,2,1,1]"),
        ("true | length", "null", "!boolean (true) has no length"),
        ("keys, (.a | keys)", "{\"b\":1,\"a\":[4,5]}", "[\"a\",\"b\"] [0,1]"),
        ("map(. + 1), map_values(. + 1)", "[1,2]", "[2,3] [2,3]"),
        ("map_values(empty)", "{\"a\":1}", "{}"),
        ("map(has(0))", "[[1],[]]", "[true,false]"),
        ("has(\"a\"), has(\"c\")", "{\"a\":null}", "true false"),
        ("\"a\" | in({a:1})", "null", "true"),
        (
            "contains(\"bar\"), contains([\"x\"])",
            "\"foobar\"",
            "true !string (\"foobar\") and array ([\"x\"]) cannot have their containment checked",
        ),
        ("contains({a:[1,{b:2}]}), inside({a:[1,{b:2},3],c:4})", "{\"a\":[1,{\"b\":2}]}", "true true"),
        ("add, add(.[] * 2)", "[1,2,3]", "6 12"),
        ("add", "[\"a\",\"b\",null,\"c\"]", "\"abc\""),
        (
            "add, ([[1],[2],null] | add), ([{a:1},{b:2}] | add), ([] | add), ([[1],\"a\"] | add)",
            "[1,null]",
            "1 [1,2] {\"a\":1,\"b\":2} null !array ([1]) and string (\"a\") cannot be added",
        ),
        (
            "to_entries, with_entries(.value += 1)",
            "{\"a\":1,\"b\":2}",
            "[{\"key\":\"a\",\"value\":1},{\"key\":\"b\",\"value\":2}] {\"a\":2,\"b\":3}",
        ),
        (
            "from_entries",
            "[{\"name\":\"a\",\"value\":false},{\"k\":1,\"v\":2},{\"key\":null},{\"key\":false}]",
            "{\"1\":2,\"a\":false,\"false\":null,\"null\":null}",
        ),
        (
            "sort, (map({a: .}) | sort_by(.a) | map(.a))",
            "[3,\"a\",null,[1],{},true,1.5,false]",
            "[null,false,true,1.5,3,\"a\",[1],{}] [null,false,true,1.5,3,\"a\",[1],{}]",
        ),
        (
            "sort_by(.a, .b)",
            "[{\"a\":2,\"b\":1},{\"a\":1,\"b\":2},{\"a\":1,\"b\":1}]",
            "[{\"a\":1,\"b\":1},{\"a\":1,\"b\":2},{\"a\":2,\"b\":1}]",
        ),
        ("group_by(.a)", "[{\"a\":2},{\"a\":1},{\"a\":2}]", "[[{\"a\":1}],[{\"a\":2},{\"a\":2}]]"),
        ("unique, unique_by(length)", "[\"b\",\"aa\",\"b\",\"a\"]", "[\"a\",\"aa\",\"b\"] [\"b\",\"aa\"]"),
        ("min, max, min_by(-.), max_by(-.), ([] | min)", "[2,1,3]", "1 3 3 1 null"),
        ("flatten, flatten(1)", "[1,[2,[3]]]", "[1,2,3] [1,2,[3]]"),
        ("flatten(-1)", "[]", "!flatten depth must not be negative"),
        ("reverse, (\"abc\" | reverse), (null | reverse)", "[1,2]", "[2,1] \"cba\" []"),
        ("transpose", "[[1,2],[3]]", "[[1,3],[2,null]]"),
        ("indices(2), index(2), rindex(2), indices([2,3])", "[1,2,3,2]", "[1,3] 1 3 [1]"),
        ("indices(\"é\"), index(\"é\"), indices(\"\")", "\"aéaé\"", "[1,3] 1 null"),
        ("paths", "{\"a\":[1]}", "[\"a\"] [\"a\",0]"),
        ("[paths(type == \"number\")], [leaf_paths]", "{\"a\":[1]}", "[[\"a\",0]] [[\"a\",0]]"),
        ("path(.a[0].b?), path(..)", "{\"a\":1}", "[] [\"a\"]"),
        ("[path(.a[].b?)], [path(.[\"a\",\"b\"])]", "{\"a\":[{\"b\":1}]}", "[[\"a\",0,\"b\"]] [[\"a\"],[\"b\"]]"),
        (
            "getpath([\"a\",\"b\"]), getpath([\"x\",\"y\"]), setpath([\"a\",\"b\"]; 9), delpaths([[\"a\"],[\"c\"]])",
            "{\"a\":{\"b\":1},\"c\":2}",
            "1 null {\"a\":{\"b\":9},\"c\":2} {}",
        ),
        ("del(.a), del(.[\"b\"]), del(.a, .b), del(.z.y)", "{\"a\":1,\"b\":2}", "{\"b\":2} {\"a\":1} {} {\"a\":1,\"b\":2}"),
        ("del(.[1]), del(.[0, 2]), del(.[1:]), del(.[] | select(. > 1)), del(.[-1])", "[1,2,3]", "[1,3] [2] [1] [1] [1,2]"),
        ("del(.a[0].b, .a[1])", "{\"a\":[{\"b\":1,\"c\":2},3]}", "{\"a\":[{\"c\":2}]}"),
        ("pick(.a, .b.c), pick(.x)", "{\"a\":1,\"b\":{\"c\":2,\"d\":3}}", "{\"a\":1,\"b\":{\"c\":2}} {\"x\":null}"),
        (
            "walk(if type == \"number\" then . + 1 else . end), walk(if type == \"array\" then sort else . end)",
            "[3,[2,1]]",
            "[4,[3,2]] [3,[1,2]]",
        ),
        ("[walk(numbers |= . * 2)]", "{\"a\":[1,2]}", "[{\"a\":[2,4]}]"),
        ("select(.a), [.b | values]", "{\"a\":1,\"b\":null}", "{\"a\":1,\"b\":null} []"),
        ("[.[] | scalars], [.[] | iterables]", "[1,[2],\"a\"]", "[1,\"a\"] [[2]]"),
        ("type, (1, \"a\", null, true, [], {} | type)", "{}", "\"object\" \"number\" \"string\" \"null\" \"boolean\" \"array\" \"object\""),
        ("tostring, tojson, (\"a\" | tostring, tojson)", "[1,\"a\"]", "\"[1,\\\"a\\\"]\" \"[1,\\\"a\\\"]\" \"a\" \"\\\"a\\\"\""),
        (
            "tonumber, (\"1.5e1\", \" 1\" | try tonumber catch \"bad\"), (\"nan\" | try tonumber catch \"bad\")",
            "\"12\"",
            "12 15 \"bad\" \"bad\"",
        ),
        ("fromjson", "\"{\\\"a\\\":[1,2]}\"", "{\"a\":[1,2]}"),
        ("fromjson", "\"{\"", "!string (\"{\") cannot be parsed as JSON"),
        ("toboolean, toarray", "\"true\"", "true [\"true\"]"),
        ("floor, ceil, round, trunc, fabs, sqrt", "2.25", "2 3 2 2 2.25 1.5"),
        ("(-2.5 | round, trunc, floor, abs), pow(2; 10), pow(2; -1), pow(10; 30)", "null", "-3 -2 -3 2.5 1024 0.5 1e+30"),
        ("sqrt", "-1", "!the result is not a finite number"),
        ("IN(1, 2), IN(.; 5), ([{id:1}] | INDEX(.id))", "1", "true false {\"1\":{\"id\":1}}"),
        ("bsearch(2), bsearch(0), bsearch(9)", "[1,2,3]", "1 -1 -4"),
    ]);
}

#[test]
fn text_and_time() {
    check(&[
        ("split(\",\"), split(\"\"), split(\", *\"; null)", "\"a, b\"", "[\"a\",\" b\"] [\"a\",\",\",\" \",\"b\"] [\"a\",\"b\"]"),
        ("join(\"-\"), ([] | join(\",\")), ([\"a\",1,null,true] | join(\" \"))", "[\"a\",\"b\"]", "\"a-b\" \"\" \"a 1  true\""),
        ("ascii_downcase, ascii_upcase", "\"aBÉ\"", "\"abÉ\" \"ABÉ\""),
        ("trim, ltrim, rtrim, ltrimstr(\" \"), rtrimstr(\" \"), trimstr(\" \")", "\" a \"", "\"a\" \"a \" \" a\" \"a \" \" a\" \"a\""),
        ("ltrimstr(1), startswith(\"a\"), endswith(\"b\")", "\"ab\"", "\"ab\" true true"),
        ("explode, (explode | implode), utf8bytelength", "\"aé\"", "[97,233] \"aé\" 3"),
        ("@base64, (@base64 | @base64d)", "\"héllo\"", "\"aMOpbGxv\" \"héllo\""),
        (
            "@base64, @uri, @html, @json, @text, @sh",
            "\"a 'b'<&\"",
            "\"YSAnYic8Jg==\" \"a%20%27b%27%3C%26\" \"a &#39;b&#39;&lt;&amp;\" \"\\\"a 'b'<&\\\"\" \"a 'b'<&\" \"'a '\\\\''b'\\\\''<&'\"",
        ),
        ("@csv, @tsv, @sh", "[1,\"a\\\"b\",null,true]", "\"1,\\\"a\\\"\\\"b\\\",,true\" \"1\\ta\\\"b\\t\\ttrue\" \"1 'a\\\"b' null true\""),
        ("@uri \"q=\\(.)&x\", @json \"v=\\([1])\"", "\"a b\"", "\"q=a%20b&x\" \"v=[1]\""),
        ("\"!!\" | @base64d", "null", "!string (\"!!\") is not valid base64 data"),
        ("test(\"^f\"), test(\"O\"; \"i\"), test([\"O\", \"i\"]), test(\"z\")", "\"foo\"", "true true true false"),
        (
            "match(\"(?<v>o+)(x)?\")",
            "\"éfoo\"",
            "{\"captures\":[{\"length\":2,\"name\":\"v\",\"offset\":2,\"string\":\"oo\"},{\"length\":0,\"name\":null,\"offset\":-1,\"string\":null}],\"length\":2,\"offset\":2,\"string\":\"oo\"}",
        ),
        ("[match(\"a\"; \"g\").offset], [match(\"\"; \"g\").offset]", "\"aba\"", "[0,2] [0,1,2,3]"),
        ("capture(\"(?<y>\\\\d+)-(?<m>\\\\d+)\")", "\"2026-11\"", "{\"m\":\"11\",\"y\":\"2026\"}"),
        ("[scan(\"\\\\w+\")], [scan(\"(a)(b)?\")], [splits(\", *\")]", "\"ab, c\"", "[\"ab\",\"c\"] [[\"a\",\"b\"]] [\"ab\",\"c\"]"),
        (
            "sub(\"a\"; \"x\"), gsub(\"a\"; \"x\"), gsub(\"(?<c>[ab])\"; \"<\\(.c)>\"), [gsub(\"a\"; \"1\", \"2\")], gsub(\"\"; \"-\")",
            "\"aba\"",
            "\"xba\" \"xbx\" \"<a><b><a>\" [\"1b1\",\"2b2\"] \"-a-b-a-\"",
        ),
        ("sub(\"z\"; \"x\"), gsub(\"A\"; \"x\"; \"i\")", "\"aé\"", "\"aé\" \"xé\""),
        ("test(\"(\")", "\"a\"", "!( is not a valid regular expression"),
        ("test(\"a\"; \"q\")", "\"a\"", "!q is not a valid modifier string"),
        (
            "todate, (gmtime | mktime), strftime(\"%A, %B %d, %Y %j %U %V %e %I%p\")",
            "1425599621",
            "\"2015-03-05T23:53:41Z\" 1425599621 \"Thursday, March 05, 2015 064 09 10  5 11PM\"",
        ),
        ("gmtime", "1425599621.25", "[2015,2,5,23,53,41.25,4,63]"),
        ("fromdate", "\"2015-03-05T23:51:47Z\"", "1425599507"),
        ("fromdate", "\"2015-03-06T01:51:47.500+02:00\"", "1425599507.5"),
        (
            "strptime(\"%Y-%m-%dT%H:%M:%SZ\"), (strptime(\"%Y-%m-%dT%H:%M:%SZ\") | mktime)",
            "\"2015-03-05T23:51:47Z\"",
            "[2015,2,5,23,51,47,4,63] 1425599507",
        ),
        ("strptime(\"%d %b %Y %I:%M %p %z\") | mktime", "\"05 Mar 2015 11:51 PM +0100\"", "1425595860"),
        ("strptime(\"%Y\")", "\"x\"", "!date \"x\" does not match format \"%Y\""),
        ("strftime(\"%c %s\")", "[2024,1,29,0,0,0]", "\"Thu Feb 29 00:00:00 2024 1709164800\""),
        ("1e18 | todate", "null", "!the time is out of range"),
        ("-62135596800, -86400, 253402300799 | todate", "null", "\"1-01-01T00:00:00Z\" \"1969-12-31T00:00:00Z\" \"9999-12-31T23:59:59Z\""),
    ]);
}
