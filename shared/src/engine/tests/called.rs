//! Functions of the document: the caller's `with` is their input.

use super::harness::{Bench, json};
use crate::engine::command::OperatorAction;
use crate::engine::effect::Request;

const PET: &str = "
use:
  functions:
    getPet:
      input: { schema: { document: { type: object, required: [ petId ], properties: { petId: { type: string } } } } }
      call: http
      with: { method: get, endpoint: 'http://pets/pet/{petId}' }
      output: { as: '{ name: .name, asked: $input.petId }' }
";

#[test]
fn the_with_of_a_call_is_the_functions_input_and_its_output_the_tasks() {
    let mut bench = Bench::flow(&format!(
        "{PET}do:\n  - find: {{ call: getPet, with: {{ petId: '${{ .id }}' }}, output: {{ as: '{{ found: ., from: $input, task: $task.name }}' }} }}\n"
    ));
    let id = bench.start(r#"{"id": "7"}"#);
    let effect = bench.effect();
    let Request::Http(request) = &bench.state.effects[&effect].request else { panic!() };
    assert_eq!(&*request.uri, "http://pets/pet/7");
    bench.answer_ok(effect, r#"{"name": "Rex", "more": 1}"#);
    let output = json(&bench.completed(&id));
    assert_eq!(output, json(r#"{"found": {"name": "Rex", "asked": "7"}, "from": {"id": "7"}, "task": "find"}"#));
}

#[test]
fn arguments_that_the_functions_schema_refuses_are_an_error_of_the_task() {
    let mut bench = Bench::flow(&format!(
        "{PET}do:\n  - find: {{ try: [ {{ it: {{ call: getPet, with: {{ petId: 7 }} }} }} ], catch: {{ as: e, do: [ {{ say: {{ set: '${{ $e }}' }} }} ] }} }}\n"
    ));
    let id = bench.start("{}");
    let error = json(&bench.completed(&id));
    let field = |name: &str| error.get(name).and_then(|value| value.as_str()).unwrap().to_owned();
    assert_eq!(field("instance"), "/do/0/find/try/0/it");
    assert_eq!((field("title"), field("detail")), ("validation".into(), "with/petId: must be string, is number".into()));
}

#[test]
fn without_a_with_the_function_gets_the_tasks_input_and_may_be_any_task() {
    let mut bench = Bench::flow(
        "
use: { functions: { twice: { do: [ { a: { set: { n: '${ .n * 2 }' } } }, { b: { set: { n: '${ .n }', task: '${ $task.reference }' } } } ] } } }
do:
  - first: { call: twice }
  - second: { call: twice, with: { n: '${ .n + 1 }' }, if: .n > 1 }
",
    );
    let id = bench.start(r#"{"n": 2}"#);
    assert_eq!(json(&bench.completed(&id)), json(r#"{"n": 10, "task": "/do/1/second/do/1/b"}"#));
}

#[test]
fn a_call_that_failed_is_tried_again_with_what_it_was_called_with() {
    let mut bench =
        Bench::flow(&format!("{PET}do:\n  - find: {{ call: getPet, with: {{ petId: '${{ .id }}' }}, output: {{ as: '$input' }} }}\n"));
    let id = bench.start(r#"{"id": "7"}"#);
    bench.answer_failed(bench.effect());
    bench.operate(&id, OperatorAction::Retry).reply.unwrap();
    let effect = bench.effect();
    let Request::Http(request) = &bench.state.effects[&effect].request else { panic!() };
    assert_eq!(&*request.uri, "http://pets/pet/7");
    bench.answer_ok(effect, r#"{"name": "Rex"}"#);
    assert_eq!(json(&bench.completed(&id)), json(r#"{"id": "7"}"#));
}

#[test]
fn the_output_of_an_emit_is_its_event() {
    let mut bench =
        Bench::flow("do:\n  - tell: { emit: { event: { with: { source: 'https://a.example', type: a.b, data: { n: '${ .n }' } } } } }\n");
    let id = bench.start(r#"{"n": 2}"#);
    let event = json(&bench.completed(&id));
    assert_eq!(event.get("data"), Some(&json(r#"{"n": 2}"#)));
    for name in ["id", "specversion", "time", "source", "type"] {
        assert!(event.get(name).and_then(|value| value.as_str()).is_some(), "{name}");
    }
}

/// `any: []` is how the specification listens to whatever comes. Its own task starting made such a listener hear itself, without end.
#[test]
fn who_listens_to_whatever_comes_does_not_hear_the_life_cycle() {
    let mut bench = Bench::flow(
        "
do:
  - all:
      listen: { to: { any: [], until: { one: { with: { type: stop } } } } }
      foreach: { item: event, do: [ { note: { set: { seen: '${ $event.n }' } } } ] }
",
    );
    let id = bench.start("{}");
    bench.event("one", "a.b", r#"{"n": 1}"#);
    bench.event("two", "c.d", r#"{"n": 2}"#);
    bench.event("three", "stop", "{}");
    assert_eq!(json(&bench.completed(&id)), json(r#"[{"seen": 1}, {"seen": 2}]"#));
}
