use super::harness::{Bench, named};
use crate::engine::record::InstanceStatus;

const CALL: &str = "call: http, with: { method: get, endpoint: 'http://localhost/x' }";

#[test]
fn a_caught_error_is_handled_with_its_variable() {
    let mut bench = Bench::flow(
        r"
do:
  - attempt:
      try:
        - bad: { raise: { error: { type: 'https://x/refused', status: 403, title: Refused } } }
      catch:
        errors: { with: { status: 403 } }
        as: problem
        do:
          - handle: { set: { title: '${ $problem.title }', at: '${ $problem.instance }' } }
",
    );
    let id = bench.start("{}");
    assert_eq!(bench.completed(&id), r#"{"at":"/do/0/attempt/try/0/bad","title":"Refused"}"#);
}

#[test]
fn retries_back_off_then_the_handler_runs() {
    let mut bench = Bench::flow(&format!(
        r"
do:
  - attempt:
      try:
        - ask: {{ {CALL} }}
      catch:
        errors: {{ with: {{ type: 'https://serverlessworkflow.io/dsl/errors/types/communication' }} }}
        retry: {{ delay: PT1S, backoff: {{ exponential: {{}} }}, limit: {{ attempt: {{ count: 2 }} }} }}
        do:
          - byHand: {{ set: {{ manual: true }} }}
"
    ));
    let id = bench.start("{}");
    let first = bench.effect();
    bench.answer_failed(first);
    bench.pass(999);
    assert!(bench.state.effects.is_empty());
    bench.pass(1);
    bench.answer_failed(bench.effect());
    bench.pass(1999);
    assert!(bench.state.effects.is_empty(), "the second delay is twice as long");
    bench.pass(1);
    bench.answer_failed(bench.effect());
    assert_eq!(bench.completed(&id), r#"{"manual":true}"#);
    bench.assert_empty();
}

#[test]
fn used_up_retries_stand_as_an_incident() {
    let mut bench = Bench::flow(&format!(
        r"
do:
  - attempt:
      try:
        - ask: {{ {CALL} }}
      catch:
        retry: {{ delay: PT1S, limit: {{ attempt: {{ count: 1 }} }} }}
"
    ));
    let id = bench.start("{}");
    bench.answer_failed(bench.effect());
    bench.pass(1000);
    bench.answer_failed(bench.effect());
    let incident = bench.instance(&id).incident.clone().unwrap();
    assert_eq!(&*incident.task, "/do/0/attempt/try/0/ask");
    assert_eq!(incident.problem.status, 503);
    assert_eq!(&*bench.instance(&id).positions()[0].waits_for, "incident");
}

#[test]
fn an_uncaught_raise_faults_the_flow_and_cancels_the_other_branch() {
    let mut bench = Bench::flow(&format!(
        r"
do:
  - both:
      fork:
        branches:
          - asks: {{ {CALL} }}
          - fails:
              do:
                - sleep: {{ wait: PT1S }}
                - bad: {{ raise: {{ error: {{ type: 'https://x/bad', status: 500 }} }} }}
"
    ));
    let id = bench.start("{}");
    bench.pass(1000);
    assert_eq!(bench.ended(&id), Some((InstanceStatus::Faulted, "https://x/bad".into())));
    assert_eq!(bench.state.counters.faulted, 1);
    bench.assert_empty();
}

#[test]
fn an_error_in_a_branch_reaches_the_try_around_the_fork() {
    let mut bench = Bench::flow(&format!(
        r"
do:
  - attempt:
      try:
        - both:
            fork:
              branches:
                - asks: {{ {CALL} }}
                - listens: {{ listen: {{ to: {{ one: {{ with: {{ type: never }} }} }} }} }}
      catch:
        as: e
        do:
          - handle: {{ set: {{ status: '${{ $e.status }}' }} }}
"
    ));
    let id = bench.start("{}");
    bench.answer_failed(bench.effect());
    assert_eq!(bench.completed(&id), r#"{"status":503}"#);
    bench.assert_empty();
}

#[test]
fn a_timeout_withdraws_then_raises() {
    let mut bench = Bench::flow(&format!(
        r"
do:
  - attempt:
      try:
        - ask: {{ {CALL}, timeout: {{ after: PT5S }} }}
      catch:
        errors: {{ with: {{ type: 'https://serverlessworkflow.io/spec/1.0.0/errors/timeout' }} }}
        do:
          - late: {{ set: {{ late: true }} }}
"
    ));
    let id = bench.start("{}");
    let effect = bench.effect();
    assert_eq!(bench.state.effects[&effect].deadline, bench.at.plus(5000));
    bench.pass(5000);
    assert_eq!(bench.completed(&id), r#"{"late":true}"#);
    bench.assert_empty();
    bench.answer_ok(effect, "1");
    bench.assert_empty();
}

#[test]
fn the_flows_own_timeout_faults_it() {
    let mut bench = Bench::flow("timeout: { after: PT5S }\ndo:\n  - sleep: { wait: PT1H }\n");
    let id = bench.start("{}");
    bench.pass(5000);
    assert_eq!(bench.ended(&id), Some((InstanceStatus::Faulted, "https://serverlessworkflow.io/spec/1.0.0/errors/timeout".into())));
    bench.assert_empty();
}

#[test]
fn a_context_that_grows_too_large_is_an_error_not_a_crash() {
    let mut bench = Bench::flow(
        r"
do:
  - loop:
      for: { in: '${ [range(1000)] }' }
      do:
        - grow: { set: '${ [range(2000)] }', export: { as: '${ { all: ($context.all + .) } }' } }
",
    );
    let id = bench.start("{}");
    bench.settle();
    let incident = bench.instance(&id).incident.clone().unwrap();
    assert!(incident.problem.kind.ends_with("validation"), "{incident:?}");
    assert!(bench.instance(&id).context.size() <= 256 * 1024);
}

#[test]
fn a_broken_expression_stands_as_an_incident() {
    let mut bench = Bench::flow("do:\n  - bad: { set: { a: '${ .n + {} }' } }\n");
    let id = bench.start(r#"{"n": 1}"#);
    assert!(bench.instance(&id).incident.as_ref().unwrap().problem.kind.ends_with("expression"));
}

#[test]
fn a_flow_that_runs_itself_over_and_over_leaves_room_for_others() {
    let bomb = "do:\n  - all:\n      for: { each: i, in: '${ [range(500)] }' }\n      do:\n        - again:\n            run: { workflow: { namespace: test, name: bomb, version: latest }, await: false }\n";
    let mut bench = Bench::new(&[&named("bomb", bomb), &named("visit", "do:\n  - stay: { wait: { hours: 1 } }\n")]);
    bench.mirrored = false;
    bench.start_named("bomb", "{}");
    bench.settle();
    assert!(bench.state.instances.len() <= crate::engine::interpreter::INSTANCES_MAX / 2, "{}", bench.state.instances.len());
    let visit = bench.start_named("visit", "{}");
    assert!(bench.instance(&visit).incident.is_none());
}
