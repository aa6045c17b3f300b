use super::harness::{Bench, json, named};
use crate::engine::command::{Command, OperatorAction};
use crate::engine::record::InstanceStatus;

const ASK: &str = "do:
  - before: { set: { n: 1 } }
  - ask: { call: http, with: { method: get, endpoint: 'http://localhost/x' } }
  - behind: { set: { got: '${ . }', context: '${ $context }' } }
";

fn stuck() -> (Bench, crate::id::InstanceId) {
    let mut bench = Bench::flow(ASK);
    let id = bench.start("{}");
    bench.answer_failed(bench.effect());
    assert!(bench.instance(&id).incident.is_some());
    (bench, id)
}

#[test]
fn an_incident_is_retried() {
    let (mut bench, id) = stuck();
    bench.operate(&id, OperatorAction::Retry).reply.unwrap();
    assert!(bench.instance(&id).incident.is_none());
    bench.answer_ok(bench.effect(), "42");
    assert_eq!(bench.completed(&id), r#"{"context":{},"got":42}"#);
    bench.assert_empty();
}

#[test]
fn an_incident_is_skipped_with_an_output_and_another_context() {
    let (mut bench, id) = stuck();
    bench.operate(&id, OperatorAction::SetContext { context: json(r#"{"by": "hand"}"#) }).reply.unwrap();
    bench.operate(&id, OperatorAction::Skip { output: json("\"said so\"") }).reply.unwrap();
    assert_eq!(bench.completed(&id), r#"{"context":{"by":"hand"},"got":"said so"}"#);
}

#[test]
fn a_suspended_instance_keeps_answers_and_goes_on_later() {
    let mut bench = Bench::flow(ASK);
    let id = bench.start("{}");
    bench.operate(&id, OperatorAction::Suspend).reply.unwrap();
    bench.answer_ok(bench.effect(), "1");
    assert_eq!(bench.instance(&id).status, InstanceStatus::Suspended);
    assert_eq!(&*bench.instance(&id).positions()[0].waits_for, "ready");
    bench.operate(&id, OperatorAction::Resume).reply.unwrap();
    assert_eq!(bench.completed(&id), r#"{"context":{},"got":1}"#);
    let refused = bench.operate(&id, OperatorAction::Resume).reply.unwrap_err();
    assert_eq!(&*refused.code, "not-found");
}

#[test]
fn a_timeout_of_a_suspended_instance_counts_when_it_resumes() {
    let mut bench = Bench::flow("do:\n  - sleep: { wait: PT1H, timeout: { after: PT5S } }\n");
    let id = bench.start("{}");
    bench.operate(&id, OperatorAction::Suspend).reply.unwrap();
    bench.pass(6000);
    assert!(bench.instance(&id).incident.is_none());
    bench.operate(&id, OperatorAction::Resume).reply.unwrap();
    assert!(bench.instance(&id).incident.as_ref().unwrap().problem.kind.ends_with("timeout"));
}

#[test]
fn retry_without_an_incident_is_refused() {
    let mut bench = Bench::flow(ASK);
    let id = bench.start("{}");
    assert_eq!(bench.operate(&id, OperatorAction::Retry).reply.map_err(|refused| refused.code), Err("conflict".into()));
}

/// Cancelled wherever it stands, a flow leaves nothing that it owns or waits for.
#[test]
fn cancel_at_each_task_leaves_nothing() {
    let tour = named(
        "flow",
        r"
timeout: { after: PT24H }
do:
  - sleeps: { wait: PT1S }
  - calls: { call: http, timeout: { after: PT20S }, with: { method: get, endpoint: 'http://localhost/x' } }
  - forks:
      fork:
        branches:
          - one: { wait: PT1S }
          - two: { try: [ { inner: { call: http, with: { method: get, endpoint: 'http://localhost/y' } } } ], catch: { retry: { delay: PT10S } } }
  - listens: { listen: { to: { any: [ { with: { type: x } } ], until: '${ length == 2 }' } }, foreach: { do: [ { nap: { wait: PT1S } } ] } }
  - runs: { run: { workflow: { namespace: test, name: child, version: '1.0.0' } } }
",
    );
    let child = named("child", "do:\n  - childSleeps: { wait: PT1S }\n");
    // Each step moves the flow on by one wait.
    let steps: [fn(&mut Bench); 9] = [
        |bench| drop(bench.pass(1000)),
        |bench| drop(bench.answer_ok(bench.effect(), "{}")),
        |bench| drop(bench.pass(1000)),
        |bench| drop(bench.answer_failed(bench.effect())),
        |bench| drop(bench.pass(10_000)),
        |bench| drop(bench.answer_ok(bench.effect(), "{}")),
        |bench| drop(bench.event("1", "x", "1")),
        |bench| {
            bench.pass(1000);
            bench.event("2", "x", "2");
        },
        |bench| drop(bench.pass(1000)),
    ];
    for stop in 0..=steps.len() {
        let mut bench = Bench::new(&[&tour, &child]);
        let id = bench.start("{}");
        steps[..stop].iter().for_each(|step| step(&mut bench));
        assert!(bench.state.instances.contains_key(&id), "step {stop}: {:?}", bench.trace(&id));
        bench.operate(&id, OperatorAction::Cancel { reason: "test".into() }).reply.unwrap();
        assert_eq!(bench.ended(&id).map(|ended| ended.0), Some(InstanceStatus::Cancelled), "step {stop}");
        bench.assert_empty();
        bench.apply(Command::Continue);
        bench.pass(86_400_000);
        bench.assert_empty();
    }
}
