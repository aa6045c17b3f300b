//! What the trace of an instance says: every task with its input, who was asked, who answered.

use super::harness::Bench;
use crate::engine::command::{Command, OperatorAction, WorkItemAction};
use crate::engine::effect::Outcome;
use crate::engine::record::RecordBody;
use crate::id::{Actor, InstanceId, NodeId};

fn lines(bench: &Bench, id: &InstanceId) -> Vec<String> {
    bench
        .records
        .iter()
        .filter_map(|record| match record {
            RecordBody::Task(task) if task.instance == *id => Some(format!("{} {} {}", task.name, task.what, task.data.to_json())),
            _ => None,
        })
        .collect()
}
fn has(bench: &Bench, id: &InstanceId, line: &str) {
    let lines = lines(bench, id);
    assert!(lines.iter().any(|one| one == line), "`{line}` is not in\n{}", lines.join("\n"));
}

#[test]
fn every_task_says_what_it_got_whom_it_asked_and_who_answered() {
    let mut bench = Bench::flow(
        "do:
  - ask: { call: human.approval, with: { to: 'role:guard', question: Go? } }
  - fetch: { call: http, with: { method: get, endpoint: 'http://localhost/x', headers: { authorization: hidden } } }
  - hear: { listen: { to: { one: { with: { type: knock } } } } }
",
    );
    let id = bench.start(r#"{"n":1}"#);
    let item = bench.state.work_items.keys().next().cloned().unwrap();
    let action = WorkItemAction::Choose { choice: "approve".into(), comment: None };
    bench.apply(Command::WorkItem { id: item, action, by: Actor::from("node:9"), key: "k".into() }).reply.unwrap();
    bench.apply(Command::EffectDone { effect: bench.effect(), outcome: Outcome::Done { output: "pong".into() }, node: NodeId(3) });
    bench.event("e1", "knock", "7");
    assert_eq!(bench.completed(&id), "[7]");
    has(&bench, &id, r#"ask started {"input":{"n":1},"kind":"call"}"#);
    has(&bench, &id, r#"ask called {"function":"human.approval","with":{"question":"Go?","to":"role:guard"}}"#);
    has(&bench, &id, r#"ask answered {"by":"node:9","from":"approve"}"#);
    has(&bench, &id, r#"fetch called {"function":"http","method":"get","uri":"http://localhost/x"}"#);
    has(&bench, &id, r#"fetch answered {"by":"node:3","from":"get http://localhost/x"}"#);
    has(&bench, &id, r#"hear started {"input":"pong","kind":"listen"}"#);
    has(&bench, &id, r#"hear answered {"by":"/test","event":"e1","from":"knock"}"#);
    assert!(!lines(&bench, &id).concat().contains("hidden"), "what may be a secret stays out");
}

#[test]
fn operators_stand_in_the_trace_and_large_values_only_as_their_size() {
    let mut bench = Bench::flow("do:\n  - ask: { call: http, with: { method: get, endpoint: 'http://localhost/x' } }\n");
    let id = bench.start(&format!("{{\"long\":\"{}\"}}", "x".repeat(3000)));
    bench.answer_failed(bench.effect());
    bench.operate(&id, OperatorAction::Retry).reply.unwrap();
    has(&bench, &id, r#"ask operator {"action":"retry","by":"user:operator"}"#);
    has(&bench, &id, r#"ask answered {"by":"node:1","from":"get http://localhost/x","problem":"communication"}"#);
    let lines = lines(&bench, &id);
    assert!(lines[0].contains("spalla/leftOut") && lines[0].len() < 200, "{}", lines[0]);
}

#[test]
fn a_sub_flow_is_named_by_its_instance() {
    let child = "document: { dsl: '1.0.3', namespace: test, name: child, version: '1.0.0' }\ndo: [ { nap: { wait: PT1S } } ]\n";
    let parent = super::harness::named("flow", "do:\n  - below: { run: { workflow: { namespace: test, name: child } } }\n");
    let mut bench = Bench::new(&[child, &parent]);
    let id = bench.start("{}");
    let below = bench.state.instances.keys().find(|other| **other != id).cloned().unwrap();
    has(&bench, &id, &format!(r#"below called {{"flow":"test/child:1.0.0","instance":"{below}"}}"#));
}
