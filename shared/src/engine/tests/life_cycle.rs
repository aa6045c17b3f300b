//! The specification's life-cycle events: heard by flows that listen to them, in the trace always, and the cloud not flooded.

use super::harness::{Bench, named};
use crate::engine::command::OperatorAction;
use crate::engine::interpreter::ENTRY_EVENTS_MAX;
use crate::value::Value;

/// A flow that writes down what it hears of `flow`, and ends on `stop`.
fn listener(kinds: &str) -> String {
    named(
        "listener",
        &format!(
            r#"
do:
  - hear:
      listen:
        to:
          any: [ {{ with: {{ type: '${{ {kinds} }}', source: '${{ startswith("/flows/test/flow/") }}' }} }} ]
          until: {{ one: {{ with: {{ type: stop }} }} }}
        read: envelope
output: {{ as: '${{ [ .[] | (.type | split(".")[2:4] | join(".")) + (if .data.task then " " + .data.task else "" end) ] }}' }}
"#
        ),
    )
}

const TOUR: &str = r"
do:
  - first: { set: { a: 1 } }
  - skipped: { if: '${ false }', set: { b: 1 } }
  - attempt:
      try:
        - ask: { call: http, with: { method: get, endpoint: 'http://localhost/x' } }
      catch: { retry: { delay: PT1S, limit: { attempt: { count: 1 } } }, do: [ { byHand: { set: { c: 1 } } } ] }
  - sleeps: { wait: PT5S }
";

fn heard(bench: &mut Bench, listener: &crate::id::InstanceId) -> Vec<String> {
    bench.event("stop", "stop", "{}");
    let output = Value::from_json(&bench.completed(listener)).unwrap();
    output.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_flow_hears_every_step_of_another_and_the_trace_has_them() {
    let mut bench = Bench::new(&[&named("flow", TOUR), &listener(r#"startswith("io.serverlessworkflow.")"#)]);
    let ear = bench.start_named("listener", "{}");
    let id = bench.start("{}");
    bench.answer_failed(bench.effect());
    bench.pass(1000);
    bench.operate(&id, OperatorAction::Suspend).reply.unwrap();
    bench.answer_failed(bench.effect());
    bench.operate(&id, OperatorAction::Resume).reply.unwrap();
    bench.operate(&id, OperatorAction::Cancel { reason: "test".into() }).reply.unwrap();
    let heard = heard(&mut bench, &ear);
    let expected = [
        "workflow.started",
        "task.created /do/0/first",
        "task.started /do/0/first",
        "task.completed /do/0/first",
        "task.created /do/1/skipped",
        "task.created /do/2/attempt",
        "task.started /do/2/attempt",
        "task.created /do/2/attempt/try/0/ask",
        "task.started /do/2/attempt/try/0/ask",
        "task.faulted /do/2/attempt/try/0/ask",
        "task.retried /do/2/attempt",
        "task.created /do/2/attempt/try/0/ask",
        "task.started /do/2/attempt/try/0/ask",
        "workflow.suspended",
        "task.suspended /do/2/attempt/try/0/ask",
        "workflow.resumed",
        "task.resumed /do/2/attempt/try/0/ask",
        "task.faulted /do/2/attempt/try/0/ask",
        "task.created /do/2/attempt/catch/do/0/byHand",
        "task.started /do/2/attempt/catch/do/0/byHand",
        "task.completed /do/2/attempt/catch/do/0/byHand",
        "task.completed /do/2/attempt",
        "task.created /do/3/sleeps",
        "task.started /do/3/sleeps",
        "task.cancelled /do/3/sleeps",
        "workflow.cancelled",
    ];
    assert_eq!(heard, expected);
    let trace = bench.trace(&id);
    for word in
        ["first completed", "skipped skipped", "ask faulted", "attempt retrying", "ask suspended", "ask resumed", "sleeps cancelled"]
    {
        assert!(trace.iter().any(|line| line == word), "{word}: {trace:?}");
    }
}

#[test]
fn the_cloud_hears_of_instances_and_of_what_stands_still_only() {
    let mut bench = Bench::new(&[&named("flow", TOUR), &listener(r#"startswith("io.serverlessworkflow.task")"#)]);
    bench.start_named("listener", "{}");
    bench.start("{}");
    let told: Vec<_> = bench.state.outbox.items.iter().filter(|item| item.event.kind.contains("serverlessworkflow.task")).collect();
    assert!(told.is_empty(), "{told:?}");
    let mut bench = Bench::flow("do:\n  - bad: { set: { a: '${ 1 + {} }' } }\n");
    bench.start("{}");
    let told: Vec<_> =
        bench.state.outbox.items.iter().filter(|item| &*item.event.kind == "io.serverlessworkflow.task.faulted.v1").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].event.data.get("task").and_then(Value::as_str), Some("/do/0/bad"));
}

#[test]
fn every_task_that_began_says_once_how_it_ended() {
    let flow = r"
do:
  - around:
      do:
        - attempt:
            try:
              - both:
                  fork:
                    branches:
                      - asks: { do: [ { inner: { call: http, with: { method: get, endpoint: 'http://localhost/x' } } } ] }
                      - fails:
                          do:
                            - sleep: { wait: PT1S }
                            - bad: { raise: { error: { type: 'https://x/bad', status: 500 } } }
            catch:
              errors: { with: { status: 404 } }
";
    let mut bench = Bench::flow(flow);
    let id = bench.start("{}");
    bench.pass(1000);
    assert!(bench.ended(&id).is_some());
    let trace = bench.trace(&id);
    let ends = |name: &str| -> Vec<&str> {
        let of = |line: &&String| {
            line.starts_with(&format!("{name} ")) && ![" started", " called", " answered"].iter().any(|what| line.ends_with(what))
        };
        trace.iter().filter(of).map(|line| line.rsplit(' ').next().unwrap()).collect()
    };
    for (name, end) in [
        ("bad", "faulted"),
        ("fails", "faulted"),
        ("both", "faulted"),
        ("attempt", "faulted"),
        ("around", "faulted"),
        ("asks", "cancelled"),
        ("inner", "cancelled"),
        ("sleep", "completed"),
    ] {
        assert_eq!(ends(name), [end], "{name}: {trace:?}");
    }
}

/// A flow that starts by the steps of tasks, its own among them: one entry goes round a bounded number of times, and then it is quiet.
#[test]
fn a_flow_that_hears_itself_is_quiet_after_one_entry() {
    let echo = named(
        "echo",
        "schedule: { on: { one: { with: { type: io.serverlessworkflow.task.completed.v1 } } } }\ndo:\n  - again: { set: { a: 1 } }\n",
    );
    let mut bench = Bench::new(&[&echo, &named("flow", "do:\n  - one: { set: { a: 1 } }\n")]);
    bench.mirrored = false;
    bench.start("{}");
    let started = bench.state.counters.started;
    assert!(started > 2 && started <= u64::from(ENTRY_EVENTS_MAX) + 2, "{started}");
    assert!(bench.state.counters.lapsed_events > 0, "what went unheard is counted");
    bench.settle();
    assert_eq!(bench.state.counters.started, started);
    bench.assert_empty();
}
