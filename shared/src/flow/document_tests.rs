use super::*;

fn value(text: &str) -> String {
    read(text).map_or_else(|found| found[0].to_string(), |located| located.value.to_json())
}

#[test]
fn yaml_1_2_scalars_mean_what_they_say() {
    for (text, json) in [
        ("a: on", r#"{"a":"on"}"#),
        ("a: yes", r#"{"a":"yes"}"#),
        ("on: no", r#"{"on":"no"}"#),
        ("a: [true, False, null, ~, ]", r#"{"a":[true,false,null,null]}"#),
        ("a: '1'", r#"{"a":"1"}"#),
        ("a: 1.0", r#"{"a":1}"#),
        ("a: 1.0.0", r#"{"a":"1.0.0"}"#),
        ("a: 2026-11-23", r#"{"a":"2026-11-23"}"#),
        ("a: 0x1f", r#"{"a":31}"#),
        ("a: 012", r#"{"a":12}"#),
        ("a: +7", r#"{"a":7}"#),
        ("a: -1.5e2", r#"{"a":-150}"#),
        ("a: 12:30", r#"{"a":"12:30"}"#),
        ("a: - b", "1:4: error[bad-yaml]"),
        ("a:", r#"{"a":null}"#),
        ("a: !!str 5", r#"{"a":"5"}"#),
        ("a: |\n  x\n  y\n", r#"{"a":"x\ny\n"}"#),
        ("a: &x { b: 1 }\nc: *x", r#"{"a":{"b":1},"c":{"b":1}}"#),
    ] {
        let got = value(text);
        assert!(got == json || got.starts_with(json), "{text}: {got}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (text, place, code) in [
        ("a: 1\nb: 2\na: 3", (3, 1), "duplicate-key"),
        ("a: .inf", (1, 4), "bad-number"),
        ("a: 99999999999999999999", (1, 4), "bad-number"),
        ("? [a]\n: b", (1, 3), "bad-key"),
        ("a: !secret x", (1, 12), "bad-tag"),
        ("a: *nowhere", (1, 4), "bad-yaml"),
        ("a: &x [ *x ]", (1, 9), "bad-alias"),
        ("a: b: c", (1, 5), "bad-yaml"),
        ("a: {", (1, 4), "bad-yaml"),
        ("", (1, 1), "empty-file"),
        ("a: 1\n---\nb: 2", (3, 1), "several-documents"),
    ] {
        let found = read(text).expect_err(text);
        assert_eq!(((found[0].line, found[0].column), &*found[0].code), (place, code), "{text}: {}", found[0]);
    }
}

#[test]
fn hostile_text_is_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{below}]\n");
    }
    assert_eq!(&*read(&bomb).unwrap_err()[0].code, "too-large");
    for deep in ["[".repeat(100_000), "{a: ".repeat(10_000), "- ".repeat(5_000)] {
        assert!(read(&deep).is_err());
    }
    assert_eq!(&*read(&"x".repeat(TEXT_LEN_MAX + 1)).unwrap_err()[0].code, "too-large");
    assert_eq!(&*read(&"- x\n".repeat(NODE_COUNT_MAX + 1)).unwrap_err()[0].code, "too-large");
    // Nesting through aliases counts as nesting.
    let mut tower = String::from("a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n");
    for level in 1..20 {
        tower += &format!("a{level}: &a{level} [[[[[[[[[[*a{}]]]]]]]]]]\n", level - 1);
    }
    assert_eq!(&*read(&tower).unwrap_err()[0].code, "too-deep");
}

#[test]
fn a_character_inside_a_string_is_found_whatever_the_quoting() {
    for (text, characters, place) in [
        ("a: ab cd", 3, (1, 7)),
        ("a: 'ab cd'", 3, (1, 8)),
        ("a: \"a\\\"b cd\"", 4, (1, 10)),
        ("a: |\n  ab\n  cd\n", 3, (3, 3)),
        ("a: >-\n  ab\n  cd\n", 4, (3, 4)),
        ("a: ab\n  cd", 3, (2, 3)),
        ("a: 'é ü'", 2, (1, 7)),
        ("a: ''", 0, (1, 4)),
    ] {
        let located = read(text).unwrap();
        let found = located.locate(Diagnostic::error("x", "/a", "x").inside(characters));
        assert_eq!((found.line, found.column), place, "{text}");
    }
}

#[test]
fn what_has_no_place_of_its_own_points_above() {
    let located = read("a:\n  b: [ 1, 2 ]\n").unwrap();
    assert_eq!(located.position("/a/b/1"), (2, 11));
    assert_eq!(located.position("/a/b/7"), (2, 3));
    assert_eq!(located.position("/zz"), (1, 1));
}

#[test]
fn documents_are_told_apart() {
    let all = read_all("# head\n---\na: 1\n---\n---\na: 2\n").unwrap();
    assert_eq!(all.iter().map(|located| located.position("/a")).collect::<Vec<_>>(), [(3, 4), (6, 4)]);
}

/// A key that stands twice used to hide every other mistake of the file.
#[test]
fn a_key_that_stands_twice_hides_nothing_else() {
    let text = "do:\n  - a: { set: { x: 1, x: { y: 2, y: 3 } } }\n  - b: { waitt: PT1S }\ndo: [ 5 ]\ndocument: { dsl: '1.0.3', namespace: t, name: x, version: '1.0.0' }\n";
    let found = crate::flow::check(text).unwrap_err();
    let places: Vec<_> = found.iter().map(|one| (one.line, one.column, &*one.code)).collect();
    assert_eq!(places, [(2, 23, "duplicate-key"), (2, 34, "duplicate-key"), (3, 5, "no-kind"), (4, 1, "duplicate-key")], "{found:#?}");
    let pool = crate::resource::read("kind: pool\nname: p\nname: q\nunits: []\n").unwrap_err();
    assert_eq!((pool[0].line, &*pool[0].code), (3, "duplicate-key"));
}
