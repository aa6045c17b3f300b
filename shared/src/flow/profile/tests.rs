//! The schema against documents, by a validator that is not ours.

use crate::flow::document;
use serde_json::Value;
use std::sync::LazyLock;

static VALIDATOR: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::draft7::new(&super::schema().expect("a schema")).expect("a sound schema"));

fn data(text: &str) -> Value {
    (&document::read(text).unwrap_or_else(|found| panic!("{found:?}\n{text}")).value).into()
}
fn flow(tasks: &str) -> String {
    format!("do:\n{tasks}\ndocument: {{ dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }}\n")
}
fn errors(text: &str) -> Vec<String> {
    VALIDATOR.iter_errors(&data(text)).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn it_is_a_draft_7_schema_with_every_function() {
    let schema = super::schema().expect("a schema");
    assert!(jsonschema::meta::is_valid(&schema));
    for function in crate::flow::catalog::functions() {
        let name = format!("with.{}", function.name);
        assert!(schema["definitions"][&name]["description"].is_string(), "{name}");
    }
    let text = schema.to_string();
    assert!(!text.contains("__"), "a placeholder was left");
    // Every reference leads somewhere.
    for part in text.split("#/definitions/").skip(1) {
        let name = part.split('"').next().expect("a name");
        assert!(schema["definitions"].get(name).is_some(), "{name}");
    }
}

#[test]
fn every_key_is_described() {
    let schema = super::schema().expect("a schema");
    for (name, property) in schema["definitions"]["task"]["properties"].as_object().expect("properties") {
        let target = property["$ref"].as_str().map(|path| &schema["definitions"][path.trim_start_matches("#/definitions/")]);
        assert!(target.unwrap_or(property)["description"].is_string(), "{name}");
    }
}

/// Our own flows, and those that the compiler's tests take as good.
#[test]
fn good_documents_are_valid() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/flows");
    for entry in std::fs::read_dir(folder).expect("flows") {
        let path = entry.expect("a file").path();
        let found = errors(&std::fs::read_to_string(&path).expect("text"));
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
    }
    for tasks in [
        "  - hello: { set: { a: 1 } }\n  - note: { call: audit.note, with: { subject: x, text: '${ .a }' }, then: hello }",
        "  - a: { call: tell, with: { data: { x: 1 } }, timeout: short }",
        "  - a: { for: { in: .list, at: n }, while: $n < 3, do: [ { b: { call: device.command, with: { target: a/b, command: c } } } ] }",
        "  - a: { for: { each: x, in: '${ .list }' }, do: [ { b: { wait: PT1S } } ] }",
        "  - a: { fork: { branches: [ { park: { if: .car, call: resource.allocate, with: { pool: p } } } ] }, output: { as: '{ s: .[0] }' } }",
        "  - a:\n      listen: { to: { any: [ { with: { type: x, source: '${ \"here\" }', data: '${ .kg > 3 }' } } ], until: .done } }\n      foreach: { item: e, do: [ { b: { set: '${ $e }' } } ] }",
        "  - a: { listen: { to: { any: [ { with: { type: x } } ], until: { one: { with: { type: y } } } } } }",
        "  - a: { try: [ { b: { raise: { error: gone } } } ], catch: { errors: { with: { status: 410 } }, retry: { backoff: { linear: {} }, limit: { attempt: { count: 3 } } } } }",
        "  - a: { wait: '${ \"PT\" + .s }' }\n  - b: { wait: { minutes: 5, seconds: 2 } }\n  - c: { wait: P1DT12H0.5S }",
        "  - a: { switch: [ { x: { when: true, then: end } }, { y: { then: exit } } ] }",
        "  - a: { call: http, with: { method: GET, endpoint: 'http://x/{id}', query: '${ . }', output: response } }",
        "  - a: { call: 'access.grant:1.0.0@default', with: { credential: '${ .c }', doors: [ '${ .d }', hq/x ] } }",
        "  - a: { call: access.grant, with: '${ . }' }",
        "  - a: { call: resource.releaseAll }",
        "  - a: { call: device.command, with: { target: a/b, command: open, ack: { mode: one, within: '${ .w }' }, expires: PT5S } }",
        "  - a: { run: { workflow: { namespace: t, name: n, version: latest }, await: false } }",
        "  - a: { emit: { event: { with: { type: x, data: { y: 1 }, traceid: z } } } }",
        "  - a: { do: [ { b: { set: '${ . }', export: { as: { k: '${ . }' } } } } ], if: .x, metadata: { who: me } }",
    ] {
        let found = errors(&flow(tasks));
        assert!(found.is_empty(), "{tasks}: {found:#?}");
        let known = crate::flow::check(&flow(tasks)).err().unwrap_or_default();
        let slips = known.iter().filter(|one| one.is_error() && &*one.code != "unknown-name" && &*one.code != "unknown-function");
        assert_eq!(slips.count(), 0, "{tasks}: {known:#?}");
    }
    let whole = flow("  - a: { wait: PT1S }")
        + "use:\n  functions: { tell: { call: notify.send, with: { to: 'role:x', template: t }, output: { as: .delivered } }, hi: { set: { a: 1 } } }
  timeouts: { short: { after: PT3S } }
  secrets: [ erp ]
  authentications: { erp: { bearer: { use: erp } }, old: { basic: { username: a, password: '${ .p }' } } }
  extensions: [ { log: { extend: all, when: '${ true }', before: [ { b: { wait: PT1S } } ] } } ]
schedule: { cron: '0 6 * * 1-5' }
timeout: { after: { hours: 1 } }
evaluate: { language: jq }
";
    assert!(errors(&whole).is_empty(), "{:#?}", errors(&whole));
}

#[test]
fn bad_documents_are_not() {
    let base = "document: { dsl: '1.0.3', namespace: n, name: m, version: '1.0.0' }\n";
    let tasks = "do: [ { a: { wait: PT1S } } ]\n";
    let mut bad: Vec<String> = [
        "  - a: { sett: { x: 1 } }",
        "  - a: { set: { x: 1 }, thenn: end }",
        "  - a: { set: { x: 1 }, wait: PT1S }",
        "  - a: { do: [] }",
        "  - a: 5",
        "  - end: { set: { x: 1 } }",
        "  - { a: { wait: PT1S }, b: { wait: PT1S } }",
        "  - a: { set: x }",
        "  - a: { wait: 5 }",
        "  - a: { wait: { minuts: 5 } }",
        "  - a: { wait: P1M }",
        "  - a: { raise: { error: { type: x } } }",
        "  - a: { try: [ { b: { set: { x: 1 } } } ] }",
        "  - a: { fork: { branches: [ { b: { set: { x: 1 } } } ], compete: yes } }",
        "  - a: { switch: [ { x: { when: .a } } ] }",
        "  - a: { for: { each: 1x, in: .l }, do: [ { b: { set: { x: 1 } } } ] }",
        "  - a: { for: { each: context, in: .l }, do: [ { b: { set: { x: 1 } } } ] }",
        "  - a: { for: { in: .l } }",
        "  - a: { emit: { event: { with: { source: x } } } }",
        "  - a: { emit: { event: { with: { type: x, Subject: y } } } }",
        "  - a: { listen: { to: { one: { with: { type: x } }, any: [] } } }",
        "  - a: { listen: { to: { one: { with: { type: x } }, until: .x } } }",
        "  - a: { wait: PT1S, foreach: { do: [ { b: { wait: PT1S } } ] } }",
        "  - a: { call: audit.note }",
        "  - a: { call: audit.note, with: { subject: a, txt: b } }",
        "  - a: { call: audit.note, with: { subject: 7, text: b } }",
        "  - a: { call: human.approval, with: { to: reception, question: '${ .q }' } }",
        "  - a: { call: 'human.approval:1.0.0@default', with: { to: 'role:x' } }",
        "  - a: { call: access.grant, with: { credential: c } }",
        "  - a: { call: device.command, with: { target: hq, command: open } }",
        "  - a: { call: device.command, with: { target: '${ .t }', command: open, ack: { mode: any } } }",
        "  - a: { call: http, with: { method: get } }",
        "  - a: { call: http, with: { method: fetch, endpoint: 'http://x' } }",
        "  - a: { call: http, with: { method: get, endpoint: 'ftp://x' } }",
        "  - a: { call: http, with: { method: get, endpoint: { uri: 'http://x', authentication: { oauth2: {} } } } }",
        "  - a: { call: grpc, with: {} }",
        "  - a: { call: openapi, with: {} }",
        "  - a: { call: 'https://example.com/f.yaml' }",
        "  - a: { run: { shell: { command: ls } } }",
        "  - a: { run: { script: { language: js, code: x } } }",
        "  - a: { run: { container: { image: x } } }",
        "  - a: { set: { x: 1 }, input: { schema: { resource: { endpoint: 'https://x' } } } }",
        "  - a: { try: [ { b: { wait: PT1S } } ], catch: { retry: { limit: { attempt: { count: 0 } } } } }",
        "  - a: { do: [ { b: { do: [ { c: { do: [ { d: { wat: PT1S } } ] } } ] } } ] }",
    ]
    .iter()
    .map(|tasks| flow(tasks))
    .collect();
    bad.extend(
        [
            tasks.to_owned(),
            base.to_owned(),
            format!("{base}{tasks}evaluate: {{ language: javascript }}"),
            format!("{base}{tasks}evaluate: {{ mode: loose }}"),
            format!("{base}{tasks}use: {{ catalogs: {{ more: {{ endpoint: 'https://x' }} }} }}"),
            format!("{base}{tasks}schedule: {{ every: PT5S, cron: '* * * * *' }}"),
            format!("{base}{tasks}timeout: {{ after: never }}"),
            format!("{base}{tasks}use: {{ functions: {{ f: {{ call: audit.note, with: {{ txt: a }} }} }} }}"),
            format!("{base}{tasks}use: {{ functions: {{ f: {{ set: {{ a: 1 }}, then: end }} }} }}"),
            format!("{base}{tasks}use: {{ extensions: [ {{ e: {{ extend: cal, before: [ {{ b: {{ wait: PT1S }} }} ] }} }} ] }}"),
            format!("{base}{tasks}shedule: {{ every: PT5S }}"),
            format!("{}{tasks}", base.replace("'1.0.3'", "'0.8'")),
            format!("{}{tasks}", base.replace("namespace: n", "namespace: N")),
            format!("{}{tasks}", base.replace("'1.0.0'", "1.0")),
            format!("{}{tasks}", base.replace("'1.0.0' }", "'1.0.0', metadata: { spalla/scop: site } }")),
            format!("{}{tasks}", base.replace("'1.0.0' }", "'1.0.0', metadata: { spalla/scope: building } }")),
        ]
        .map(|text| text.trim_end().to_owned() + "\n"),
    );
    for text in bad {
        assert!(!errors(&text).is_empty(), "the schema takes\n{text}");
        assert!(crate::flow::check(&text).is_err(), "the check takes\n{text}");
    }
}

/// Nested tasks are looked at once: twice at each of thirty levels would never end.
#[test]
fn deep_flows_are_validated_in_time() {
    let deep = flow(&format!("  - a: {}{{ wait: PT1S }}{}", "{ do: [ { a: ".repeat(30), " } ] }".repeat(30)));
    assert!(errors(&deep).is_empty(), "{:#?}", errors(&deep));
    assert!(!errors(&deep.replace("wait: PT1S", "wait: 1")).is_empty());
}
