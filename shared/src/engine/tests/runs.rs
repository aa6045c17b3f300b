//! `run.workflow`: awaited or not, by version, with input; and what starts by schedule.

use super::harness::{Bench, json, named};
use crate::engine::command::OperatorAction;
use crate::engine::record::{InstanceStatus, RecordBody};

fn child(version: &str, gives: u32) -> String {
    format!(
        "document: {{ dsl: '1.0.3', namespace: test, name: child, version: '{version}' }}
input: {{ schema: {{ document: {{ type: object, required: [ n ] }} }} }}
do:
  - sleep: {{ wait: PT5S }}
  - give: {{ set: {{ from: {gives}, n: '${{ .n }}' }} }}
"
    )
}

fn parent(version: &str, rest: &str) -> String {
    named(
        "flow",
        &format!(
            "do:\n  - child: {{ run: {{ workflow: {{ namespace: test, name: child, version: '{version}', input: {{ n: '${{ .n }}' }} }} {rest} }} }}\n"
        ),
    )
}

#[test]
fn a_version_is_pinned_or_the_newest_when_the_task_begins() {
    for (version, gives) in [("1.2.0", 1), ("1.10.0", 2), ("latest", 2)] {
        let mut bench = Bench::new(&[&child("1.2.0", 1), &child("1.10.0", 2), &parent(version, "")]);
        let id = bench.start(r#"{"n": 4}"#);
        bench.pass(5000);
        assert_eq!(json(&bench.completed(&id)), json(&format!(r#"{{"from": {gives}, "n": 4}}"#)), "{version}");
    }
}

#[test]
fn one_that_is_not_awaited_lives_on_its_own() {
    let mut bench = Bench::new(&[&child("1.0.0", 1), &parent("1.0.0", ", await: false")]);
    let id = bench.start(r#"{"n": 4}"#);
    assert_eq!(bench.completed(&id), r#"{"n":4}"#, "it does not wait, and gives its input on");
    assert_eq!(bench.state.instances.len(), 1);
    bench.pass(5000);
    assert_eq!(bench.state.counters.completed, 2);
    bench.assert_empty();
}

#[test]
fn what_ends_the_parent_ends_an_awaited_child_only() {
    let two = named(
        "flow",
        "do:
  - free: { run: { workflow: { namespace: test, name: child, version: '1.0.0', input: { n: 1 } }, await: false } }
  - bound: { run: { workflow: { namespace: test, name: child, version: '1.0.0', input: { n: 2 } } } }
",
    );
    let mut bench = Bench::new(&[&child("1.0.0", 1), &two]);
    let id = bench.start("{}");
    assert_eq!(bench.state.instances.len(), 3);
    bench.operate(&id, OperatorAction::Cancel { reason: "test".into() }).reply.unwrap();
    assert_eq!(bench.state.instances.len(), 1);
    bench.pass(5000);
    assert_eq!((bench.state.counters.completed, bench.state.counters.cancelled), (1, 2));
    bench.assert_empty();
}

#[test]
fn a_child_that_cannot_start_is_an_error_of_its_own_type() {
    let standard = |name: &str| format!("https://serverlessworkflow.io/spec/1.0.0/errors/{name}");
    let unfit =
        named("flow", "do:\n  - child: { run: { workflow: { namespace: test, name: child, version: '1.0.0', input: { m: 1 } } } }\n");
    for (flow, kind) in [(unfit, standard("validation")), (parent("3.0.0", ""), standard("configuration"))] {
        let mut bench = Bench::new(&[&child("1.0.0", 1), &flow]);
        let id = bench.start(r#"{"n": 4}"#);
        let incident = bench.instance(&id).incident.clone().unwrap();
        assert_eq!(&*incident.problem.kind, kind);
        assert_eq!(incident.problem.instance.as_deref(), Some("/do/0/child"));
    }
}

#[test]
fn a_childs_fault_and_cancel_reach_the_parent() {
    let faults = named("child", "do:\n  - bad: { raise: { error: { type: 'https://x/bad', status: 418, title: Bad } } }\n");
    let parent = named(
        "flow",
        "do:
  - attempt:
      try: [ { child: { run: { workflow: { namespace: test, name: child, version: '1.0.0' } } } } ]
      catch: { as: e, do: [ { caught: { set: '${ { title: $e.title } }' } } ] }
",
    );
    let mut bench = Bench::new(&[&faults, &parent]);
    let id = bench.start("{}");
    assert_eq!(bench.completed(&id), r#"{"title":"Bad"}"#);
    let sleeps = named("child", "do:\n  - sleep: { wait: PT5S }\n");
    let mut bench = Bench::new(&[&sleeps, &parent]);
    let id = bench.start("{}");
    let child = bench.state.instances.keys().find(|other| **other != id).unwrap().clone();
    bench.operate(&child, OperatorAction::Cancel { reason: "test".into() }).reply.unwrap();
    assert_eq!(bench.ended(&child).map(|ended| ended.0), Some(InstanceStatus::Cancelled));
    assert_eq!(bench.completed(&id), r#"{"title":"cancelled"}"#);
}

#[test]
fn schedules_on_one_and_any_start_once_per_event_with_its_envelope() {
    let on = |name: &str, on: &str| {
        named(name, &format!("schedule: {{ on: {on} }}\ndo:\n  - got: {{ set: '${{ [ $workflow.input[] | .type, .data ] }}' }}\n"))
    };
    let one = on("one", "{ one: { with: { type: a, data: '${ . > 1 }' } } }");
    let any = on("any", "{ any: [ { with: { type: a } }, { with: { type: b } } ] }");
    let mut bench = Bench::new(&[&one, &any]);
    bench.event("1", "a", "1");
    bench.event("2", "a", "2");
    bench.event("3", "b", "3");
    bench.event("4", "c", "4");
    let outputs: Vec<String> = bench
        .records
        .iter()
        .filter_map(|record| match record {
            RecordBody::InstanceEnded { output, .. } => Some(output.to_json()),
            _ => None,
        })
        .collect();
    assert_eq!(outputs, [r#"["a",1]"#, r#"["a",2]"#, r#"["a",2]"#, r#"["b",3]"#]);
    bench.assert_empty();
}
