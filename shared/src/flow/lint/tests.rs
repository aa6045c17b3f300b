//! Documents with a trap, and where the warning must stand: (line, column, code).

use super::super::check;

/// Tasks begin in line 2, two blanks in.
fn found(tasks: &str) -> Vec<(u32, u32, String)> {
    let text = format!("do:\n{tasks}\ndocument: {{ dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }}\n");
    match check(&text) {
        Ok(checked) => checked.warnings.iter().map(|one| (one.line, one.column, one.code.to_string())).collect(),
        Err(found) => panic!("{found:#?}\n{text}"),
    }
}

const LISTEN: &str = "listen: { to: { one: { with: { type: x } } } }";

#[test]
fn each_trap_is_found_where_it_stands() {
    let listen = LISTEN;
    // Each: tasks, then what stands where the warning must point (its last occurrence) and the code; nothing for no warning.
    for (tasks, at, code) in [
        ("  - a: { wait: PT1S, then: end }\n  - b: { wait: PT1S }\n  - c: { wait: PT1S }".to_owned(), "b:", "unreachable-task"),
        ("  - a: { wait: PT1S, then: c }\n  - b: { wait: PT1S }\n  - c: { wait: PT1S }".to_owned(), "b:", "unreachable-task"),
        ("  - a: { if: .x, wait: PT1S, then: end }\n  - b: { wait: PT1S }".to_owned(), "", ""),
        ("  - a: { raise: { error: { type: x, status: 400 } } }\n  - b: { wait: PT1S }".to_owned(), "b:", "unreachable-task"),
        ("  - a: { switch: [ { x: { when: .x, then: exit } } ] }\n  - b: { wait: PT1S }".to_owned(), "", ""),
        ("  - a: { switch: [ { x: { then: exit } } ] }\n  - b: { wait: PT1S }".to_owned(), "b:", "unreachable-task"),
        ("  - a: { do: [ { i: { wait: PT1S, then: exit } }, { j: { wait: PT1S } } ] }".to_owned(), "j:", "unreachable-task"),
        (format!("  - a: {{ {listen} }}"), "a:", "endless-listen"),
        (format!("  - a: {{ {listen}, timeout: {{ after: PT1H }} }}"), "", ""),
        (format!("  - a: {{ timeout: {{ after: PT1H }}, do: [ {{ b: {{ {listen} }} }} ] }}"), "", ""),
        (format!("  - a: {{ do: [ {{ b: {{ {listen} }} }} ] }}"), "b:", "endless-listen"),
        (format!("  - a: {{ fork: {{ compete: true, branches: [ {{ b: {{ {listen} }} }}, {{ c: {{ wait: PT1H }} }} ] }} }}"), "", ""),
        (format!("  - a: {{ fork: {{ branches: [ {{ b: {{ {listen} }} }}, {{ c: {{ wait: PT1H }} }} ] }} }}"), "b:", "endless-listen"),
        ("  - a: { try: [ { b: { wait: PT1S } } ], catch: {} }".to_owned(), "catch:", "swallowed-error"),
        (
            "  - a: { if: .car, call: resource.allocate, with: { pool: p } }\n  - b: { set: { at: '${ .unit }' } }".to_owned(),
            "'${ .unit",
            "skipped-output",
        ),
        (
            "  - a: { if: .car, call: resource.allocate, with: { pool: p } }\n  - b: { set: { at: '${ .unit // 0 }', x: '${ $context.unit }' } }"
                .to_owned(),
            "",
            "",
        ),
        ("  - a: { if: .car, set: { spot: 1 } }\n  - b: { if: .spot == 1, wait: PT1S }".to_owned(), ".spot", "skipped-output"),
        ("  - a: { do: [ { b: { if: .x, set: { spot: 1 } } } ], export: { as: '{ s: .spot }' } }".to_owned(), "'{ s", "skipped-output"),
    ] {
        let mut wanted = Vec::new();
        if !code.is_empty() {
            let before = &tasks[..tasks.rfind(at).unwrap()];
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            wanted.push((before.matches('\n').count() as u32 + 2, column as u32, code.to_owned()));
        }
        assert_eq!(found(&tasks), wanted, "{tasks}");
    }
}

#[test]
fn what_nothing_refers_to_is_named() {
    let text = "do:\n  - a: { wait: PT1S, timeout: short }\ntimeout: long\ndocument: { dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }
use:
  secrets: [ erp, old ]
  timeouts: { short: { after: PT1M }, long: { after: PT1H }, never: { after: PT1H } }
  retries:
    few: { limit: { attempt: { count: 3 } } }
  authentications: { unused: { bearer: { use: erp } } }
";
    let warnings = check(text).unwrap().warnings;
    let places: Vec<_> = warnings.iter().map(|one| (one.line, one.column, &*one.code)).collect();
    let code = "unused-definition";
    assert_eq!(places, [(6, 19, code), (7, 62, code), (9, 5, code), (10, 22, code)], "{warnings:#?}");
}
