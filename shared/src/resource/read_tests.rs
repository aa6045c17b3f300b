use super::*;
use crate::flow::Diagnostic;

fn list(found: &[Diagnostic]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shapes_are_schemas_that_we_know() {
    assert_eq!(SCHEMAS.keys().map(|kind| &**kind).collect::<Vec<_>>(), KINDS);
    for schema in SCHEMAS.values() {
        assert_eq!(schema::check(schema), Ok(()));
    }
}

#[test]
fn one_file_holds_many_kinds() {
    let text = "kind: pool\nname: docks\nunits: [ { name: D1, attributes: { covered: true } } ]\n---\n\
                kind: device\nid: hq/door-1\nprofile: lock\ngroups: [ hq/doors ]\n---\n\
                kind: person\nid: anna@example.com\nroles: [ guard ]\n---\n\
                kind: area\nname: main\ndoors: [ hq/door-1 ]\n---\n\
                kind: client\nname: board\nsubscribe: [ 'spalla/v1/hq/+/state/#', 'group:lobby', '$SYS/#' ]\ncommands: [ hq/sign ]\n---\n\
                document: { dsl: '1.0.3', namespace: n, name: m, version: '1.0.0' }\ndo: [ { a: { call: audit.note, with: { subject: a, text: b } } } ]\n";
    let titles: Vec<String> = read(text).unwrap_or_else(|found| panic!("{}", list(&found))).iter().map(|r| r.title().1).collect();
    assert_eq!(titles, ["docks", "hq/door-1", "anna@example.com", "main", "board", "n/m:1.0.0"]);
}

#[test]
fn mistakes_are_told_with_place_and_mend() {
    let profile =
        |rest: &str| format!("kind: profile\nname: p\nversion: 1\ncapabilities:\n  - id: c\n    type: lock\n    fail_mode: secure\n{rest}");
    for (text, line, code, part) in [
        ("kind: devise\nid: hq/x".into(), 1, "bad-value", "did you mean `device`?"),
        ("name: x".into(), 1, "missing-key", "`kind` is missing"),
        ("kind: device\nid: hq/x\nprofil: y".into(), 3, "unknown-key", "did you mean `profile`?"),
        ("kind: device\nid: hq-x\nprofile: y".into(), 2, "bad-value", "must match"),
        ("kind: device\nid: hq/x\nprofile: y\npassword_hash: secret".into(), 4, "bad-value", "argon2"),
        ("kind: pool\nname: p\nunits:\n  - name: a\n  - name: a".into(), 5, "duplicate-name", "unit `a`"),
        ("kind: pool\nname: p\nunits: []".into(), 3, "bad-value", "at least 1"),
        ("kind: area\nname: a\n---\nkind: area\nname: b\ndoors: [ hq/d ]\n".into(), 1, "missing-key", "`doors` is missing"),
        ("kind: person\nid: a\n---\nkind: person\nid: a\n".into(), 4, "duplicate-name", "first in line 1"),
        ("- 1".into(), 1, "bad-type", "not array"),
        ("# nothing\n".into(), 1, "empty-file", "declares nothing"),
        (profile("").replace("    fail_mode: secure\n", ""), 5, "unsafe-profile", "fail_mode"),
        (profile("    commands:\n      open: { class: opening, ack: done }\n"), 9, "unsafe-profile", "no bound"),
        (
            profile("    commands:\n      open: { class: opening, ack: done, bound: { device: { pulse_ms: 5 } }, expiry_ms: 60000 }\n"),
            9,
            "unsafe-profile",
            "10,000 ms",
        ),
        (
            profile("    commands:\n      open: { class: opening, ack: done, bound: { mode: { ended_by: close } } }\n"),
            9,
            "unknown-name",
            "no command `close`",
        ),
        (profile("    commands:\n      toggle: { class: neutral, ack: none }\n"), 9, "unsafe-profile", "toggle"),
        (profile("    commands:\n      lock: { class: securing }\n"), 9, "missing-key", "`ack` is missing"),
        (
            profile("    commands:\n      lock: { class: securing, ack: done, confirm: { property: x, becomes: 1, within_ms: 5 } }\n"),
            9,
            "unknown-name",
            "property `x`",
        ),
        ("kind: client\nname: A b".into(), 2, "bad-value", "must match"),
        ("kind: client\nname: a\nsubscribe: [ 'x/#/y' ]".into(), 3, "bad-value", "# last"),
        ("kind: client\nname: a\nsubscribe:\n  - $share/g/x".into(), 4, "bad-value", "leave `$share/…/` out"),
        ("kind: client\nname: a\npublish: [ spalla/v1/hq/x/command ]".into(), 3, "bad-value", "`commands` name devices"),
        ("kind: client\nname: a\ncommands: [ door ]".into(), 3, "bad-value", "must match"),
        ("document: { dsl: '1.0.3', namespace: n, name: m, version: '1.0.0' }\ndo: []\n".into(), 2, "empty", "`do` is empty"),
    ] as [(String, u32, &str, &str); 24]
    {
        let found = read(&text).expect_err(&text);
        let hit = found.iter().any(|d| (d.line, &*d.code) == (line, code) && d.to_string().contains(part));
        assert!(hit, "wanted {line} {code} `{part}` for\n{text}\ngot\n{}", list(&found));
    }
}
