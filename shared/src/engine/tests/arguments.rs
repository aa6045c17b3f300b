//! Runtime arguments: each with the fields that the specification gives it, in the places where it has them.

use super::harness::{Bench, json, named};
use crate::engine::effect::{HttpAuthentication, Request};
use crate::value::Value;

#[test]
fn the_task_and_the_flow_describe_themselves() {
    let mut bench = Bench::flow(
        r"
input: { from: '${ { n: (.number + 1), raw: $workflow.input.number, definition: $workflow.definition.document.name, at: $workflow.startedAt.epoch.milliseconds } }' }
do:
  - look:
      input: { from: '${ .n }' }
      set: { task: '${ $task }', workflow: '${ $workflow }', runtime: '${ $runtime }', input: '${ $input }' }
      output: { as: '${ . + { rawOutput: ($task.output | keys) } }' }
      export: { as: '${ { output: ($output | keys), raw: ($task.output | keys), input: $input } }' }
output: { as: '${ . + { context: $context } }' }
",
    );
    let id = bench.start(r#"{"number": 4}"#);
    let seen = json(&bench.completed(&id));
    let at = |path: &str| -> String {
        let found = path.split('.').try_fold(&seen, |value, key| value.get(key));
        found.unwrap_or_else(|| panic!("no {path} in {seen}")).to_json()
    };
    for (path, expected) in [
        ("input", "5"),
        // As it came to the task, before `input.from`.
        ("task.input.n", "5"),
        ("task.input.raw", "4"),
        ("task.name", "\"look\""),
        ("task.reference", "\"/do/0/look\""),
        ("task.definition.input.from", "\"${ .n }\""),
        ("task.startedAt.iso8601", "\"2026-11-23T09:00:00.000Z\""),
        ("task.startedAt.epoch.seconds", "1795424400"),
        ("task.startedAt.epoch.milliseconds", "1795424400000"),
        ("task.input.at", "1795424400000"),
        ("task.input.definition", "\"flow\""),
        ("workflow.input", r#"{"number":4}"#),
        ("workflow.definition.document.name", "\"flow\""),
        ("workflow.startedAt.iso8601", "\"2026-11-23T09:00:00.000Z\""),
        ("runtime.name", "\"spalla\""),
        ("runtime.metadata", "{}"),
        ("rawOutput", r#"["input","runtime","task","workflow"]"#),
        ("context.raw", r#"["input","runtime","task","workflow"]"#),
        ("context.output", r#"["input","rawOutput","runtime","task","workflow"]"#),
        ("context.input", "5"),
    ] {
        assert_eq!(at(path), expected, "{path}");
    }
    assert_eq!(at("workflow.id"), format!("\"{id}\""));
    assert!(at("runtime.version").contains("semantics-"));
    assert!(seen.get("task").unwrap().get("output").is_none(), "there is none before it ended");
}

#[test]
fn authorization_is_described_and_a_secret_stays_a_name() {
    let flow = r"
use:
  secrets: [ erp ]
  authentications: { erp: { bearer: { use: erp } } }
do:
  - hidden:
      call: http
      with: { method: get, endpoint: { uri: 'http://localhost/x', authentication: { use: erp } } }
      output: { as: '${ $authorization }' }
  - plain:
      call: http
      with: { method: get, endpoint: { uri: 'http://localhost/x', authentication: { basic: { username: ada, password: '${ .scheme }' } } } }
      export: { as: '${ { by: $authorization, before: $input } }' }
  - none: { set: '${ { context: $context, now: $authorization } }' }
";
    let mut bench = Bench::flow(flow);
    let id = bench.start("{}");
    let authentication = |bench: &Bench| match &bench.state.effects[&bench.effect()].request {
        Request::Http(request) => request.authentication.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(authentication(&bench), Some(HttpAuthentication::BearerSecret("erp".into())));
    bench.answer_ok(bench.effect(), "{}");
    let expected = HttpAuthentication::Basic { username: "ada".into(), password: "Bearer".into() };
    assert_eq!(authentication(&bench), Some(expected));
    bench.answer_ok(bench.effect(), "{}");
    let seen = json(&bench.completed(&id));
    assert_eq!(seen.get("now"), Some(&Value::Null));
    let context = seen.get("context").unwrap().to_json();
    assert_eq!(context, r#"{"before":{"parameter":"secret:erp","scheme":"Bearer"},"by":{"parameter":"ada","scheme":"Basic"}}"#);
}

#[test]
fn secrets_are_refused_in_expressions() {
    let text = named("flow", "use: { secrets: [ erp ] }\ndo:\n  - leak: { set: { a: '${ $secrets.erp }' } }\n");
    let found = crate::flow::check(&text).unwrap_err();
    assert!(found.iter().any(|found| &*found.code == "secret-in-expression"), "{found:?}");
}
