//! Extensions: before and behind the tasks that they name, never around themselves.

use super::harness::Bench;

#[test]
fn exit_before_a_task_stands_in_for_it() {
    let mut bench = Bench::flow(
        r"
use:
  extensions:
    - mock:
        extend: call
        when: '${ .mocked }'
        before:
          - answer: { set: { content: 7 }, then: exit }
        after:
          - never: { set: { after: true }, export: { as: '${ { after: true } }' } }
do:
  - ask: { call: http, with: { method: get, endpoint: 'http://localhost/x' }, output: { as: '${ { got: .content } }' } }
output: { as: '${ { result: ., context: $context } }' }
",
    );
    let mocked = bench.start(r#"{"mocked": true}"#);
    assert_eq!(bench.completed(&mocked), r#"{"context":{},"result":{"got":7}}"#);
    assert_eq!(bench.trace(&mocked), ["ask started", "answer started", "answer completed", "ask completed"]);
    bench.start(r#"{"mocked": false}"#);
    assert_eq!(bench.state.effects.len(), 1, "the other is asked");
}

#[test]
fn composite_means_do_and_fork_and_all_means_all_but_extensions() {
    let mut bench = Bench::flow(
        r#"
use:
  extensions:
    - block:
        extend: composite
        before: [ { note: { set: '${ . }', export: { as: '${ $context + { blocks: (($context.blocks // []) + ["seen"]) } }' } } } ]
    - every:
        extend: all
        after: [ { count: { set: '${ . }', export: { as: '${ $context + { tasks: (($context.tasks // 0) + 1) } }' } } } ]
do:
  - list: { do: [ { one: { set: { a: 1 } } } ] }
  - both: { fork: { branches: [ { two: { set: { b: 1 } } } ] } }
output: { as: '${ $context }' }
"#,
    );
    let id = bench.start("{}");
    assert_eq!(bench.completed(&id), r#"{"blocks":["seen","seen"],"tasks":4}"#);
}

#[test]
fn an_error_in_an_extension_is_an_error_of_the_task_around() {
    let mut bench = Bench::flow(
        r"
use:
  extensions:
    - guard: { extend: set, when: '${ $task.name == $name }', before: [ { refuse: { raise: { error: { type: 'https://x/no', status: 403 } } } } ] }
do:
  - attempt:
      try: [ { guarded: { set: { a: 1 } } } ]
      catch: { as: e, do: [ { caught: { set: '${ { at: $e.instance } }' } } ] }
"
        .replace("$name", "\"guarded\"")
        .as_str(),
    );
    let id = bench.start("{}");
    assert_eq!(bench.completed(&id), r#"{"at":"/use/extensions/0/guard/before/0/refuse"}"#);
    bench.assert_empty();
}
