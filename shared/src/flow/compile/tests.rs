//! Documents and what is said about them: (place, code, part of the message or suggestion).

use super::super::{Diagnostic, check};
use crate::flow::plan::{AttributeMatch, Backoff, Call, Consume, DurationSpec, Plan, Schedule, Scope, TaskKind, Template, Then, Until};

/// A whole flow around some tasks; the tasks begin in line 2.
fn flow(tasks: &str) -> String {
    format!("do:\n{tasks}\ndocument: {{ dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }}\n")
}

fn plan(text: &str) -> Plan {
    match check(text) {
        Ok(checked) => checked.plan,
        Err(found) => panic!("{}\n{text}", list(&found)),
    }
}

fn list(found: &[Diagnostic]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Everything that is found, errors or warnings.
fn found(text: &str) -> Vec<Diagnostic> {
    match check(text) {
        Ok(checked) => checked.warnings,
        Err(found) => found,
    }
}

/// `at`: what stands where the finding must point, its last occurrence.
fn expect(text: &str, at: &str, code: &str, part: &str) {
    let place = text.rfind(at).unwrap_or_else(|| panic!("no {at} in {text}"));
    let before = &text[..place];
    let (line, column) = (before.matches('\n').count() as u32 + 1, before.chars().rev().take_while(|c| *c != '\n').count() as u32 + 1);
    let found = found(text);
    let hit = found.iter().any(|d| (d.line, d.column, &*d.code) == (line, column, code) && d.to_string().contains(part));
    assert!(hit, "wanted {line}:{column} {code} with `{part}` for\n{text}\ngot\n{}", list(&found));
}

#[test]
fn a_small_flow_compiles() {
    let plan =
        plan(&flow("  - hello: { set: { a: 1 } }\n  - note: { call: audit.note, with: { subject: x, text: '${ .a }' }, then: hello }"));
    assert_eq!(plan.key.to_string(), "test/sample:1.0.0");
    assert_eq!(plan.root, [0, 1]);
    assert_eq!(&*plan.task(1).reference, "/do/1/note");
    assert_eq!(plan.task(1).then, Then::Task(0));
    assert!(
        matches!(&plan.task(1).kind, TaskKind::Call(Call::Function { function, with: Template::Object(_) }) if &**function == "audit.note")
    );
    assert_eq!((plan.scope, plan.life_safety, plan.event_ttl_ms), (Scope::Mesh, false, 300_000));
}

#[test]
fn names_are_pinned_and_the_hash_is_of_what_is_deployed() {
    let checked = check(&flow("  - note: { call: audit.note, with: { subject: x, text: y } }")).unwrap();
    let call = crate::flow::document::find(&checked.document, "/do/0/note/call").unwrap();
    assert_eq!(call.as_str(), Some("audit.note:1.0.0@default"));
    let again = Plan::compile(&checked.document).unwrap();
    assert_eq!((again.hash, checked.plan.hash), (checked.hash.clone(), checked.hash));
}

#[test]
fn slips_are_found_where_they_stand() {
    for (tasks, at, code, part) in [
        ("  - a: { sett: { x: 1 } }", "a: { sett", "no-kind", "did you mean `set`?"),
        ("  - a: { set: { x: 1 }, thenn: end }", "thenn", "unknown-key", "did you mean `then`?"),
        ("  - a: { set: { x: 1 }, then: c }\n  - b: { set: { x: 1 } }", "c }", "missing-target", "no task `c`"),
        ("  - first: { set: { x: 1 }, then: secnd }\n  - second: { set: { x: 1 } }", "secnd", "missing-target", "did you mean `second`?"),
        ("  - a: { set: { x: 1 } }\n  - a: { set: { x: 1 } }", "a: { set: { x: 1 } }", "duplicate-name", "a second task `a`"),
        ("  - a: { set: { x: 1 }, wait: PT1S }", "a: {", "several-kinds", "both `set` and `wait`"),
        ("  - a: { do: [] }", "do: []", "empty", "`do` is empty"),
        ("  - a: 5", "5\n", "bad-type", "must be a mapping"),
        ("  - end: { set: { x: 1 } }", "end", "bad-name", "rename it"),
        ("  - { set: { x: 1 }, b: {} }", "{ set", "several-names", "one name"),
        ("  - a: { set: x }", "x }", "bad-value", "${ … }"),
        ("  - a: { wait: 5 }", "5 }", "bad-duration", "PT30S"),
        ("  - a: { wait: { minuts: 5 } }", "minuts", "unknown-key", "did you mean `minutes`?"),
        ("  - a: { wait: P1M }", "P1M", "bad-duration", "no duration"),
        ("  - a: { set: { x: 1 }, timeout: { after: { seconds: 0 } } }", "{ seconds", "bad-duration", "before it begins"),
        ("  - a: { set: { x: 1 }, timeout: slow }", "slow", "unknown-name", "no `slow` under `use.timeouts`"),
        ("  - a: { set: { x: 1 }, timeout: PT5S }", "PT5S", "bad-type", "after: PT5S"),
        ("  - a: { raise: { error: gone } }", "gone", "unknown-name", "use.errors"),
        ("  - a: { raise: { error: { type: x } } }", "error: {", "missing-key", "`status` is missing"),
        ("  - a: { try: [ { b: { set: { x: 1 } } } ], catch: { retry: often } }", "often", "unknown-name", "use.retries"),
        ("  - a: { try: [ { b: { set: { x: 1 } } } ] }", "a: {", "missing-key", "`catch` is missing"),
        ("  - a: { try: [ { b: { set: { x: 1 } } } ], catch: { retry: {} } }", "retry", "unbounded-retry", "10 attempts"),
        ("  - a: { for: { each: x, in: .list }, do: [ { b: { wait: PT1S } } ] }", "b: {", "blocking-in-for", "holds up"),
        (
            "  - a: { fork: { branches: [ { b: { set: { x: 1 }, then: c } }, { c: { set: { x: 1 } } } ] } }",
            "c }",
            "missing-target",
            "fork branch",
        ),
        ("  - a: { fork: { branches: [ { b: { set: { x: 1 } } } ], compete: yes } }", "yes", "bad-type", "`true` and `false`"),
        ("  - a: { switch: [ { x: { then: end } }, { y: { then: end } } ] }", "y: {", "duplicate-default", "`when`"),
        ("  - a: { switch: [ { x: { when: .a } } ] }", "x: {", "missing-key", "`then` is missing"),
        ("  - a: { for: { each: 1x, in: .l }, do: [ { b: { set: { x: 1 } } } ] }", "1x", "bad-value", "cannot be a variable"),
        ("  - a: { for: { each: context, in: .l }, do: [ { b: { set: { x: 1 } } } ] }", "context", "bad-value", "taken by the language"),
        ("  - a: { set: { x: 'a ${ .b } c' } }", "'a $", "not-evaluated", "one expression"),
        ("  - a: { set: { x: '${ }' } }", "'${", "bad-expression", "empty expression"),
        ("  - a: { emit: { event: { with: { source: x } } } }", "with: {", "missing-key", "`type` is missing"),
        ("  - a: { emit: { event: { with: { type: x, Subject: y } } } }", "Subject", "unknown-key", "did you mean `subject`?"),
        ("  - a: { listen: { to: { one: { with: { source: x } } } } }", "with: {", "filter-too-wide", "`type`"),
        ("  - a: { listen: { to: { one: { with: { type: x } }, any: [] } } }", "to:", "missing-key", "exactly one"),
        ("  - a: { listen: { to: { one: { with: { type: x } }, until: .x } } }", "until", "bad-value", "`any` only"),
        (
            "  - a: { listen: { to: { one: { with: { type: x, data: { id: '${ $context.id }' } } } } } }",
            "{ id",
            "bad-expression",
            "one expression",
        ),
    ] {
        expect(&flow(tasks), at, code, part);
    }
}

#[test]
fn functions_and_their_arguments_are_checked() {
    for (task, at, code, part) in [
        ("call: device.comand", "device.comand", "unknown-function", "did you mean `device.command`?"),
        ("call: device.command:2.0.0@default", "device.command", "unknown-function", "newest is 1.0.0"),
        ("call: device.command:1.0.0@acme", "device.command", "unknown-function", "remote catalogs are refused"),
        ("call: credential.issueQr", "credential", "unknown-function", "`credential.issue`"),
        ("call: audit.note", "a: {", "bad-argument", "`subject` is missing"),
        ("call: audit.note, with: { subject: a, txt: b }", "txt", "bad-argument", "did you mean `text`?"),
        ("call: audit.note, with: { subject: 7, text: b }", "7", "bad-argument", "must be string, is number"),
        ("call: human.approval, with: { to: reception, question: '${ .q }', choices: [ a ] }", "reception", "bad-argument", "(user|role)"),
        (
            "call: human.task, with: { to: 'role:a', title: t, form: { verified: bool } }",
            "verified",
            "bad-schema",
            "unknown schema keyword",
        ),
        ("call: access.grant, with: { credential: '${ .c }', until: '${ .u }' }", "{ credential", "bad-argument", "`area` is missing"),
        (
            "call: access.grant, with: { credential: '${ .c }', until: tomorrow, area: a }",
            "tomorrow",
            "bad-argument",
            "2026-11-23T09:00:00Z",
        ),
        ("call: device.command, with: { target: hq, command: open }", "hq", "bad-argument", "must match"),
        ("call: device.command, with: { target: '${ .t }', command: open, ack: { mode: any } }", "any", "bad-argument", "\"one\", \"all\""),
        ("call: http, with: { method: get }", "with", "missing-key", "`endpoint` is missing"),
        ("call: http, with: { method: fetch, endpoint: 'http://x' }", "fetch", "bad-value", "cannot be"),
        ("call: http, with: { method: get, endpoint: 'ftp://x' }", "'ftp", "bad-value", "no http address"),
        (
            "call: http, with: { method: get, endpoint: { uri: 'http://x', authentication: { use: erp } } }",
            "erp",
            "unknown-name",
            "use.authentications",
        ),
        (
            "call: http, with: { method: get, endpoint: { uri: 'http://x', authentication: { oauth2: {} } } }",
            "oauth2",
            "refused",
            "not carried",
        ),
        (
            "call: http, with: { method: get, endpoint: { uri: 'http://x', authentication: { bearer: { use: erp } } } }",
            "erp",
            "unknown-name",
            "not declared",
        ),
    ] {
        expect(&flow(&format!("  - a: {{ {task} }}")), at, code, part);
    }
}

#[test]
fn what_the_profile_leaves_out_is_refused_with_a_reason() {
    for (tasks, part) in [
        ("  - a: { run: { shell: { command: ls } } }", "run programs on every gateway"),
        ("  - a: { run: { script: { language: js, code: x } } }", "run programs on every gateway"),
        ("  - a: { run: { container: { image: x } } }", "run programs on every gateway"),
        ("  - a: { call: grpc, with: {} }", "gRPC is not carried"),
        ("  - a: { call: openapi, with: {} }", "not fetched"),
        ("  - a: { call: asyncapi, with: {} }", "not fetched"),
        ("  - a: { call: a2a, with: {} }", "agent protocols"),
        ("  - a: { call: mcp, with: {} }", "agent protocols"),
        ("  - a: { call: 'https://example.com/f.yaml' }", "building is cut off"),
        ("  - a: { set: { x: 1 }, input: { schema: { resource: { endpoint: 'https://x' } } } }", "remote schemas"),
        ("  - a: { set: { x: 1 } }\nevaluate: { language: javascript }", "only `jq`"),
        ("  - a: { set: { x: 1 } }\nevaluate: { mode: loose }", "only `strict`"),
        ("  - a: { set: { x: 1 } }\nuse: { catalogs: { more: { endpoint: 'https://x' } } }", "remote catalogs"),
    ] {
        let text = flow(tasks);
        let found = found(&text);
        let hit = found.iter().find(|d| &*d.code == "refused").unwrap_or_else(|| panic!("{text}{}", list(&found)));
        assert!(hit.line > 0 && hit.to_string().contains(part), "{hit}");
    }
}

#[test]
fn the_documents_own_keys_are_checked() {
    for (text, code, part) in [
        ("do: [ { a: { set: { x: 1 } } } ]", "missing-key", "`document` is missing"),
        ("document: { dsl: '1.0.3', namespace: n, name: m, version: '1.0.0' }", "missing-key", "`do` is missing"),
        ("document: { dsl: '0.8', namespace: n, name: m, version: '1.0.0' }\ndo: [ { a: { wait: PT1S } } ]", "refused", "1.0.3"),
        ("document: { dsl: '1.0.3', namespace: N, name: m, version: '1.0.0' }\ndo: [ { a: { wait: PT1S } } ]", "bad-value", "lower case"),
        ("document: { dsl: '1.0.3', namespace: n, name: m, version: 1.0 }\ndo: [ { a: { wait: PT1S } } ]", "bad-type", "in quotes"),
        ("document: { dsl: '1.0.3', namespace: n, name: m, version: v1 }\ndo: [ { a: { wait: PT1S } } ]", "bad-value", "semantic"),
        ("dokument: {}\ndo: [ { a: { wait: PT1S } } ]", "unknown-key", "did you mean `document`?"),
    ] {
        let found = found(text);
        assert!(found.iter().any(|d| &*d.code == code && d.to_string().contains(part)), "{text}\n{}", list(&found));
    }
    let base = "do: [ { a: { wait: PT1S } } ]\ndocument:\n  dsl: '1.0.3'\n  namespace: n\n  name: m\n  version: '1.0.0'\n";
    for (more, at, code, part) in [
        ("  metadata: { spalla/scop: site }", "spalla", "unknown-key", "did you mean `spalla/scope`?"),
        ("  metadata: { spalla/scope: building }", "building", "bad-value", "mesh, site"),
        ("  metadata: { spalla/event-ttl: P7D }", "P7D", "bad-value", "a day"),
        ("schedule: { cron: '99 * * * *' }", "'99", "bad-value", "cron"),
        ("schedule: { every: PT0.1S }", "PT0.1S", "bad-duration", "once a second"),
        ("schedule: { every: PT5S, cron: '* * * * *' }", "schedule", "bad-value", "exactly one"),
        ("timeout: { after: never }", "never", "bad-duration", "no duration"),
        ("use: { secrets: [ a ], authentications: { x: { bearer: { use: b } } } }", "b }", "unknown-name", "not declared"),
        ("use: { functions: { http: { call: audit.note } } }", "http", "bad-name", "already"),
        ("use: { functions: { f: { call: audit.note, with: { txt: a } } } }", "txt", "bad-argument", "did you mean `text`?"),
        ("use: { functions: { f: { set: { x: 1 }, then: end } } }", "then", "refused", "nothing stands beside a function"),
        ("use: { functions: { f: { call: g }, g: { wait: PT1S } } }", "g }, g", "bad-value", "cannot call another one"),
        ("use: { functions: { f: [ 1 ] } }", "[ 1 ]", "bad-type", "must be a task"),
        ("use: { functions: { f: { with: { a: 1 } } } }", "f:", "no-kind", "does not say what to do"),
        ("use: { retries: { r: { limit: { attempt: { count: 0 } } } } }", "0 }", "bad-value", "from 1"),
        ("use: { extensions: [ { e: { extend: cal, before: [ { b: { wait: PT1S } } ] } } ] }", "cal,", "bad-value", "did you mean `call`?"),
        ("input: { schema: { document: { typ: object } } }", "typ:", "bad-schema", "did you mean `type`?"),
    ] {
        expect(&format!("{base}{more}\n"), at, code, part);
    }
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_lines() {
    let found = found(&flow("  - a: { cal: x }\n  - b: { set: { x: 1 }, then: zz }\n  - c: { call: nothing.here }"));
    assert_eq!(found.iter().map(|d| d.line).collect::<Vec<_>>(), [2, 3, 4], "{}", list(&found));
}

#[test]
fn broken_jq_is_found_inside_the_text() {
    for (tasks, at, part) in [
        ("  - a: { if: '.x ==', set: { y: 1 } }", "', set", ""),
        ("  - a: { set: '${ .x | foo }' }", "foo", "foo"),
        ("  - a: { set: { y: \"${ .x + $contxt.z }\" } }", "$contxt", "did you mean `$context`?"),
        ("  - a:\n      set: >-\n        ${\n          .x + $nobody }", "$nobody", "not known here"),
        ("  - a: { set: '${ $secrets.token }' }", "$secrets", "into the log"),
        ("  - a: { set: '${ now }' }", "now", "now"),
        (
            "  - a: { set: '${ $item }' }\n  - b: { for: { in: .l }, do: [ { c: { set: '${ $item }' } } ] }",
            "$item }' }\n",
            "not known here",
        ),
        (
            "  - a: { try: [ { b: { set: { x: 1 } } } ], catch: { as: e, do: [ { c: { set: '${ $error }' } } ] } }",
            "$error",
            "not known here",
        ),
        ("  - a: { set: '${ .a } and ${ .b }' }", "} and", "join parts"),
    ] {
        let text = flow(tasks);
        let place = text.rfind(at).unwrap();
        let before = &text[..place];
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() as u32 + 1;
        let found = found(&text);
        let hit = found.iter().any(|d| d.is_error() && d.line == line && d.column.abs_diff(column) <= 2 && d.to_string().contains(part));
        assert!(hit, "wanted {line}:{column} `{part}` for\n{text}\ngot\n{}", list(&found));
    }
    let variables = flow("  - a: { wait: PT1S }") + "schedule: { on: { one: { with: { type: x, data: '${ .a == $context.b }' } } } }\n";
    assert!(found(&variables).iter().any(|d| d.is_error() && d.message.contains("before there is an instance")));
}

#[test]
fn names_under_use_are_resolved() {
    let text = flow(
        "  - a: { call: tell, with: { who: .x }, timeout: short }\n  - b: { try: [ { c: { raise: { error: gone } } } ], catch: { retry: few } }",
    ) + "use:\n  functions: { tell: { call: notify.send, with: { to: 'role:x', template: t, data: { y: 2 } }, output: { as: .delivered } } }\n\
           \n  timeouts: { short: { after: PT3S } }\n  errors: { gone: { type: 'https://x/gone', status: 410 } }\n\
           \n  retries: { few: { delay: PT2S, backoff: { linear: {} }, limit: { attempt: { count: 3 } } } }\n";
    let plan = plan(&text);
    assert!(matches!(plan.task(0).timeout, Some(DurationSpec::Millis(3_000))));
    let TaskKind::Call(Call::Function { function, with: Template::Literal(with) }) = &plan.task(0).kind else { panic!() };
    assert_eq!((&**function, with.to_json().as_str()), ("notify.send", r#"{"data":{"y":2},"template":"t","to":"role:x"}"#));
    let called = plan.task(0).function.as_ref().unwrap();
    assert!(&*called.name == "tell" && called.arguments.is_some() && called.output.as_.is_some());
    let TaskKind::Try(trying) = &plan.task(1).kind else { panic!() };
    let retry = trying.catch.retry.as_ref().unwrap();
    assert_eq!((retry.backoff, retry.attempt_count_max), (Backoff::Linear { increment_ms: 2_000 }, Some(3)));
    assert!(
        matches!(&plan.task(trying.body[0]).kind, TaskKind::Raise(error) if matches!(&error.status, Template::Literal(status) if status.as_i64() == Some(410)))
    );
}

#[test]
fn what_is_wrong_with_a_function_is_told_where_it_stands_and_once() {
    let text = flow("  - a: { call: f, with: { x: 1 } }\n  - b: { call: f }\n  - c: { call: f, with: [ 1 ] }")
        + "use: { functions: { f: { call: audit.note, with: { txt: a } } } }\n";
    let found = found(&text);
    let places: Vec<_> = found.iter().map(|found| (found.line, &*found.code)).collect();
    assert_eq!(places, [(4, "bad-type"), (6, "bad-argument"), (6, "bad-argument"), (6, "bad-argument")], "{}", list(&found));
    // A variable that only some callers have is told at the others.
    let text = flow("  - a: { for: { each: x, in: .l }, do: [ { b: { call: f } } ] }\n  - c: { call: f }")
        + "use: { functions: { f: { set: { y: '${ $x }' } } } }\n";
    let found = self::found(&text);
    assert_eq!(found.iter().map(|found| (found.line, &*found.code)).collect::<Vec<_>>(), [(3, "unknown-variable")], "{}", list(&found));
}

#[test]
fn functions_written_out_many_times_have_a_bound() {
    let big = "x".repeat(100_000);
    let calls: String = (0..20).map(|n| format!("  - t{n}: {{ call: f }}\n")).collect();
    let text = flow(&calls) + &format!("use: {{ functions: {{ f: {{ set: {{ x: {big} }} }} }} }}\n");
    expect(&text, "f }\n  - t11", "too-large", "run: { workflow");
}

#[test]
fn events_compile_to_filters() {
    let text = flow(
        "  - a:\n      listen: { to: { any: [ { with: { type: x, source: '${ \"here\" }', data: '${ .kg > 3 }' } } ], until: .done } }\n\
                     \n      foreach: { item: e, do: [ { b: { set: '${ $e }' } } ] }",
    ) + "schedule: { on: { all: [ { with: { type: y } } ] } }\n";
    let plan = plan(&text);
    let TaskKind::Listen(listen) = &plan.task(0).kind else { panic!() };
    let Consume::Any { filters, until: Some(Until::Condition(_)) } = &listen.to else { panic!() };
    let kinds: Vec<_> = filters[0].with.iter().map(|(name, wanted)| (&**name, matches!(wanted, AttributeMatch::Equal(_)))).collect();
    assert_eq!(kinds, [("data", false), ("source", true), ("type", true)]);
    assert!(matches!(&plan.schedule, Some(Schedule::On(Consume::All(all))) if all.len() == 1));
    assert_eq!(&*listen.foreach.as_ref().unwrap().item, "e");
}

#[test]
fn what_a_correlation_expects_is_a_constant_or_an_expression() {
    let expected = |expect: &str| {
        let plan = plan(&flow(&format!(
            "  - a: {{ listen: {{ to: {{ one: {{ with: {{ type: x }}, correlate: {{ k: {{ from: .data.k, expect: {expect} }} }} }} }} }} }}"
        )));
        let TaskKind::Listen(listen) = &plan.task(0).kind else { panic!() };
        let Consume::One(filter) = &listen.to else { panic!() };
        filter.correlate[0].expect.as_ref().expect("something is expected").source().to_owned()
    };
    assert_eq!(expected("gold"), "\"gold\"");
    assert_eq!(expected("gold card"), "\"gold card\"");
    assert_eq!(expected("7"), "7");
    assert_eq!(expected("$context.card"), "$context.card");
    assert_eq!(expected("'${ .card }'"), ".card");
}

#[test]
fn a_life_safety_flow_may_not_wait_inside_a_loop() {
    let tasks = "  - a: { for: { in: .list }, do: [ { b: { call: device.command, with: { target: a/b, command: c } } } ] }";
    assert!(check(&flow(tasks)).is_ok_and(|checked| checked.warnings.len() == 1));
    let strict = flow(tasks).replace("version: '1.0.0'", "version: '1.0.0', metadata: { spalla/priority: life-safety }");
    let found = check(&strict).unwrap_err();
    assert!(found[0].is_error() && &*found[0].code == "blocking-in-for");
}

#[test]
fn a_skipped_task_gives_nothing_to_read() {
    let tasks = "  - a:\n      fork: { branches: [ { park: { if: .car, call: resource.allocate, with: { pool: p } } } ] }\n      output: { as: '{ spot: .[0].unit }' }";
    expect(&flow(tasks), "'{ spot", "skipped-output", "`.unit` comes from `park`");
    assert!(found(&flow(&tasks.replace(".unit", ".unit // null"))).is_empty());
    assert!(found(&flow(&tasks.replace("if: .car, ", ""))).is_empty());
}

#[test]
fn hostile_documents_are_refused_in_bounded_time() {
    let many = flow(&(0..3_000).map(|n| format!("  - t{n}: {{ set: {{ x: 1 }} }}\n")).collect::<String>());
    expect(&many, "do:", "too-large", "2000 tasks");
    let nested = "  - a: ".to_owned() + &"{ do: [ { a: ".repeat(60) + "5" + &" } ] }".repeat(60);
    assert!(found(&flow(&nested)).iter().all(Diagnostic::is_error));
    let wide = flow(&(0..2_000).map(|n| format!("  - t{n}: {{ nothing: 1 }}\n")).collect::<String>());
    assert_eq!(found(&wide).len(), 200);
}
