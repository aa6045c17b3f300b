use super::harness::{Bench, named};
use crate::engine::interpreter::{INSTANCE_STEPS_MAX, TASKS_WITHOUT_WAIT_MAX};
use crate::engine::record::InstanceStatus;

#[test]
fn data_flows_from_task_to_task() {
    let mut bench = Bench::flow(
        r"
do:
  - first:
      input: { from: '${ { n: .number } }' }
      set: { doubled: '${ .n * 2 }', who: '${ $input.n }' }
      output: { as: '${ { sum: (.doubled + .who) } }' }
      export: { as: '${ { seen: .sum } }' }
  - skipped:
      if: '${ .sum > 100 }'
      set: { gone: true }
  - second:
      set: { sum: '${ .sum }', context: '${ $context.seen }', task: '${ $task.reference }', id: '${ $workflow.input.number }' }
output: { as: '${ { result: . } }' }
",
    );
    let id = bench.start(r#"{"number": 4}"#);
    assert_eq!(bench.completed(&id), r#"{"result":{"context":12,"id":4,"sum":12,"task":"/do/2/second"}}"#);
    assert_eq!(bench.trace(&id), ["first started", "first completed", "skipped skipped", "second started", "second completed"]);
    bench.assert_empty();
}

#[test]
fn switch_and_then_move_control() {
    let flow = r"
do:
  - route:
      switch:
        - big: { when: '${ .n > 10 }', then: large }
        - other: { then: exit }
  - never:
      set: { never: true }
  - large:
      set: { size: large }
      then: end
  - neither:
      set: { size: none }
";
    let mut bench = Bench::flow(flow);
    let large = bench.start(r#"{"n": 11}"#);
    let other = bench.start(r#"{"n": 1}"#);
    assert_eq!(bench.completed(&large), r#"{"size":"large"}"#);
    assert_eq!(bench.completed(&other), r#"{"n":1}"#);
}

#[test]
fn a_long_loop_yields_and_goes_on() {
    let mut bench = Bench::flow(
        r"
do:
  - loop:
      for: { each: n, in: '${ [range(10000)] }', at: i }
      do:
        - add:
            set: { sum: '${ .sum + $n - $i + 1 }' }
",
    );
    let id = bench.start(r#"{"sum": 0}"#);
    assert!(bench.ended(&id).is_none(), "one entry must not run it all");
    assert_eq!(bench.state.ready.len(), 1);
    let entries = bench.settle();
    assert!(entries >= 20_000 / INSTANCE_STEPS_MAX as usize, "{entries} entries");
    assert_eq!(bench.completed(&id), r#"{"sum":10000}"#);
}

#[test]
fn a_loop_without_end_holds_nobody_up() {
    let spin = named("spin", "do:\n  - again:\n      set: { a: 1 }\n      then: again\n");
    let mut bench = Bench::new(&[&spin, &named("flow", "do:\n  - done:\n      set: { ok: true }\n")]);
    let spinning = bench.start_named("spin", "{}");
    for _ in 0..20 {
        bench.apply(crate::engine::Command::Continue);
    }
    let id = bench.start("{}");
    assert_eq!(bench.completed(&id), r#"{"ok":true}"#);
    bench.operate(&spinning, crate::engine::command::OperatorAction::Cancel { reason: "enough".into() });
    bench.settle();
    bench.assert_empty();
}

/// Nothing but a `cancel` ended such a loop, and each round wrote to every gateway's disk.
#[test]
fn a_loop_that_never_waits_is_an_incident_and_no_try_holds_it_up() {
    let inside = "do: [ { a: { set: { a: 1 } } } ]";
    for body in [
        "do:\n  - again: { set: { a: 1 }, then: again }\n".to_owned(),
        format!(
            "do:\n  - again: {{ try: [ {{ all: {{ {inside} }} }} ], catch: {{ do: [ {{ b: {{ set: {{ b: 1 }} }} }} ] }}, then: again }}\n"
        ),
        format!("do:\n  - again: {{ fork: {{ branches: [ {{ l: {{ {inside} }} }}, {{ r: {{ {inside} }} }} ] }}, then: again }}\n"),
    ] {
        let mut bench = Bench::flow(&body);
        let id = bench.start("{}");
        // Most of the way: a test has no time for all of it.
        let instance = std::sync::Arc::make_mut(bench.state.instances.get_mut(&id).expect("it goes on"));
        instance.tokens.values_mut().for_each(|token| token.pace.tasks = TASKS_WITHOUT_WAIT_MAX - 100);
        for _ in 0..40 {
            bench.apply(crate::engine::Command::Continue);
        }
        let incident = bench.state.instances[&id].incident.clone().unwrap_or_else(|| panic!("it still goes on: {body}"));
        assert!(incident.problem.detail.as_ref().is_some_and(|detail| detail.contains("round and round")), "{incident:?}");
        assert!(bench.state.ready.is_empty(), "{body}");
        // Whoever tries again gets as many steps again.
        bench.operate(&id, crate::engine::command::OperatorAction::Retry);
        assert!(bench.state.instances[&id].incident.is_none());
    }
    // One that waits in each round is no such loop.
    let mut bench = Bench::flow("do:\n  - rest: { wait: PT1S }\n  - again: { set: { a: 1 }, then: rest }\n");
    let id = bench.start("{}");
    (0..5).for_each(|_| drop(bench.pass(1_000)));
    let instance = &bench.state.instances[&id];
    assert!(instance.waits > 1 && instance.tokens.values().all(|token| token.pace.tasks < 20), "{instance:?}");
}

#[test]
fn fork_joins_in_order_and_exports_in_log_order() {
    let mut bench = Bench::flow(
        r#"
do:
  - both:
      fork:
        branches:
          - slow:
              do:
                - sleep: { wait: PT2S }
                - say: { set: { a: 1 }, export: { as: '${ $context + { last: "slow" } }' } }
          - fast:
              do:
                - sleepLess: { wait: PT1S }
                - sayToo: { set: { b: 2 }, export: { as: '${ $context + { last: "fast" } }' } }
output: { as: '${ { all: ., context: $context } }' }
"#,
    );
    let id = bench.start("{}");
    assert_eq!(bench.instance(&id).positions().len(), 3);
    bench.pass(1000);
    bench.pass(1000);
    assert_eq!(bench.completed(&id), r#"{"all":[{"a":1},{"b":2}],"context":{"last":"slow"}}"#);
    bench.assert_empty();
}

#[test]
fn compete_is_won_once_and_the_losers_leave_nothing() {
    let mut bench = Bench::flow(
        r"
do:
  - race:
      fork:
        compete: true
        branches:
          - listens: { listen: { to: { one: { with: { type: go } } } } }
          - calls: { call: http, with: { method: get, endpoint: 'http://localhost/x' } }
          - sleeps: { wait: PT1S }
",
    );
    let id = bench.start(r#"{"n": 7}"#);
    let effect = bench.effect();
    assert_eq!(bench.state.listeners.len(), 1);
    bench.pass(1000);
    assert_eq!(bench.completed(&id), r#"{"n":7}"#);
    bench.assert_empty();
    let late = bench.state.counters.completed;
    bench.answer_ok(effect, "1");
    assert_eq!(bench.state.counters.completed, late);
}

#[test]
fn extensions_wrap_and_never_wrap_themselves() {
    let mut bench = Bench::flow(
        r#"
use:
  extensions:
    - note:
        extend: set
        when: '${ $task.name != "plain" }'
        before:
          - first: { set: { x: 1 }, export: { as: '${ $context + { before: $task.name } }' } }
        after:
          - last: { set: '${ . }', export: { as: '${ $context + { after: . } }' } }
do:
  - wrapped: { set: { a: 1 } }
  - plain: { set: '${ { a: .a, context: $context } }' }
"#,
    );
    let id = bench.start("{}");
    assert_eq!(bench.completed(&id), r#"{"a":1,"context":{"after":{"a":1},"before":"first"}}"#);
    assert_eq!(bench.trace(&id).iter().filter(|line| line.ends_with("started")).count(), 4);
}

#[test]
fn a_child_is_awaited_and_goes_with_its_parent() {
    let parent = r"
do:
  - child: { run: { workflow: { namespace: test, name: child, version: '1.0.0', input: { n: '${ .n }' } } } }
  - more: { set: { got: '${ . }' } }
";
    let child = named("child", "do:\n  - sleep: { wait: PT5S }\n  - give: { set: { twice: '${ .n * 2 }' } }\n");
    let mut bench = Bench::new(&[&named("flow", parent), &child]);
    let id = bench.start(r#"{"n": 4}"#);
    assert_eq!(bench.state.instances.len(), 2);
    bench.pass(5000);
    assert_eq!(bench.completed(&id), r#"{"got":{"twice":8}}"#);
    let id = bench.start(r#"{"n": 4}"#);
    bench.operate(&id, crate::engine::command::OperatorAction::Cancel { reason: "test".into() });
    assert_eq!(bench.ended(&id).map(|ended| ended.0), Some(InstanceStatus::Cancelled));
    assert_eq!(bench.state.counters.late_completions, 0);
    bench.assert_empty();
}

#[test]
fn flows_that_run_themselves_stop_at_a_depth() {
    let mut bench = Bench::flow("do:\n  - me: { run: { workflow: { namespace: test, name: flow, version: latest } } }\n");
    let id = bench.start("{}");
    bench.settle();
    assert_eq!(bench.state.instances.len(), 33);
    let deepest = bench.state.instances.values().find(|instance| instance.incident.is_some()).unwrap();
    assert_eq!(deepest.depth, 32);
    bench.operate(&id, crate::engine::command::OperatorAction::Cancel { reason: "test".into() });
    bench.assert_empty();
}

#[test]
fn equal_keys_give_the_same_instance() {
    use crate::engine::command::{Accepted, Command, FlowSelector};
    let mut bench = Bench::flow("do:\n  - sleep: { wait: PT1S }\n");
    let start = Command::Start {
        flow: FlowSelector { namespace: "test".into(), name: "flow".into(), version: None },
        input: super::harness::json("{}"),
        key: "once".into(),
        by: crate::id::Actor::system(),
    };
    let first = bench.apply(start.clone()).reply;
    assert!(matches!(first, Ok(Accepted::Started { .. })));
    assert_eq!(bench.apply(start).reply, first);
    assert_eq!(bench.state.instances.len(), 1);
}

#[test]
fn one_singleton_at_a_time() {
    let text = "document: { dsl: '1.0.3', namespace: test, name: flow, version: '1.0.0', metadata: { spalla/singleton: '${ .site }' } }
do:
  - sleep: { wait: PT1S }
";
    let mut bench = Bench::new(&[text]);
    bench.start(r#"{"site": "hq"}"#);
    bench.start(r#"{"site": "plant"}"#);
    let refused = bench.try_start("flow", r#"{"site": "hq"}"#).reply.unwrap_err();
    assert_eq!(&*refused.code, "conflict");
    bench.pass(1000);
    bench.start(r#"{"site": "hq"}"#);
}

#[test]
fn schedules_start_flows() {
    let every = named("every", "schedule: { every: PT10S }\ndo:\n  - sleep: { wait: PT1H }\n");
    let cron = named("cron", "schedule: { cron: '*/5 * * * *' }\ndo:\n  - sleep: { wait: PT1H }\n");
    let after = named("after", "schedule: { after: PT30S }\ndo:\n  - sleep: { wait: PT10S }\n");
    let mut bench = Bench::new(&[&every, &cron, &after]);
    for _ in 0..300 {
        bench.pass(1000);
    }
    let started = |name: &str| {
        let of = |record: &&crate::engine::record::RecordBody| matches!(record, crate::engine::record::RecordBody::InstanceStarted { flow, .. } if &*flow.name == name);
        bench.records.iter().filter(of).count()
    };
    assert_eq!((started("every"), started("cron"), started("after")), (30, 1, 7));
}
